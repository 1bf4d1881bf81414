"""O que as abas de perguntar e de comparar têm igual: campos, botões e o modo de ligar os eventos."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from . import answering
from .room import Room

INSTANT: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
# Quem passa do limite ouve da fila do modelo, em português, antes de encontrar a do Gradio.
ANSWERING = INSTANT | {"concurrency_id": "respostas", "concurrency_limit": 24}


@dataclass(frozen=True)
class Fields:
    """Tipo, texto e tamanho da pergunta; os botões de começar e parar; e a linha que diz o que está acontecendo."""

    kind: gr.Radio
    text: gr.Textbox
    tokens: gr.Slider
    ask: gr.Button
    stop: gr.Button
    status: gr.Textbox

    @property
    def asked(self) -> list:
        """As entradas de uma pergunta."""
        return [self.kind, self.text, self.tokens]

    def busy(self) -> dict:
        """Enquanto uma resposta sai, só se pode parar."""
        return {self.status: "", self.ask: gr.update(interactive=False), self.stop: gr.update(interactive=True)}

    def free(self, status: str) -> dict:
        """Nada em andamento: pode-se perguntar de novo."""
        return {self.status: status, self.ask: gr.update(interactive=True), self.stop: gr.update(interactive=False)}

    def connect(self, room: Room, respond: Callable, first: gr.Dropdown, outputs: list) -> None:
        """Liga o botão e o envio pelo teclado a ``respond``, e o botão de parar à resposta deste visitante."""
        gr.on([self.ask.click, self.text.submit], respond, [first, *self.asked], outputs, **ANSWERING)
        self.stop.click(stopper(room), None, None, **INSTANT)


def draw(label: str, name: str, enabled: bool) -> Fields:
    """Desenha os campos; ``name`` distingue os de cada aba."""
    kind = gr.Radio([answering.TITLE, answering.FREE], value=answering.TITLE, label="O que você vai escrever")
    text = gr.Textbox(
        label="Pergunta",
        info="Em inglês, a língua do treino. Para um título, o modelo escreve a descrição.",
        placeholder="The Secret Garden: An Illustrated Edition",
        lines=2,
        max_length=answering.LONGEST_QUESTION,
        elem_id=f"{name}-texto",
    )
    size = "Tamanho máximo da resposta (tokens)"
    tokens = gr.Slider(16, answering.LONGEST_ANSWER, answering.USUAL_ANSWER, label=size, step=16, buttons=[])
    with gr.Row():
        ask = gr.Button(label, variant="primary", interactive=enabled, elem_id=f"{name}-pedir")
        stop = gr.Button("Parar", variant="stop", interactive=False, elem_id=f"{name}-parar")
    status = gr.Textbox(label="Situação", interactive=False, lines=1, elem_id=f"{name}-situacao")
    return Fields(kind, text, tokens, ask, stop, status)


def stopper(room: Room) -> Callable:
    """Função que para a resposta de quem a chama: o botão Parar, ou a página que se fecha."""

    def stop(request: gr.Request) -> None:
        room.visits.stop(request.session_hash)

    return stop
