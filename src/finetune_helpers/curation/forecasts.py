"""O tempo previsto do caderno 01 e o resumo do que ele deixou."""

from collections.abc import Mapping
from pathlib import Path

from .. import estimates
from ..portuguese import number
from ..records import read_json
from . import remote
from .pipeline import SMALL
from .sources import find_sample

STEP, MACHINE = "01_curadoria", "cpu"
# O que não depende da fonte (abrir tokenizadores, gravar, conferir, desenhar) custa o mesmo que ler tantas linhas.
FIXED_ROWS = 500_000
_BYTES_PER_ROW = 845  # a média do arquivo verdadeiro
_ROWS_PER_CHOSEN = 45  # linhas lidas por linha escolhida, no começo do arquivo
_PACKED = 2.1  # o arquivo de treino descompactado sobre o zip oficial inteiro


def forecast(run: Path, source: str, *, n_train: int, n_test: int, full_scan: bool = False, **_: object) -> str:
    """O tempo e o custo previstos do caderno 01; a rede não se prevê."""
    size = _size(source)
    if size is None:
        return "Tempo previsto: não medido (a fonte ainda está na rede)\nCusto previsto: nenhum"
    rows = size / _BYTES_PER_ROW
    if not full_scan and size > SMALL:
        rows = min(rows, (n_train + n_test) * _ROWS_PER_CHOSEN)
    return estimates.before(run, STEP, MACHINE, 2 * rows + FIXED_ROWS)


def summary(run: Path, data: Path, seconds: Mapping[str, float]) -> str:
    """O resumo do caderno 01, lido de ``curadoria.json`` e dos arquivos gravados em ``data``."""
    reports = {model: read_json(data / model / "curadoria.json") for model in ("llama", "gpt")}
    shared = read_json(data / "comparacao" / "comparacao.json")
    facts = {
        f"dados do {model}": f"{_rows(report)} de {number(report['fonte']['linhas_lidas'])} linhas lidas; "
        + estimates.files(data / model, "treino.jsonl", "teste.jsonl")
        for model, report in reports.items()
    }
    facts["teste da comparação"] = (
        f"{number(shared['itens'])} itens; {estimates.files(data / 'comparacao', 'teste.jsonl')}"
    )
    leaks = sum(len(report["leaks"]) for report in reports.values())
    facts["vazamento"] = f"{number(leaks)} linhas de teste parecidas com o treino do mesmo modelo"
    units = sum(report["fonte"]["linhas_lidas"] for report in reports.values()) + FIXED_ROWS
    return estimates.after(run, STEP, (MACHINE, units), seconds, facts | {"custo": "nenhum"})


def _rows(report: Mapping) -> str:
    train, test = report["treino"], report["teste"]
    return f"{number(train['linhas'])} de treino ({number(train['tokens'])} tokens) e {number(test['linhas'])} de teste"


def _size(source: str) -> float | None:
    """Bytes da fonte já descompactada; None se ela ainda está na rede."""
    if source == "oficial":
        return _PACKED * remote.KNOWN_SIZES[remote.OFFICIAL_DRIVE_ID]
    path = find_sample() if source == "amostra" else Path(source)
    if not path.exists():
        return None
    files = [path] if path.is_file() else [one for one in path.iterdir() if one.is_file()]
    return sum(one.stat().st_size * (_PACKED if one.suffix in (".gz", ".zip") else 1) for one in files)
