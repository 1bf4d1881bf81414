"""O que a rodada tem para responder: as duas trilhas, base e ajustado, por que algum não pode e como ele responde."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

import local_finetune_api

from .. import answers, prompts, runs
from ..comparison import study
from ..errors import FinetuneError, InputError, RunMismatchError, notebook_text
from ..portuguese import number
from ..prompts import Question
from ..records import read_json

if TYPE_CHECKING:
    from openai import OpenAI

    from ..gpt import Provider

Write = Callable[[Question, int, Callable[[str], None], Event], None]
HEARTBEAT = 0.2  # segundos entre dois sinais de vida de quem espera um trecho
TITLE, FREE = "Título de um livro", "Pergunta livre"
LONGEST_QUESTION, LONGEST_ANSWER, USUAL_ANSWER = 1000, 512, 128
PREPARING = "Preparando o modelo (a primeira pergunta demora mais)…"
NO_WEIGHTS = "Esta rodada não guarda os pesos do {} ajustado. Execute o caderno {} com esta rodada (`run`)."
NO_LLAMA, NO_GPT = NO_WEIGHTS.format("LLaMA", "02"), NO_WEIGHTS.format("GPT", "03")
log = logging.getLogger("finetune_helpers.interface")


@dataclass(frozen=True)
class Access:
    """O endereço do provedor da trilha GPT, se ele pede um, quem dá a chave e quantas perguntas pagas se aceitam."""

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
            ended: BaseException | None = None
            try:
                with self.turn:
                    if self.write and not stop.is_set():
                        self.write(asked, max_tokens, out.put, stop)
            except BaseException as error:
                ended = error
            out.put(ended)

        Thread(target=work, daemon=True).start()
        try:
            while True:
                piece: str | BaseException | None = ""
                with suppress(Empty):
                    piece = out.get(timeout=HEARTBEAT)
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    return
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


def question(text: str, kind: str) -> Question:
    """A pergunta que vai ao modelo: um título, com a instrução do treino, ou um texto livre.

    InputError se o texto está vazio ou passa de ``LONGEST_QUESTION`` caracteres.
    """
    # Uma metade solta de caractere faria o tokenizador falhar.
    clean = str(text or "").encode("utf-8", "ignore").decode().strip()
    if not clean:
        raise InputError("Escreva um título ou uma pergunta.")
    if len(clean) > LONGEST_QUESTION:
        told = f"A pergunta tem {number(len(clean))} caracteres e o limite é {number(LONGEST_QUESTION)}."
        raise InputError(f"{told} Encurte-a.")
    free = Question("pergunta", clean, suite="flexibilidade")
    return free if kind == FREE else Question("pergunta", prompts.INSTRUCTION, clean)


def answer(system: System, asked: Question, max_tokens: float) -> Iterator[tuple[str, str]]:
    """O texto até aqui e a situação dele, à medida que a resposta sai; uma falha sobe como FinetuneError.

    Fechar o iterador (o botão Parar, ou o visitante que sai) interrompe a geração.
    """
    text, started = "", time.monotonic()
    yield "", PREPARING
    try:
        for piece in system.pieces(asked, max(1, min(int(max_tokens), LONGEST_ANSWER))):
            text += piece
            yield text, "Escrevendo…" if text else PREPARING
    except Exception as error:
        kept = " O que ele já tinha escrito está na resposta." if text else ""
        told = f"{explained(error, 'O modelo parou por uma falha.')}{kept} Tente de novo; quem abriu a página tem o "
        raise FinetuneError(f"{told}motivo no registro.") from None
    ended = f"Pronto em {number(time.monotonic() - started, 1)} s."
    yield text, ended if text.strip() else "O modelo terminou sem escrever nada."


def explained(error: Exception, otherwise: str) -> str:
    """O que dizer de uma falha a quem está na página; o rastro inteiro, sem pastas, fica no registro."""
    log.error("a página falhou:\n%s", local_finetune_api.trace(error))
    return said(error) if isinstance(error, FinetuneError) else otherwise


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
            every += [System(f"{arm}-{role}", reason=said(error)) for role in ("base", "tuned")]
    return Systems(tuple(every), closing)


def _llama(run: Path, machine: Any) -> list[System]:
    from .. import training
    from ..training.model import check_card

    adapter = run / "llama3" / "adaptador"
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(NO_LLAMA)
    asked = runs.recorded(run, "02_treino_llama3")
    # No Colab este caderno não instala o Unsloth, que pediria um reinício: os mesmos pesos respondem sem ele.
    engine = asked.get("MOTOR", "") if find_spec("unsloth") else "transformers"
    model = _place(asked.get("MODELO", ""), read_json(adapter / "adapter_config.json")["base_model_name_or_path"])
    profile = training.choose("auto", engine=engine, model=model)
    names = {"base": training.base_id(profile), "tuned": training.tuned_id(profile, adapter)}
    check_card(adapter, profile)
    _refuse_mixture(run / "llama3", names)

    @cache
    def load() -> tuple[Any, Any]:
        model, tokenizer = training.load(profile)
        from peft import PeftModel

        return PeftModel.from_pretrained(training.to_answer(model, profile), str(adapter)).eval(), tokenizer

    return [
        System(f"llama3-{role}", name, profile.name.upper(), write=local_writer(load, role == "tuned"), turn=machine)
        for role, name in names.items()
    ]


def _place(model: str, trained_from: str) -> str:
    """Onde o treino leu um modelo, do qual a rodada só guarda o nome; InputError se ele não está mais lá."""
    if not model or "/" in model:
        return model
    if Path(trained_from).exists():
        return trained_from
    raise InputError(f"O modelo base {model} não está mais onde o treino o leu. Devolva-o para lá.")


def local_writer(load: Callable[[], tuple[Any, Any]], tuned: bool) -> Write:
    """Responde com um modelo desta máquina, com o adaptador ligado ou desligado."""

    def write(asked: Question, max_tokens: int, deliver: Callable[[str], None], stop: Event) -> None:
        model, tokenizer = load()
        # Só agora: o Unsloth, que o carregamento pode usar, precisa entrar antes do transformers.
        from ..training import measures

        text = prompts.alpaca_prompt(asked)
        room = model.config.max_position_embeddings - len(measures.encode(tokenizer, text))
        if room < 1:
            raise InputError("A pergunta não cabe no modelo: não sobra lugar para a resposta. Encurte-a.")
        limits = [min(max_tokens, room)]
        with nullcontext() if tuned else model.disable_adapter():
            measures.generate(model, tokenizer, [text], limits=limits, on_text=lambda _, one: deliver(one), stop=stop)

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
    if provider.paid:
        paid = f", pago: até {access.paid_questions} perguntas"
        client, turn, limit = _counted(provider, access), nullcontext(), paid
    else:
        client, turn, limit = _reopened(run, job["job_id"], provider, closing), machine, ""
    _refuse_mixture(folder, names)
    detail = f"provedor {provider.name}{limit}"
    return [
        System(f"gpt-{role}", name, detail, write=hosted_writer(client, served[role]), turn=turn)
        for role, name in names.items()
    ]


def _reopened(run: Path, job: str, provider: "Provider", closing: ExitStack) -> "Callable[[], OpenAI]":
    """Função que dá o cliente da API local, que só inicia na primeira pergunta."""
    from .. import gpt

    state = run / "gpt" / "api_local"
    if not list((state / "jobs" / job).glob("models/*/adapter_model.safetensors")):
        raise InputError(NO_GPT)
    made, offered = read_json(state / "jobs" / job / "job.json"), runs.recorded(run, "03_treino_gpt").get("MODELO", "")
    if offered and not provider.tunable(offered):
        offered = f"{made['model']}={_place(offered, made['source'])}"

    @cache
    def client() -> "OpenAI":
        server = closing.enter_context(local_finetune_api.running(state, models=provider.to_offer(offered)))
        return gpt.client(gpt.provider(provider.name, base_url=server.base_url), api_key=server.api_key)

    return client


def _counted(provider: "Provider", access: Access) -> "Callable[[], OpenAI]":
    """Função que dá o cliente de um provedor pago e conta cada pergunta."""
    from .. import gpt

    if access.paid_questions < 1:
        raise InputError("Este provedor é pago. Diga em `paid_questions` quantas perguntas você aceita pagar.")
    hosted = gpt.client(provider, api_key=access.secret(provider.key_name))
    questions = iter(range(access.paid_questions))  # `next` é atômico: dois visitantes não gastam a mesma

    def client() -> "OpenAI":
        if next(questions, None) is None:
            raise InputError(f"As {access.paid_questions} perguntas pagas desta página acabaram.")
        return hosted

    return client


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
