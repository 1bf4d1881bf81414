"""Desenha o fluxo dos seis cadernos para o README: ``python imagens/fluxo.py``."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

ACCENT, INK, PAPER, SOFT = "#1f5f8b", "#222222", "#ffffff", "#e8f0f6"
# Caderno: número, o que faz e o lugar (coluna, linha).
STEPS = {
    "01": ("curadoria", "limpa, escolhe e divide\no catálogo", 1, 1.0),
    "02": ("treino do LLaMA", "4 bits e LoRA,\ncom Unsloth e SFTTrainer", 2, 1.7),
    "03": ("treino do GPT", "pela API de ajuste fino,\nda OpenAI ou local", 2, 0.3),
    "04": ("comparação", "medidas com intervalo\ne duas planilhas", 3, 1.0),
    "05": ("hiperparâmetros", "ensaios dentro de\num orçamento", 2, 2.75),
    "06": ("página", "perguntar e comparar\nàs cegas", 4, 1.7),
}
FILES = {
    "catálogo\nbruto": (0.02, 1.0),
    "comparacao.xlsx\nrevisao.xlsx": (4, 0.3),
}
# De onde, para onde, o que passa e de que lado da seta se escreve.
ARROWS = [
    ((0.2, 1.0), (0.62, 1.0), "", "right"),
    ((1.38, 1.1), (1.62, 1.6), "treino.jsonl", "right"),
    ((1.38, 0.9), (1.62, 0.4), "", "right"),
    ((2.38, 1.6), (2.62, 1.1), "respostas e perdas", "left"),
    ((2.38, 0.4), (2.62, 0.9), "", "left"),
    ((3.38, 0.9), (3.68, 0.4), "", "right"),
    ((3.38, 1.1), (3.62, 1.55), "", "right"),
    ((2.0, 2.44), (2.0, 2.02), "perfil vencedor", "right"),
]


def main() -> None:
    """Grava ``imagens/fluxo.png``."""
    figure, axes = plt.subplots(figsize=(14, 5), dpi=110)
    for number, (name, text, column, row) in STEPS.items():
        shape = FancyBboxPatch((column - 0.36, row - 0.28), 0.72, 0.56, boxstyle="round,pad=0.02,rounding_size=0.06")
        shape.set(facecolor=SOFT, edgecolor=ACCENT, linewidth=1.5)
        axes.add_patch(shape)
        axes.text(column, row + 0.16, f"{number} · {name}", ha="center", va="center", weight="bold", color=ACCENT)
        axes.text(column, row - 0.09, text, ha="center", va="center", fontsize=8.5, color=INK)
    for name, (column, row) in FILES.items():
        style = {"boxstyle": "round,pad=0.5", "facecolor": PAPER, "edgecolor": INK, "linewidth": 0.8}
        axes.text(column, row, name, ha="center", va="center", fontsize=9, color=INK, bbox=style)
    for start, end, text, side in ARROWS:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1})
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        offset = (-8 if side == "right" else 8, 3)
        axes.annotate(text, middle, offset, textcoords="offset points", ha=side, fontsize=8.5, color=INK)
    axes.set(xlim=(-0.35, 4.5), ylim=(-0.1, 3.15))
    axes.axis("off")
    figure.savefig(Path(__file__).with_name("fluxo.png"), bbox_inches="tight")


if __name__ == "__main__":
    main()
