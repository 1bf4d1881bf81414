"""O que se confere antes do primeiro passo: validação, comprimentos, máscara, fim de sequência e parâmetros."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..portuguese import number, percent
from ..records import Example
from .profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # rótulo que a perda ignora (PyTorch, CrossEntropyLoss)


def split_validation(
    examples: list[Example], share: float = 0.1, least: int = 8
) -> tuple[list[Example], list[Example]]:
    """Separa do treino uma validação: ``share`` das linhas (no mínimo ``least``), escolhidas pela identidade do item.

    InputError se não sobrar ao menos o mesmo tanto para treinar.
    """
    wanted = max(least, round(share * len(examples)))
    if len(examples) < 2 * wanted:
        raise InputError(
            f"São {len(examples)} exemplos de treino e a validação pede {wanted}: aumente `n_train` no caderno 01."
        )
    held = {example.item_id for example in sorted(examples, key=lambda example: example.item_id)[:wanted]}
    train = [example for example in examples if example.item_id not in held]
    return train, [example for example in examples if example.item_id in held]


@dataclass(frozen=True)
class Lengths:
    """Tokens de cada linha (prompt, resposta e EOS) e o limite; a linha que passa dele fica de fora."""

    tokens: list[int]
    limit: int

    @property
    def longest_kept(self) -> int:
        """A maior linha que cabe, arredondada para cima a um múltiplo de 8."""
        kept = [count for count in self.tokens if count <= self.limit]
        return -(-max(kept) // 8) * 8

    def kept(self, rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """As linhas que cabem."""
        return [row for row, count in zip(rows, self.tokens, strict=True) if count <= self.limit]

    def __str__(self) -> str:
        span = f"de {number(min(self.tokens))} a {number(max(self.tokens))} tokens"
        text = f"{number(len(self.tokens))} exemplos, {span}; limite de {number(self.limit)}."
        too_long = [f"{row} ({number(count)})" for row, count in enumerate(self.tokens, start=1) if count > self.limit]
        if not too_long:
            return text + " Nenhum passa do limite."
        listed = ", ".join(too_long[:10])
        return text + f" {len(too_long)} passam e ficam de fora, em vez de perder o fim; linhas (tokens): {listed}"


@dataclass(frozen=True)
class Check:
    """O resultado das conferências, pronto para o caderno imprimir; sem padding, ``padded_tokens`` é None."""

    learned_text: str
    useful_tokens: int
    padded_tokens: int | None
    trainable: int
    parameters: int

    def __str__(self) -> str:
        useful = number(self.useful_tokens)
        if self.padded_tokens is None:
            padding = "sem padding: as linhas de um lote são juntadas numa só"
        else:
            waste = percent(1 - self.useful_tokens / self.padded_tokens)
            padding = f"com o padding, {number(self.padded_tokens)} ({waste} do cálculo iria para padding)"
        return (
            f"Trecho usado na perda do primeiro exemplo: {self.learned_text[:100]!r} … {self.learned_text[-40:]!r}\n"
            f"Tokens úteis por época: {useful}; {padding}\n"
            f"Parâmetros treináveis: {number(self.trainable)} ({percent(self.trainable / self.parameters)}), o "
            "esperado para este LoRA"
        )


def lengths(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[dict[str, str]], limit: int) -> Lengths:
    """Mede cada linha ``{prompt, completion}`` em tokens; InputError se nenhuma couber em ``limit``."""
    texts = [row["prompt"] + row["completion"] + tokenizer.eos_token for row in rows]
    counts = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    if min(counts) > limit:
        raise InputError(
            f"Nenhum exemplo cabe nos {number(limit)} tokens deste perfil; o menor tem {number(min(counts))}. Use "
            "descrições menores no caderno 01 ou outro perfil em `profile`."
        )
    return Lengths(counts, limit)


def check(trainer: Any, tokenizer: "PreTrainedTokenizerBase", profile: Profile) -> Check:
    """Confere o que o treinador vai aprender de fato, depois de todas as transformações.

    InputError se uma linha não tem rótulo, se o prompt entra na perda, se falta o EOS ou se os parâmetros treináveis
    não são os deste LoRA.
    """
    # O colador é a última transformação antes do modelo.
    rows = [trainer.data_collator([row])["labels"][0].tolist() for row in trainer.train_dataset]
    for line, labels in enumerate(rows, start=1):
        _check_row(line, labels, tokenizer.eos_token_id)
    learned = str(tokenizer.decode([label for label in rows[0] if label != IGNORED]))
    trainable, parameters = _check_trainable(trainer.model, profile)
    useful = [len(labels) for labels in rows]
    return Check(learned, sum(useful), _padded(trainer, useful), trainable, parameters)


def _check_row(line: int, labels: list[int], eos: int) -> None:
    problem = ""
    learned = [label for label in labels if label != IGNORED]
    if not learned:
        problem = "nenhum token conta na perda. Refaça os dados no caderno 01."
    elif labels[0] != IGNORED:
        problem = "o prompt entrou na perda. As colunas devem ser prompt e completion."
    elif learned[-1] != eos:
        problem = (
            "o fim de sequência (EOS) não é aprendido e o modelo não saberá parar. A linha foi cortada ou o "
            "tokenizador tem outro EOS: use outro modelo em `model`."
        )
    if problem:
        raise InputError(f"Linha {line} do treino: {problem}")


def _padded(trainer: Any, useful: list[int]) -> int | None:
    """Tokens de uma época com padding, na ordem de comprimento ou numa ordem sorteada; None se não há padding."""
    size = trainer.args.per_device_train_batch_size
    pair = [trainer.train_dataset[index] for index in range(min(2, len(useful)))]
    if len(pair) == 2 and trainer.data_collator(pair)["input_ids"].shape[0] == 1:
        return None
    order = list(useful)
    random.Random(trainer.args.seed).shuffle(order)
    if trainer.args.train_sampling_strategy == "group_by_length":
        order.sort()
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return sum(len(batch) * max(batch) for batch in batches)


def _check_trainable(model: Any, profile: Profile) -> tuple[int, int]:
    trainable, parameters = model.get_nb_trainable_parameters()
    expected = sum(
        profile.lora_r * (module.in_features + module.out_features) + profile.use_dora * module.out_features
        for name, module in model.named_modules()
        if name.split(".")[-1] in profile.target_modules and hasattr(module, "lora_A")
    )
    if trainable != expected or not trainable:
        raise InputError(
            f"O modelo tem {number(trainable)} parâmetros treináveis e este LoRA pede {number(expected)}. "
            "Reinicie a sessão (*Ambiente de execução → Reiniciar sessão*) e execute de novo: ele deve receber um só "
            "adaptador."
        )
    return trainable, parameters
