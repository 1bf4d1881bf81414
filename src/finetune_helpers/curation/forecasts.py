"""O tempo previsto da curadoria e o resumo do que ela deixou."""

from collections.abc import Mapping
from pathlib import Path

from ..estimates import Forecast, files, first_time, phase
from ..portuguese import number, usd
from ..records import read_json, sha256_file
from .pipeline import SMALL
from .remote import KNOWN_SIZES, OFFICIAL_DRIVE_ID
from .sources import find_sample

UNPACKED = 2.1  # o arquivo de treino descompactado sobre o zip oficial inteiro
ROWS_PER_MB = 16  # linhas que passam por todas as regras, por MB, no começo do arquivo
READINGS = 3  # LLaMA, GPT e o outro modo; as leituras alternativas percorrem a fonte inteira


def forecast(source: str, *, n_train: int, n_test: int, full_scan: bool = False, **_: object) -> Forecast:
    """Previsão do caderno 01: ler a fonte, escolher as linhas, gravar, conferir e desenhar; a rede não se prevê."""
    megabytes, rows = _megabytes(source), n_train + n_test
    read = None
    if megabytes is not None:
        whole = full_scan or megabytes * 10**6 <= SMALL
        read = megabytes + READINGS * (megabytes if whole else min(megabytes, rows / ROWS_PER_MB))
    phases = (
        phase("curar", "cpu", {"curar": read, "escolher": READINGS * rows}),
        phase("gravar e conferir", "cpu", {"conferir": 2 * rows}),
        phase("desenhar", "cpu", {"desenhar": 1}),
    )
    return Forecast("CPU", phases, f"{usd(0)} (só a sua máquina)")


def summary(run: Path, data: Path, expected: Forecast, seconds: Mapping[str, float]) -> str:
    """O resumo do caderno 01, lido de ``curadoria.json`` e dos arquivos gravados em ``data``."""
    reports = {model: read_json(data / model / "curadoria.json") for model in ("llama", "gpt")}
    shared = read_json(data / "comparacao" / "comparacao.json")
    made = "-".join(sha256_file(data / model / "treino.jsonl")[:12] for model in reports)
    facts = {
        f"dados do {model}": f"{_rows(report)} de {number(report['fonte']['linhas_lidas'])} linhas lidas; "
        + files(data / model, "treino.jsonl", "teste.jsonl")
        for model, report in reports.items()
    }
    facts |= {"teste da comparação": f"{number(shared['itens'])} itens; {files(data / 'comparacao', 'teste.jsonl')}"}
    leaks = sum(report["pares_parecidos_entre_teste_e_treino"] for report in reports.values())
    facts |= {"resultado": f"{number(leaks)} pares parecidos entre teste e treino", "custo": expected.cost}
    took, memory = first_time(run, "01_curadoria", seconds, made)
    return expected.summary(took, facts | {"memória": memory})


def _rows(report: Mapping) -> str:
    train, test = report["treino"], report["teste"]
    return f"{number(train['linhas'])} de treino ({number(train['tokens'])} tokens) e {number(test['linhas'])} de teste"


def _megabytes(source: str) -> float | None:
    """Tamanho da fonte já descompactada, em MB; None se ela ainda está na rede."""
    if source == "oficial":
        return UNPACKED * KNOWN_SIZES[OFFICIAL_DRIVE_ID] / 10**6
    path = find_sample() if source == "amostra" else Path(source)
    if not path.exists():
        return None
    found = [path] if path.is_file() else [one for one in path.iterdir() if one.is_file()]
    size = sum(one.stat().st_size * (UNPACKED if one.suffix in (".gz", ".zip") else 1) for one in found)
    return size / 10**6
