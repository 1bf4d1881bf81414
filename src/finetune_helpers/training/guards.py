"""O que se confere antes do primeiro passo: máscara, fim de sequência, comprimentos, preenchimento e parâmetros."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..errors import InputError
from ..portuguese import number, percent
from .profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

IGNORED = -100  # rótulo que a perda ignora (PyTorch, CrossEntropyLoss)


@dataclass(frozen=True)
class Lengths:
    """Tokens de cada linha (prompt, resposta e EOS), as que cabem e as que passam do limite."""

    tokens: list[int]
    limit: int
    too_long: list[int]

    @property
    def longest_kept(self) -> int:
        """A maior linha que cabe, arredondada para cima a um múltiplo de 8."""
        kept = [count for count in self.tokens if count <= self.limit]
        return -(-max(kept) // 8) * 8

    def __str__(self) -> str:
        found = (
            f"{len(self.tokens)} exemplos, de {min(self.tokens)} a {max(self.tokens)} tokens; limite de {self.limit}."
        )
        if not self.too_long:
            return found + " Nenhum passa do limite."
        listed = ", ".join(f"{row + 1} ({self.tokens[row]})" for row in self.too_long[:10])
        return (
            found + f" {len(self.too_long)} passam e ficam de fora, em vez de perder o fim; linhas (tokens): {listed}"
        )


@dataclass(frozen=True)
class Check:
    """O resultado das conferências, pronto para o caderno imprimir."""

    learned_text: str
    useful_tokens: int
    padded_tokens: int
    trainable: int

    def __str__(self) -> str:
        useful, padded = number(self.useful_tokens), number(self.padded_tokens)
        waste = percent(1 - self.useful_tokens / self.padded_tokens)
        return (
            f"Conta na perda do primeiro exemplo: {self.learned_text[:100]!r} … {self.learned_text[-40:]!r}\n"
            f"Tokens úteis por época: {useful}; com o preenchimento, {padded} ({waste} de sobra)\n"
            f"Parâmetros treináveis: {number(self.trainable)}, o esperado para este LoRA"
        )


def lengths(tokenizer: "PreTrainedTokenizerBase", rows: list[dict[str, str]], limit: int) -> Lengths:
    """Mede cada linha ``{prompt, completion}`` em tokens; InputError se nenhuma couber em ``limit``."""
    texts = [row["prompt"] + row["completion"] + tokenizer.eos_token for row in rows]
    counts = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    too_long = [index for index, count in enumerate(counts) if count > limit]
    if len(too_long) == len(counts):
        raise InputError(f"Nenhum exemplo cabe em {limit} tokens. Aumente max_length ou confira os dados de treino.")
    return Lengths(counts, limit, too_long)


def check(trainer: "SFTTrainer", tokenizer: "PreTrainedTokenizerBase", profile: Profile) -> Check:
    """Confere o que o treinador vai aprender de fato, depois de todas as transformações.

    InputError se uma linha não tem rótulo, se o prompt entra na perda, se falta o EOS ou se os parâmetros treináveis
    não são os deste LoRA.
    """
    rows = [_collated(trainer, index) for index in range(len(cast(Sized, trainer.train_dataset)))]
    for line, (ids, labels) in enumerate(rows, start=1):
        _check_row(line, ids, labels, tokenizer.eos_token_id)
    useful = [len(ids) for ids, _ in rows]
    learned = str(tokenizer.decode([label for label in rows[0][1] if label != IGNORED]))
    return Check(learned, sum(useful), _padded(useful, trainer.args), _check_trainable(trainer.model, profile))


def _collated(trainer, index: int) -> tuple[list[int], list[int]]:
    """Uma linha como o modelo a recebe; o colador é a última transformação antes dele."""
    batch = trainer.data_collator([trainer.train_dataset[index]])
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


def _check_row(line: int, ids: list[int], labels: list[int], eos: int) -> None:
    learned = [label for label in labels if label != IGNORED]
    if not learned:
        raise InputError(f"Linha {line}: nenhum token conta na perda. Confira o formato prompt/completion.")
    if labels[0] != IGNORED:
        raise InputError(f"Linha {line}: o prompt entrou na perda. Use as colunas prompt e completion.")
    if learned[-1] != eos:
        raise InputError(
            f"Linha {line}: o fim de sequência (EOS) não é aprendido e o modelo não saberá parar. "
            "A linha foi cortada ou o tokenizador tem outro EOS; aumente max_length ou corrija o tokenizador."
        )


def _padded(useful: list[int], args) -> int:
    """Tokens de uma época com preenchimento, na ordem de comprimento ou numa ordem sorteada."""
    import random

    order = list(useful)
    random.Random(args.seed).shuffle(order)
    size = args.per_device_train_batch_size
    if args.train_sampling_strategy == "group_by_length":
        order.sort()
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return sum(len(batch) * max(batch) for batch in batches)


def _check_trainable(model, profile: Profile) -> int:
    found = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    expected = sum(
        profile.lora_r * (module.in_features + module.out_features) + profile.use_dora * module.out_features
        for name, module in model.named_modules()
        if name.split(".")[-1] in profile.target_modules and hasattr(module, "lora_A")
    )
    if found != expected or not found:
        raise InputError(
            f"O modelo tem {found} parâmetros treináveis e este LoRA pede {expected}. "
            "Confira target_modules e se o modelo recebeu um só adaptador."
        )
    return found
