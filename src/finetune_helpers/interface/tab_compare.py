"""Aba Comparar: duas respostas sem nome, em lados sorteados, um voto e só depois os nomes."""

import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import combinations

import gradio as gr

from ..errors import FinetuneError, InputError
from ..local_api.process_environment import without_paths
from . import answering, fields, votes
from .answering import Progress
from .fields import Fields
from .room import Room
from .systems import System

DRAWN = "sorteado"
CHOICES = {"A": "A é melhor", "B": "B é melhor", "empate": "Empate", "ambas_ruins": "Ambas ruins"}


@dataclass(frozen=True)
class Round:
    """Uma comparação pronta para o voto: a pergunta, os sistemas e as respostas, na ordem A, B."""

    vote_id: str
    question: str
    systems: tuple[System, System]
    answers: tuple[str, ...]

    def vote(self, choice: str) -> votes.Vote:
        """O voto como ele vai para o arquivo."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        (one, two), (left, right) = self.systems, self.answers
        return votes.Vote(self.vote_id, now, self.question, one.name, two.name, left, right, choice)

    def names(self) -> str:
        """Quem escreveu cada lado."""
        return "\n".join(f"{side}: {one.label} ({one.detail})" for side, one in zip("AB", self.systems, strict=True))


@dataclass(frozen=True)
class CompareTab:
    """A aba desenhada: os campos, os dois lados, os botões de voto, quem é quem e a comparação em curso."""

    room: Room
    fields: Fields
    sides: list[gr.Textbox]
    buttons: dict[str, gr.Button]
    revealed: gr.Textbox
    current: gr.State

    @property
    def outputs(self) -> list:
        """Tudo o que ``compete`` e ``vote`` mudam."""
        changed = [self.fields.status, self.fields.ask, self.fields.stop, self.current, self.revealed]
        return [*changed, *self.sides, *self.buttons.values()]

    def compete(self, pair: str, kind: str, text: str, tokens: float, request: gr.Request) -> Iterator[dict]:
        """Transmite as duas respostas, uma depois da outra; o voto só abre se as duas chegam ao fim."""
        blank: dict = {self.current: None, self.revealed: gr.update(visible=False), **dict.fromkeys(self.sides, "")}
        yield {**blank, **self._voting(False), **self.fields.busy()}
        try:
            competing, asked = drawn(self.room.systems.ready, pair), answering.question(text, kind)
        except InputError as error:
            yield self.fields.free(str(error))
            return
        cancelled, given = self.room.visits.start(request.session_hash), []
        for side, box, system in zip("AB", self.sides, competing, strict=True):
            for progress in answering.answer(system, asked, tokens, cancelled):
                yield {box: progress.text, self.fields.status: f"Resposta {side}: {_unnamed(progress)}"}
            if progress.state != "done":
                yield self.fields.free(f"Resposta {side}: {progress.status} Sem as duas respostas não há voto.")
                return
            given.append(progress.text)
        finished = Round(secrets.token_hex(8), asked.input or asked.instruction, competing, tuple(given))
        ended = self.fields.free("Leia as duas e vote: os nomes aparecem depois.")
        yield {self.current: finished, **ended, **self._voting(True)}

    def vote(self, choice: str, given: Round | None) -> dict:
        """Guarda o voto e mostra os nomes; uma comparação só se vota uma vez."""
        if given is None:
            text = "Não há comparação esperando voto. Faça outra pergunta."
            return {self.fields.status: text, **self._voting(False)}
        try:
            votes.append(self.room.run, given.vote(choice))
        except FinetuneError as error:
            return {self.fields.status: without_paths(str(error))}
        status = {self.current: None, self.fields.status: f"Voto guardado: {CHOICES[choice]}."}
        return {**status, **self._voting(False), self.revealed: gr.update(visible=True, value=given.names())}

    def _voting(self, opened: bool) -> dict:
        return {button: gr.update(interactive=opened) for button in self.buttons.values()}


def build(room: Room) -> None:
    """Desenha a aba e liga os seus botões."""
    if len(room.systems.ready) < 2:
        gr.Markdown("Comparar pede dois sistemas que respondam, e esta rodada não os tem.")
        return
    couples = combinations(room.systems.ready, 2)
    choices = [(f"{one.label} × {two.label}", f"{one.name}|{two.name}") for one, two in couples]
    pair = gr.Dropdown(
        [("Sortear os dois", DRAWN), *choices], value=DRAWN, label="Quem compete", filterable=False, elem_id="par"
    )
    asking = fields.draw("Responder às cegas", "comparar", True)
    with gr.Row():
        sides = [_side(side) for side in "AB"]
    with gr.Row():
        buttons = {
            choice: gr.Button(label, interactive=False, min_width=120, elem_id=f"voto-{choice}")
            for choice, label in CHOICES.items()
        }
    revealed = gr.Textbox(label="Quem é quem", interactive=False, lines=2, visible=False, elem_id="revelacao")
    tab = CompareTab(room, asking, sides, buttons, revealed, gr.State(None))
    asking.connect(room, tab.compete, pair, tab.outputs)
    for choice, button in buttons.items():
        button.click(partial(tab.vote, choice), tab.current, tab.outputs, **fields.INSTANT)


def drawn(ready: list[System], pair: str) -> tuple[System, System]:
    """Os dois sistemas do par (ou de um par sorteado), em lados sorteados; InputError se o par não existe."""
    names = str(pair).split("|")
    chosen = ready if pair == DRAWN else [one for one in ready if one.name in names]
    if pair != DRAWN and len(chosen) != 2:
        raise InputError("Escolha um par da lista.")
    first, second = random.SystemRandom().sample(chosen, 2)
    return first, second


def _side(side: str) -> gr.Textbox:
    # Numa coluna, para que num telefone as duas respostas fiquem uma embaixo da outra.
    with gr.Column(min_width=320):
        return gr.Textbox(label=f"Resposta {side}", interactive=False, lines=6, elem_id=f"lado-{side}")


def _unnamed(progress: Progress) -> str:
    # O tempo de cada resposta denunciaria o modelo.
    return "pronta." if progress.state == "done" else progress.status
