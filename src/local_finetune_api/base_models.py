"""Os modelos base que a API local ajusta, o que ``"auto"`` vira em cada um e como cada um lê uma conversa."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_helpers.errors import InputError, MachineError
from finetune_helpers.portuguese import number

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune_helpers.training import Profile

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
# Formato Harmony (gpt-oss): a resposta sai direto no canal final, sem raciocínio, no treino, na base e no ajustado.
HARMONY_FINAL = "<|channel|>final<|message|>"


@dataclass(frozen=True)
class BaseModel:
    """Um modelo base: nome na API, de onde vem e o treino dele (taxa do multiplicador 1, limites em tokens e GB)."""

    name: str
    source: str
    base_rate: float = 2e-4
    max_length: int = 1024
    changes: dict = field(default_factory=dict)  # outros campos do perfil de treino
    micro_batch: int = 0  # 0: o do perfil da máquina
    gpu_gb: float = 0.0  # memória de GPU sem a qual o modelo não cabe


EMBEDDED = BaseModel("SmolLM2-135M-Instruct", "embutido", 1e-3, 512, micro_batch=8)
GPT_OSS = BaseModel(
    "gpt-oss-20b",
    "unsloth/gpt-oss-20b",
    # Só a atenção é treinada: os especialistas ficam congelados, e assim o modelo cabe em 15 GB (T4).
    changes={"lora_r": 8, "target_modules": ("q_proj", "k_proj", "v_proj", "o_proj")},
    micro_batch=1,
    gpu_gb=15.0,
)


def read(text: str) -> BaseModel:
    """O modelo base de ``[NOME=]ORIGEM``: uma pasta, um arquivo ``.gguf`` ou um nome do Hub.

    Sem nome, uma pasta ou um arquivo emprestam o seu. InputError se a origem não é nenhum dos três.
    """
    name, equals, source = text.rpartition("=")
    path = Path(source)
    if source and (path.is_dir() or (path.suffix == ".gguf" and path.is_file())):
        own = path.resolve().name if path.is_dir() else path.stem
        return BaseModel(name or own, str(path.resolve()))
    if HUB_NAME.fullmatch(source) and (name or not equals):
        return of_source(name or source, source)
    raise InputError(
        f"{text!r} não é um modelo: use uma pasta com o modelo, um arquivo .gguf ou um nome do Hub (dono/nome), "
        "com NOME= na frente se quiser outro nome."
    )


def catalogue(models: Iterable[str] = ()) -> list[BaseModel]:
    """Os modelos base: os dois do projeto e os que quem iniciou o servidor ofereceu."""
    return list({base.name: base for base in (EMBEDDED, GPT_OSS, *map(read, models))}.values())


def find(models: Sequence[str], name: str) -> BaseModel | None:
    """O modelo base de nome ``name``, sem diferença de caixa, ou do texto com que ele foi oferecido; None se não há."""
    if name in models:
        return read(name)
    return next((base for base in catalogue(models) if base.name.casefold() == name.casefold()), None)


def of_source(name: str, source: str) -> BaseModel:
    """O modelo base que um treino anotou, mesmo que o servidor já não o ofereça."""
    return next((base for base in (EMBEDDED, GPT_OSS) if base.source == source), BaseModel(name, source))


def resolve(asked: dict, examples: int) -> dict:
    """Hiperparâmetros com cada ``"auto"`` trocado pelo valor documentado (épocas pela regra de ``default_epochs``)."""
    from finetune_helpers.gpt.validation import default_epochs

    auto = {
        "n_epochs": default_epochs(examples),
        "batch_size": min(4, examples),
        "learning_rate_multiplier": 1.0,
    }
    return {key: auto[key] if asked.get(key, "auto") == "auto" else asked[key] for key in auto}


def profile(base: BaseModel, hyperparameters: dict | None = None, seed: int = 3407) -> "Profile":
    """Perfil de treino nesta máquina; sem hiperparâmetros, serve só para carregar o modelo.

    MachineError se o modelo pede uma GPU que não há.
    """
    from finetune_helpers import training

    _need_gpu(base)
    chosen = training.choose("auto", model=base.source, max_length=base.max_length, **base.changes)
    if hyperparameters is None:
        return chosen
    largest, batch = base.micro_batch or chosen.batch_size, hyperparameters["batch_size"]
    micro = max(size for size in range(1, largest + 1) if batch % size == 0)
    return replace(
        chosen,
        batch_size=micro,
        gradient_accumulation=batch // micro,
        epochs=float(hyperparameters["n_epochs"]),
        learning_rate=base.base_rate * hyperparameters["learning_rate_multiplier"],
        seed=seed,
    )


def prompt(tokenizer: "PreTrainedTokenizerBase", messages: list[dict]) -> str:
    """Texto que o modelo continua para responder a ``messages``."""
    harmony = HARMONY_FINAL if "<|channel|>" in tokenizer.get_vocab() else ""
    options: dict[str, Any] = {"reasoning_effort": "low"} if harmony else {}
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True, **options)
    return str(text) + harmony


def turns(tokenizer: "PreTrainedTokenizerBase", messages: list[dict]) -> Iterator[dict[str, str]]:
    """Uma linha ``{"prompt", "completion"}`` para cada resposta do assistant que tem peso 1.

    O treinador acrescenta o fim de sequência (EOS) a ``completion``.
    """
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight", 1) == 1:
            yield {"prompt": prompt(tokenizer, messages[:index]), "completion": message["content"]}


def tokens_of(tokenizer: "PreTrainedTokenizerBase", row: dict[str, str]) -> int:
    """Tokens de uma linha ``{"prompt", "completion"}``, com o EOS."""
    return len(tokenizer(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"]) + 1


def token_counter(model: str) -> Callable[[list[dict]], list[int]]:
    """Função que conta, por linha ``{"messages": […]}`` e por época, os tokens que um treino de ``model`` cobra.

    ``model`` é um nome da API local, uma pasta, um ``.gguf`` ou um nome do Hub. Conta com o formato de conversa e o
    tokenizador dele, com o fim de sequência; o que não cabe no modelo fica fora do treino e conta zero. InputError se
    não é um modelo.
    """
    from transformers import AutoTokenizer

    from finetune_helpers.training import bases, choose

    base = find((), model) or read(model)
    # O tokenizador é o mesmo nos dois motores, e este não importa o Unsloth, que o kernel do Colab não pode carregar.
    weights = bases.resolve(choose("auto", engine="transformers", model=base.source))
    tokenizer = AutoTokenizer.from_pretrained(weights.load_from(), **weights.arguments())

    def count(rows: list[dict]) -> list[int]:
        sizes = [[tokens_of(tokenizer, turn) for turn in turns(tokenizer, row["messages"])] for row in rows]
        return [sum(size for size in line if size <= base.max_length) for line in sizes]

    return count


def _need_gpu(base: BaseModel) -> None:
    if not base.gpu_gb:
        return
    import torch

    total = torch.cuda.mem_get_info()[1] / 1e9 if torch.cuda.is_available() else 0.0
    if total < base.gpu_gb:
        raise MachineError(
            f"{base.name} precisa de uma GPU com {number(base.gpu_gb)} GB e esta máquina tem {number(total)} GB. "
            f"Use uma T4 ou maior, ou o modelo {EMBEDDED.name}."
        )
