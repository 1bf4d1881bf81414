"""Aba Resultados: a tabela principal, as figuras e a planilha da rodada."""

from functools import cache

import gradio as gr

from ..comparison.headlines import COLUMNS, headline
from ..errors import FinetuneError
from ..local_api.process_environment import without_paths
from . import fields
from .room import Room

# Larguras fixas: num telefone a tabela rola para o lado em vez de partir as palavras.
WIDTHS: list[str | int] = ["150px", "170px", "260px", "190px", "240px", "190px"]
FIGURES = {
    "perda": "Perda contra tempo de treino",
    "diferencas": "Diferença entre ajustado e base, com intervalo de 95 %",
    "flexibilidade": "Flexibilidade por família de tarefa",
    "equilibrio": "Quando a máquina própria se paga",
    "preferencia": "Preferência nas revisões às cegas",
}


def build(room: Room, tab: gr.Tab) -> None:
    """Desenha a aba; a tabela é calculada quando alguém a abre, uma vez."""
    if not any(room.run.glob("*/respostas.jsonl")):
        gr.Markdown("Esta rodada ainda não tem resultados. Execute os cadernos 02 a 04 com esta RODADA.")
        return
    if (workbook := room.run / "comparacao.xlsx").is_file():
        gr.DownloadButton("Baixar comparacao.xlsx", value=str(workbook), elem_id="planilha", variant="primary")
    else:
        gr.Markdown("A planilha ainda não foi escrita. Execute o caderno 04 com esta RODADA.")
    table = gr.Dataframe(
        headers=list(COLUMNS),
        datatype="str",
        label="Uma linha por sistema",
        wrap=True,
        interactive=False,
        max_height=900,
        column_widths=WIDTHS,
        buttons=[],
        elem_id="tabela",
    )
    rows = cache(lambda: _rows(room))
    tab.select(rows, None, table, **fields.INSTANT | {"show_progress": "full"})
    for name, title in FIGURES.items():
        if (path := room.run / "figuras" / f"{name}.png").is_file():
            gr.Image(str(path), label=title, show_label=False, interactive=False, buttons=[], elem_id=f"figura-{name}")


def _rows(room: Room) -> list[list[str]]:
    try:
        return [list(row.values()) for row in headline(room.run, room.data)]
    except FinetuneError as error:
        return [[without_paths(str(error)), *[""] * (len(COLUMNS) - 1)]]
