"""Aba Perguntar: um sistema, uma resposta transmitida e as fontes do treino mais próximas."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import gradio as gr

from ..errors import InputError
from ..portuguese import number
from . import answering, fields
from .answering import Progress
from .fields import Fields
from .room import Room
from .sources import RUN, Source, copied_words
from .systems import System

SOURCES = 3
COPIED = "copiado"


@dataclass(frozen=True)
class AskTab:
    """A aba desenhada: os campos, a resposta, as palavras copiadas e as fontes."""

    room: Room
    fields: Fields
    answer: gr.Textbox
    copied: gr.HighlightedText
    sources: list[gr.Textbox]

    @property
    def outputs(self) -> list:
        """Tudo o que ``respond`` muda."""
        changed = self.fields
        return [changed.status, changed.ask, changed.stop, self.answer, self.copied, *self.sources]

    def respond(self, name: str, kind: str, text: str, tokens: float, request: gr.Request) -> Iterator[dict]:
        """Transmite a resposta e, no fim, mostra as fontes."""
        hidden = dict.fromkeys([self.copied, *self.sources], gr.update(visible=False))
        yield {self.answer: "", **hidden, **self.fields.busy()}
        try:
            chosen, asked = self._chosen(name), answering.question(text, kind)
        except InputError as error:
            yield self.fields.free(str(error))
            return
        for progress in answering.answer(chosen, asked, tokens, self.room.visits.start(request.session_hash)):
            status = "Procurando as fontes…" if progress.over else progress.status
            yield {self.answer: progress.text, self.fields.status: status}
        yield self._ended(progress, asked.input or asked.instruction)

    def _chosen(self, name: str) -> System:
        if found := self.room.systems.named(name):
            return found
        raise InputError("Escolha um sistema da lista.")

    def _ended(self, progress: Progress, asked: str) -> dict:
        if not progress.text:
            return self.fields.free(progress.status)
        found, note = self.room.sources(asked)
        pieces = highlighted(progress.text, found)
        copied = any(label for _, label in pieces)
        if found and not copied:
            note = f"Nenhuma sequência de {RUN} palavras foi copiada das fontes."
        boxes = {box: _shown(at, source) for at, (box, source) in enumerate(zip(self.sources, found, strict=False), 1)}
        ended = self.fields.free(f"{progress.status} {note}".strip())
        return {**ended, **boxes, self.copied: gr.update(visible=copied, value=pieces)}


def build(room: Room) -> None:
    """Desenha a aba e liga os seus botões."""
    choices = [(f"{one.label} ({one.detail})", one.name) for one in room.systems.ready]
    system = gr.Dropdown(choices, label="Quem responde", filterable=False, elem_id="sistema")
    asking = fields.draw("Perguntar", "perguntar", bool(choices))
    answer = gr.Textbox(label="Resposta", interactive=False, lines=5, buttons=["copy"], elem_id="resposta")
    copied = gr.HighlightedText(
        label=f"Palavras copiadas de uma fonte ({RUN} ou mais seguidas)",
        visible=False,
        color_map={COPIED: "#E69F00"},
        show_inline_category=False,
        elem_id="copiadas",
    )
    places = range(1, SOURCES + 1)
    sources = [gr.Textbox(visible=False, interactive=False, lines=2, elem_id=f"fonte-{at}") for at in places]
    tab = AskTab(room, asking, answer, copied, sources)
    asking.connect(room, tab.respond, system, tab.outputs)


def highlighted(answer: str, sources: list[Source]) -> list[tuple[str, str | None]]:
    """A resposta em pedaços, marcados ``copiado`` quando estão numa das fontes."""
    spans = [span for source in sources for span in copied_words(answer, source)]
    cuts = sorted({0, len(answer), *(cut for span in spans for cut in span)})
    return [
        (answer[start:end], COPIED if any(a <= start and end <= b for a, b in spans) else None)
        for start, end in pairwise(cuts)
    ]


def _shown(at: int, source: Source) -> dict:
    label = f"Fonte {at}, semelhança {number(source.similarity, 2)}"
    return gr.update(visible=True, label=label, value=f"{source.title}\n{source.content}")
