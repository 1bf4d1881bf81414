"""Estilo comum das figuras: 1600 pixels de largura e cores que daltônicos distinguem (Okabe e Ito)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ..records import atomic_write

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

BLUE, ORANGE, GREY, VERMILION, BLACK = "#0072B2", "#E69F00", "#BBBBBB", "#D55E00", "#000000"
GREEN, PURPLE = "#007A5A", "#9B5585"
NAMES = {"llama": "LLaMA 3", "gpt": "GPT"}
_STYLE: "dict[RcKeyType, Any]" = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.parse_math": False,  # títulos do catálogo têm "$"
}


@contextmanager
def drawing(path: str | Path, height: float) -> Iterator[Figure]:
    """Figura em branco, de ``height`` polegadas, gravada em PNG de forma atômica quando o bloco termina."""
    with rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15, hspace=0.03)
        figure = Figure(figsize=(10, height), dpi=160, layout=layout)
        FigureCanvasAgg(figure)
        yield figure
        with atomic_write(Path(path), "wb") as file:
            # Sem data nem versão nos metadados: a mesma entrada dá o mesmo arquivo.
            figure.savefig(file, format="png", metadata={"Software": None})
