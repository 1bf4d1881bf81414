"""O que a rodada tem para responder: as duas trilhas, base e ajustado, e por que algum não pode."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

import local_finetune_api

from .. import answers, prompts
from ..comparison import study
from ..errors import FinetuneError, InputError, RunMismatchError, notebook_text
from ..prompts import Question
from ..records import read_json

if TYPE_CHECKING:
    from openai import OpenAI

    from ..gpt import Provider

Write = Callable[[Question, int, Callable[[str], None], Event], None]
HEARTBEAT = 0.2  # segundos entre dois sinais de vida de quem espera um trecho
NO_LLAMA = "Esta rodada não guarda os pesos do LLaMA ajustado. Execute o caderno 02 com esta rodada (`run`)."
NO_GPT = "Esta rodada não guarda os pesos do GPT ajustado. Execute o caderno 03 com esta rodada (`run`)."


@dataclass(frozen=True)
class Access:
    """O que se dá à página para que o provedor da trilha GPT responda.

    ``base_url`` é o endereço dele, se pede um; ``secret`` dá a chave pelo nome; ``paid_questions`` é quantas perguntas
    um provedor pago pode receber enquanto a página está aberta.
    """

    base_url: str = ""
    secret: Callable[[str], str] = lambda name: os.environ.get(name, "")
    paid_questions: int = 0


@dataclass(frozen=True)
class System:
    """Um sistema da rodada: que pesos são (``model_id``), como responde (``write``) ou por que não (``reason``).

    ``write(pergunta, tokens, entregar, parar)`` entrega a resposta aos pedaços e volta no fim dela, ou quando ``parar``
    é ligado. Os sistemas que dividem uma máquina dividem ``turn``.
    """

    name: str
    model_id: str = ""
    detail: str = ""
    reason: str = ""
    write: Write | None = None
    turn: Any = field(default_factory=Lock, repr=False)

    @property
    def label(self) -> str:
        """O nome que as pessoas leem, o mesmo da planilha."""
        arm, _, role = self.name.partition("-")
        return f"{study.ARMS[arm]}, {study.ROLES[role]}" if arm in study.ARMS and role in study.ROLES else self.name

    def pieces(self, asked: Question, max_tokens: int) -> Iterator[str]:
        """Os pedaços da resposta; um pedaço vazio é só um sinal de vida. Fechar o iterador interrompe a geração."""
        out: SimpleQueue[str | BaseException | None] = SimpleQueue()
        stop = Event()

        def work() -> None:
            try:
                with self.turn:
                    if self.write and not stop.is_set():
                        self.write(asked, max_tokens, out.put, stop)
                out.put(None)
            except BaseException as error:
                out.put(error)

        Thread(target=work, daemon=True).start()
        try:
            while True:
                try:
                    piece = out.get(timeout=HEARTBEAT)
                except Empty:
                    piece = ""
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            stop.set()


@dataclass(frozen=True)
class Systems:
    """Os sistemas de uma rodada e o que fechar quando a página fecha."""

    every: tuple[System, ...]
    closing: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def ready(self) -> list[System]:
        """Os que respondem."""
        return [system for system in self.every if system.write]

    def named(self, name: str) -> System:
        """O sistema ``name``; InputError se ele não responde."""
        chosen = next((system for system in self.ready if system.name == name), None)
        if chosen is None:
            raise InputError("Escolha um sistema da lista.")
        return chosen


def said(error: FinetuneError) -> str:
    """A mensagem para quem está na página: sem pastas, e com os nomes que os cadernos dão aos parâmetros."""
    return notebook_text(local_finetune_api.without_paths(str(error)))


def find(run_folder: Path | str, access: Access | None = None) -> Systems:
    """Os quatro sistemas da rodada, na ordem da comparação; nada é carregado antes da primeira pergunta.

    Um que não pode responder (sem pesos, sem chave, ou cujos pesos não são os das respostas da rodada) traz o motivo.
    """
    run, machine, closing = Path(run_folder), Lock(), ExitStack()
    arms = {"llama3": lambda: _llama(run, machine), "gpt": lambda: _gpt(run, machine, closing, access or Access())}
    every: list[System] = []
    for arm, build in arms.items():
        try:
            every += build()
        except FinetuneError as error:
            reason = said(error)
            every += [System(f"{arm}-{role}", reason=reason) for role in ("base", "tuned")]
    return Systems(tuple(every), closing)


def _llama(run: Path, machine: Any) -> list[System]:
    from .. import training
    from ..training.model import check_card

    adapter = run / "llama3" / "adaptador"
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(NO_LLAMA)
    steps = read_json(run / "rodada.json")["passos"] if (run / "rodada.json").is_file() else {}
    asked = steps.get("02_treino_llama3", {}).get("parametros", {})
    profile = training.choose("auto", engine=asked.get("MOTOR", ""), model=asked.get("MODELO", ""))
    names = {"base": training.base_id(profile), "tuned": training.tuned_id(profile, adapter)}
    check_card(adapter, profile)
    _refuse_mixture(run / "llama3", names)
    where = "CPU" if profile.device == "cpu" else "GPU"

    @cache
    def load() -> tuple[Any, Any]:
        model, tokenizer = training.load(profile)
        # A base primeiro: expandir os 4 bits de um modelo já com adaptador o deixaria sem ele.
        model = training.to_answer(model, profile)
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(adapter)).eval(), tokenizer

    return [
        System(f"llama3-{role}", name, where, write=local_writer(load, role == "tuned"), turn=machine)
        for role, name in names.items()
    ]


def local_writer(load: Callable[[], tuple[Any, Any]], tuned: bool) -> Write:
    """Responde com um modelo desta máquina, com o adaptador ligado ou desligado."""

    def write(asked: Question, max_tokens: int, deliver: Callable[[str], None], stop: Event) -> None:
        model, tokenizer = load()
        # Só agora: o Unsloth, que o carregamento pode usar, precisa entrar antes do transformers.
        from ..training import measures

        text = prompts.alpaca_prompt(asked)
        length, longest = len(measures.encode(tokenizer, text)), model.config.max_position_embeddings
        if length >= longest:
            raise InputError(f"A pergunta tem {length} tokens e não sobra lugar para a resposta. Encurte-a.")
        with nullcontext() if tuned else model.disable_adapter():
            limits = [min(max_tokens, longest - length)]
            measures.generate(
                model, tokenizer, [text], limits=limits, on_text=lambda _, piece: deliver(piece), stop=stop
            )

    return write


def _gpt(run: Path, machine: Any, closing: ExitStack, access: Access) -> list[System]:
    from .. import gpt

    folder = run / "gpt"
    if not (folder / "trabalho.json").is_file() or not (folder / "treino.json").is_file():
        raise InputError(NO_GPT)
    job, report = read_json(folder / "trabalho.json"), read_json(folder / "treino.json")
    names = {"base": report.get("base_id", ""), "tuned": report.get("model_id", "")}
    served = {"base": job["request"]["model"], "tuned": report.get("fine_tuned_model", "")}
    provider = gpt.provider(job["request"]["provider"], base_url=access.base_url)
    paid = f", pago: até {access.paid_questions} perguntas" if provider.paid else ""
    client = _client(run, provider, closing, access)
    _refuse_mixture(folder, names)
    turn = nullcontext() if provider.paid else machine
    return [
        System(
            f"gpt-{role}", name, f"provedor {provider.name}{paid}", write=hosted_writer(client, served[role]), turn=turn
        )
        for role, name in names.items()
    ]


def _client(run: Path, provider: "Provider", closing: ExitStack, access: Access) -> "Callable[[], OpenAI]":
    """Função que dá o cliente; a API local só inicia na primeira pergunta, e as perguntas pagas são contadas."""
    from .. import gpt

    if not provider.paid:
        job = read_json(run / "gpt" / "trabalho.json")["job_id"]
        if not list((run / "gpt" / "api_local" / "jobs" / job).glob("models/*/adapter_model.safetensors")):
            raise InputError(NO_GPT)
        steps = read_json(run / "rodada.json")["passos"] if (run / "rodada.json").is_file() else {}
        offered = provider.to_offer(steps.get("03_treino_gpt", {}).get("parametros", {}).get("MODELO", ""))

        @cache
        def reopened() -> "OpenAI":
            server = closing.enter_context(local_finetune_api.running(run / "gpt" / "api_local", models=offered))
            return gpt.client(gpt.provider(provider.name, base_url=server.base_url), api_key=server.api_key)

        return reopened
    if access.paid_questions < 1:
        raise InputError("Este provedor é pago. Diga em `paid_questions` quantas perguntas você aceita pagar.")
    hosted = gpt.client(provider, api_key=access.secret(provider.key_name))
    left, counting = [access.paid_questions], Lock()

    def spend() -> "OpenAI":
        with counting:
            if not left[0]:
                raise InputError(f"As {access.paid_questions} perguntas pagas desta página acabaram.")
            left[0] -= 1
        return hosted

    return spend


def hosted_writer(client: "Callable[[], OpenAI]", model: str) -> Write:
    """Responde por uma API; quem desiste desliga, e o servidor para de gerar."""

    def write(asked: Question, max_tokens: int, deliver: Callable[[str], None], stop: Event) -> None:
        from ..gpt import chat

        for piece in chat.stream(client(), model, asked, max_tokens):
            if stop.is_set():
                return
            deliver(piece)

    return write


def _refuse_mixture(folder: Path, names: dict[str, str]) -> None:
    """RunMismatchError se os pesos que vão responder não são os que escreveram as respostas da rodada."""
    for row in answers.read(folder / "respostas.jsonl"):
        expected = names.get(row.system.removeprefix(f"{folder.name}-"), names["base"])
        if row.model_id != expected:
            raise RunMismatchError(
                f"As respostas de {row.system} nesta rodada são de {row.model_id}, e aqui responderia {expected}. "
                "Use a máquina e os parâmetros do treino, ou outra rodada (`run`): a página não mistura modelos."
            )
