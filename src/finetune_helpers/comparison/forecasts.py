"""O tempo e o custo previstos da comparação e o resumo do que ela deixou."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..estimates import Forecast, files, first_time, phase
from ..portuguese import number, usd
from ..records import sha256_file
from .study import NOT_RUN, read_study
from .workbook import FILE, REVIEWED


def forecast(run_folder: Path | str, *, similarity: bool = True, judge_cap_usd: float = 0.0) -> Forecast:
    """Previsão do caderno 04 com as respostas que há na rodada; ``judge_cap_usd`` é o teto do juiz, em dólares."""
    study = read_study(run_folder)
    answers = sum(map(len, study.answers.values()))
    texts = answers + len(study.items) if similarity else 0
    phases = (
        phase("semelhança", "cpu", {"carregar o MiniLM": int(similarity), "comparar sentidos": texts}),
        phase("planilha", "cpu", {"abrir a planilha": 1, "montar a planilha": answers}),
        phase("tabela e figuras", "cpu", {"desenhar": 1, "resumir": 2 * answers}),
    )
    judged = f"até {usd(judge_cap_usd)} do juiz" if judge_cap_usd else "só a sua máquina"
    return Forecast("CPU", phases, f"{usd(0)} ({judged})" if not judge_cap_usd else judged)


def summary(
    run_folder: Path | str, expected: Forecast, seconds: Mapping[str, float], headline: Sequence[Mapping[str, str]]
) -> str:
    """O resumo do caderno 04: a planilha, as figuras e a precisão de cada sistema que respondeu."""
    run = Path(run_folder)
    made = "-".join(sha256_file(path)[:12] for path in sorted(run.glob("*/respostas.jsonl")))
    figures = sorted((run / "figuras").glob("*.png"))
    took, memory = first_time(run, "04_comparacao", seconds, made)
    facts = {
        "memória": memory,
        "feito": f"{files(run, FILE, REVIEWED)}; {number(len(figures))} figuras em figuras/",
        "custo": expected.cost,
        **{row["Sistema"]: row["Precisão"] for row in headline if row["Precisão"] != NOT_RUN},
    }
    return expected.summary(took, facts)
