"""Arquivos da curadoria: treino e teste no formato de cada modelo, e o relatório, que é a marca de que terminou."""

from collections.abc import Callable
from pathlib import Path

from .. import prompts
from ..records import Example, sha256_file, write_json, write_jsonl
from .result import Curation

FORMATS: dict[str, Callable[[Example], dict]] = {"llama": prompts.to_alpaca, "gpt": prompts.to_chat}
REPORT = "curadoria.json"


def write(curation: Curation, folder: str | Path) -> Path:
    """Grava ``treino.jsonl``, ``teste.jsonl`` e, por último, ``curadoria.json`` em ``folder``; devolve a pasta."""
    folder = Path(folder)
    # A marca antiga sai antes: com arquivos novos pela metade ela mentiria.
    (folder / REPORT).unlink(missing_ok=True)
    row = FORMATS[curation.model]
    train = write_jsonl(folder / "treino.jsonl", map(row, curation.train))
    test = write_jsonl(folder / "teste.jsonl", map(row, curation.test))
    files = {
        path.name: {"linhas": len(rows), "sha256": sha256_file(path)}
        for path, rows in ((train, curation.train), (test, curation.test))
    }
    write_json(folder / REPORT, curation.report() | {"prompt": prompts.fingerprint(), "arquivos": files})
    return folder
