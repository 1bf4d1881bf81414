"""As três abas: perguntar, comparar às cegas e ver os resultados. A fila e o cancelamento são os do Gradio."""

import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import gradio as gr

from .. import votes
from ..errors import FinetuneError, InputError
from ..portuguese import number
from ..records import Example
from ..votes import CHOICES, Vote
from .similar import COPIED, RUN, Catalogue, highlighted
from .systems import (
    FREE,
    LONGEST_ANSWER,
    LONGEST_QUESTION,
    TITLE,
    USUAL_ANSWER,
    System,
    Systems,
    answer,
    explained,
    question,
    said,
)

SHOWN, DRAWN = 3, "sorteado"
QUEUED = "Na fila: os modelos atendem um pedido de cada vez."
FIGURES = {
    "perda": "Perda contra tempo de treino",
    "diferencas": "Diferença entre ajustado e base, com intervalo de 95 %",
    "flexibilidade": "Flexibilidade por família de tarefa",
    "custo_qualidade": "Custo contra qualidade",
    "preferencia": "Preferência nas revisões às cegas",
}
# Fixas: num telefone a tabela rola para o lado em vez de partir as palavras.
WIDTHS: list[str | int] = ["170px", *["230px"] * 6]
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
INSTANT: dict[str, Any] = HIDDEN | {"concurrency_limit": None}
ANSWERING: dict[str, Any] = HIDDEN | {"concurrency_id": "respostas"}


@dataclass(frozen=True)
class Room:
    """O que as abas compartilham: as pastas da rodada e dos dados e os sistemas que respondem."""

    run: Path
    data: Path
    systems: Systems


class Fields:
    """Tipo, texto e tamanho da pergunta; os botões de começar e parar; e a linha que diz o que está acontecendo.

    ``name`` distingue os de cada aba.
    """

    def __init__(self, label: str, name: str, enabled: bool):
        self.kind = gr.Radio([TITLE, FREE], value=TITLE, label="O que você vai escrever")
        self.text = gr.Textbox(
            label="Pergunta",
            info="Em inglês, a língua do treino. Para um título, o modelo escreve a descrição.",
            placeholder="The Secret Garden: An Illustrated Edition",
            lines=2,
            max_length=LONGEST_QUESTION,
            elem_id=f"{name}-texto",
        )
        size = "Tamanho máximo da resposta (tokens)"
        self.tokens = gr.Slider(16, LONGEST_ANSWER, USUAL_ANSWER, label=size, step=16, buttons=[])
        with gr.Row():
            self.ask = gr.Button(label, variant="primary", interactive=enabled, elem_id=f"{name}-pedir")
            self.stop = gr.Button("Parar", variant="stop", interactive=enabled, elem_id=f"{name}-parar")
        self.status = gr.Textbox(label="Situação", interactive=False, lines=1, elem_id=f"{name}-situacao")

    def connect(self, respond: Callable, chosen: gr.Dropdown, outputs: list) -> None:
        """Liga o botão e o teclado a ``respond``, na fila; Parar tira o pedido da fila ou interrompe a geração."""
        waiting = gr.on([self.ask.click, self.text.submit], lambda: QUEUED, None, self.status, **INSTANT, queue=False)
        inputs = [chosen, self.kind, self.text, self.tokens]
        answering = waiting.then(respond, inputs, [self.status, *outputs], **ANSWERING)
        # Só depois de cancelar: um trecho a caminho poderia escrever por cima e deixar "Escrevendo…" na página.
        stopped = self.stop.click(None, cancels=answering, **INSTANT, queue=False)
        stopped.then(lambda: "Resposta interrompida.", None, self.status, **INSTANT, queue=False)


def described(system: System) -> str:
    """O nome de um sistema e que pesos ele é."""
    return f"{system.label} ({', '.join(filter(None, (system.model_id, system.detail)))})"


def ask_tab(room: Room) -> None:
    """Desenha a aba Perguntar."""
    choices = [(described(system), system.name) for system in room.systems.ready]
    chosen = gr.Dropdown(choices, label="Quem responde", filterable=False, elem_id="sistema")
    fields = Fields("Perguntar", "perguntar", bool(choices))
    written = gr.Textbox(label="Resposta", interactive=False, lines=5, buttons=["copy"], elem_id="resposta")
    copied = gr.HighlightedText(
        label=f"Palavras que também estão num título de treino parecido ou na descrição dele ({RUN} ou mais seguidas)",
        visible=False,
        color_map={COPIED: "#E69F00"},
        show_inline_category=False,
        elem_id="copiadas",
    )
    heading = gr.Markdown("### Títulos de treino parecidos\nSão semelhança, e não a origem da resposta.", visible=False)
    boxes = [gr.Textbox(visible=False, interactive=False, lines=2, elem_id=f"parecido-{at + 1}") for at in range(SHOWN)]
    opened = cache(Catalogue.open)

    def respond(name: str, kind: str, text: str, tokens: float) -> Iterator[dict]:
        yield {fields.status: "", written: "", **dict.fromkeys([copied, heading, *boxes], gr.update(visible=False))}
        so_far = ""
        try:
            asked = question(text, kind)
            for so_far, status in answer(room.systems.named(name), asked, tokens):
                ended = "" if status.endswith("…") else " Procurando títulos parecidos…"
                yield {written: so_far, fields.status: status + ended}
        except FinetuneError as error:
            yield {fields.status: str(error)}
            return
        similar, note = nearest(opened, room.data, asked.input or asked.instruction)
        pieces = highlighted(so_far, [example for example, _ in similar])
        marked = any(label for _, label in pieces)
        if similar and not marked:
            note = f"Nenhuma sequência de {RUN} palavras está também nos títulos parecidos."
        shown = {
            box: gr.update(
                visible=True,
                label=f"Parecido {at} (cosseno {number(cosine, 2)})",
                value=f"{example.title}\n{example.content}",
            )
            for at, (box, (example, cosine)) in enumerate(zip(boxes, similar, strict=False), 1)
        }
        yield {
            fields.status: f"{status} {note}".strip(),
            copied: gr.update(visible=marked, value=pieces),
            heading: gr.update(visible=bool(similar)),
            **shown,
        }

    fields.connect(respond, chosen, [written, copied, heading, *boxes])


def compare_tab(room: Room) -> None:
    """Desenha a aba Comparar: duas respostas sem nome, em lados sorteados, um voto e só depois os nomes."""
    if len(room.systems.ready) < 2:
        gr.Markdown("Comparar pede dois sistemas que respondam, e esta rodada não os tem.")
        return
    couples = combinations(room.systems.ready, 2)
    choices = [(f"{first.label} × {second.label}", f"{first.name}|{second.name}") for first, second in couples]
    choices.insert(0, ("Sortear os dois", DRAWN))
    pair = gr.Dropdown(choices, value=DRAWN, label="Quem compete", filterable=False, elem_id="par")
    fields = Fields("Responder às cegas", "comparar", True)
    with gr.Row():
        sides = [_side(side) for side in "AB"]
    with gr.Row():
        buttons = {
            choice: gr.Button(label, interactive=False, min_width=120, elem_id=f"voto-{choice}")
            for choice, label in CHOICES.items()
        }
    revealed = gr.Textbox(label="Quem é quem", interactive=False, lines=2, visible=False, elem_id="revelacao")
    current = gr.State(None)

    def voting(opened: bool) -> dict:
        return {button: gr.update(interactive=opened) for button in buttons.values()}

    def compete(names: str, kind: str, text: str, tokens: float) -> Iterator[dict]:
        blank: dict = {current: None, revealed: gr.update(visible=False), **dict.fromkeys(sides, "")}
        yield {fields.status: "", **blank, **voting(False)}
        texts, side = [], ""
        try:
            competing, asked = drawn(room.systems.ready, names), question(text, kind)
            for side, box, system in zip("AB", sides, competing, strict=True):
                for so_far, status in answer(system, asked, tokens):
                    # O tempo de cada resposta denunciaria o modelo.
                    told = "pronta." if status.startswith("Pronto") else status
                    yield {box: so_far, fields.status: f"Resposta {side}: {told}"}
                texts.append(so_far)
        except FinetuneError as error:
            where = f"Resposta {side}: " if side else ""
            yield {fields.status: f"{where}{error}" + (" Sem as duas respostas não há voto." if side else "")}
            return
        first, second = competing
        asked_text = asked.input or asked.instruction
        ready = Vote(secrets.token_hex(8), "", asked_text, first.name, second.name, texts[0], texts[1], "")
        yield {current: ready, fields.status: "Leia as duas e vote: os nomes aparecem depois.", **voting(True)}

    def vote(choice: str, ready: Vote | None) -> dict:
        if ready is None:
            return {fields.status: "Não há comparação esperando voto. Faça outra pergunta.", **voting(False)}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            votes.append(room.run, replace(ready, choice=choice, at=now))
        except FinetuneError as error:
            return {fields.status: said(error)}
        done = {current: None, fields.status: f"Voto salvo: {CHOICES[choice]}."}
        names = [described(room.systems.named(name)) for name in (ready.system_a, ready.system_b)]
        return done | voting(False) | {revealed: gr.update(visible=True, value=f"A: {names[0]}\nB: {names[1]}")}

    changed = [current, revealed, *sides, *buttons.values()]
    fields.connect(compete, pair, changed)
    for choice, button in buttons.items():
        button.click(partial(vote, choice), current, [fields.status, *changed], **INSTANT)


def results_tab(room: Room, tab: gr.Tab) -> None:
    """Desenha a aba Resultados; a tabela é calculada quando alguém a abre, uma vez."""
    if not any(room.run.glob("*/respostas.jsonl")):
        gr.Markdown("Esta rodada ainda não tem resultados. Execute os cadernos 02 a 04 com ela.")
        return
    if (workbook := room.run / "comparacao.xlsx").is_file():
        gr.DownloadButton("Baixar comparacao.xlsx", value=str(workbook), elem_id="planilha", variant="primary")
    else:
        gr.Markdown("A planilha ainda não foi escrita. Execute o caderno 04 com esta rodada.")
    table = gr.Dataframe(
        [["Calculando a tabela…"]],
        label="Uma linha por sistema",
        wrap=True,
        interactive=False,
        max_height=900,
        column_widths=WIDTHS,
        buttons=[],
        elem_id="tabela",
    )

    @cache
    def rows() -> dict:
        from ..comparison import headline

        try:
            lines = headline(room.run, room.data)
            return {"headers": list(lines[0]), "data": [list(line.values()) for line in lines]}
        except Exception as error:
            return {"headers": ["Sem tabela"], "data": [[explained(error, "a tabela não pôde ser calculada.")]]}

    tab.select(rows, None, table, **INSTANT)
    for name, title in FIGURES.items():
        if (path := room.run / "figuras" / f"{name}.png").is_file():
            gr.Image(str(path), label=title, show_label=False, interactive=False, buttons=[], elem_id=f"figura-{name}")


def drawn(ready: list[System], pair: str) -> tuple[System, System]:
    """Os dois sistemas do par (ou de um par sorteado), em lados sorteados; InputError se o par não existe."""
    names = str(pair).split("|")
    chosen = ready if pair == DRAWN else [system for system in ready if system.name in names]
    if pair != DRAWN and len(chosen) != 2:
        raise InputError("Escolha um par da lista.")
    first, second = random.SystemRandom().sample(chosen, 2)
    return first, second


def nearest(opened: Callable[[Path], Catalogue], data: Path, text: str) -> tuple[list[tuple[Example, float]], str]:
    """Os títulos de treino mais parecidos com o texto ou, sem eles, uma frase que diz por quê."""
    try:
        similar = opened(data).nearest(text, SHOWN)
    except Exception as error:
        return [], f"Sem títulos parecidos: {explained(error, 'a busca falhou.')}"
    return similar, "" if similar else "Sem títulos parecidos: a rodada não tem títulos de treino."


def _side(side: str) -> gr.Textbox:
    # Numa coluna, para que num telefone as duas respostas fiquem uma embaixo da outra.
    with gr.Column(min_width=320):
        return gr.Textbox(label=f"Resposta {side}", interactive=False, lines=6, elem_id=f"lado-{side}")
