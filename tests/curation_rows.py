"""Linhas inventadas para os testes da curadoria: textos variados, com semente, que passam por todas as regras."""

import json
import random
from pathlib import Path

REAL_ROWS = Path(__file__).resolve().parents[2] / "shared" / "dados_reais"
_WORDS = ("river", "mountain", "garden", "history", "engine", "painter", "village", "winter", "kitchen", "sailor")


def count_words(texts: list[str]) -> list[int]:
    """Contador de tokens dos testes: uma palavra é um token."""
    return [len(text.split()) for text in texts]


def sentence(n_words: int, seed: int) -> str:
    """Frase de ``n_words`` palavras sorteadas com números, para que duas sementes nunca se pareçam."""
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(_WORDS)}{draw.randint(0, 999)}" for _ in range(n_words))


def good_row(seed: int, content_words: int = 80) -> dict:
    """Linha que passa por todas as regras de texto."""
    return {
        "uid": f"{seed:010d}",
        "title": f"The {sentence(6, 10_000 + seed)}",
        "content": f"By the author of {sentence(content_words, seed)}",
        "target_ind": [1, 2],
        "target_rel": [1.0, 1.0],
    }


def write_rows(path: Path, rows: list) -> Path:
    """Grava as linhas; um texto vai como está, para simular danos."""
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
