"""A aba Treino: as trilhas lado a lado, o que foi aprendido, as curvas e os experimentos do caderno 05."""

from pathlib import Path
from typing import Any

from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN, duration
from ..records import read_json
from .columns import P_VALUE, Column, Styled
from .results import Results
from .statistics import Estimate
from .statistics_sheets import p_cell
from .study import ARMS
from .tables import Sheet
from .wording import TONES, between

FACTS = (
    ("Modelo", "model", ""),
    ("Motor", "engine", ""),
    ("Máquina", "device", ""),
    ("Carregar o modelo (s)", "load", "0.0"),
    ("Treinar (s)", "train", "0.0"),
    ("Avaliar (s)", "evaluate", "0.0"),
    ("Passos", "steps", "#,##0"),
    ("Exemplos vistos", "examples_seen", "#,##0"),
    ("Tokens vistos", "tokens_seen", "#,##0"),
    ("Tokens por segundo", "tokens_per_second", "0.0"),
    ("Parâmetros treináveis", "trainable_parameters", "#,##0"),
    ("Pico de memória da GPU (GB)", "gpu_gb", "0.00"),
    ("Pico de memória do processo (GB)", "rss_gb", "0.00"),
    ("Tokens cobrados", "billed_tokens", "#,##0"),
    ("Queda da perda por hora de treino", "gain_per_hour", "0.00"),
)


def training_sheet(sheet: Sheet, results: Results) -> None:
    """As trilhas lado a lado, o que foi aprendido, as curvas e os experimentos do caderno 05."""
    arms = [arm for arm in dict.fromkeys([*ARMS, *results.study.reports]) if results.efficiency(arm)]
    sheet.wide([40, *[22] * 4])
    sheet.title(
        "Treino",
        "As mesmas fases nas duas trilhas. Uma execução por trilha: outra semente daria outros números.",
        4,
    )
    if not arms:
        sheet.paragraph(f"{NOT_RUN.capitalize()}: nenhuma trilha treinou.", 4)
        return
    columns = [Column("Fato", 40, "", lambda fact: fact[0])]
    columns += [Column(ARMS.get(arm, arm), 22, "0", _fact(results, arm)) for arm in arms]
    top = sheet.row
    sheet.table(columns, FACTS)
    _learning(sheet, results, arms)
    _experiments(sheet, results.study.run / "hiperparametros")
    _curves(sheet, results, arms, top)


def _fact(results: Results, arm: str):
    def value(fact: tuple[str, str, str]) -> Styled | str:
        known = getattr(results.efficiency(arm), fact[1])
        if known is None:
            return NOT_MEASURED
        return Styled(known, "", fact[2])

    return value


def _learning(sheet: Sheet, results: Results, arms: list[str]) -> None:
    """A queda da perda e a parte que é do título: o resto é estilo."""
    rows: list[tuple[str, str, Estimate]] = []
    for arm in arms:
        known = results.title_learning(arm)
        drop = results.learning(arm)
        if known:
            parts = (
                ("sob o próprio título", known.own),
                ("sob o título de outro item (estilo)", known.style),
                ("que é do título (conteúdo)", known.content),
            )
            rows += [(arm, words, estimate) for words, estimate in parts]
        elif drop.n:
            rows.append((arm, "sob o próprio título", drop))
    if not rows:
        return
    sheet.heading("O que foi aprendido: queda da perda de teste (base − ajustado, nats por token)")
    columns = [
        Column("Queda", 40, "", lambda row: f"{ARMS.get(row[0], row[0])}, {row[1]}"),
        Column("Média", 22, "0.000", lambda row: row[2].mean),
        Column(
            "Intervalo de 95 %",
            26,
            "0",
            lambda row: between(row[2].mean, row[2].low, row[2].high, 3).partition(" ")[2] or ABSENT,
        ),
        Column("p", 22, P_VALUE, lambda row: p_cell(row[2])),
        Column("Itens", 22, "0", lambda row: row[2].n),
    ]
    sheet.table(columns, rows)


def _curves(sheet: Sheet, results: Results, arms: list[str], top: int) -> None:
    """As curvas ao lado dos fatos (linha ``top``) e, embaixo, os pontos delas."""
    points = [
        (f"{ARMS.get(arm, arm)}, {words}", point)
        for arm in arms
        for key, words in (("loss_curve", "treino"), ("heldout_curve", "validação"))
        for point in results.study.reports[arm].get(key) or []
        if point.get("seconds") is not None
    ]
    if not points:
        return
    sheet.heading("Os pontos do gráfico")
    columns = [
        Column("Curva", 40, "", lambda row: row[0]),
        Column("Passo", 22, "0", lambda row: row[1]["step"]),
        Column("Minutos", 22, "0.00", lambda row: row[1]["seconds"] / 60),
        Column("Perda", 22, "0.000", lambda row: row[1]["loss"]),
    ]
    place = sheet.table(columns, points)
    names = [name for name, _ in points]
    series = []
    for name in dict.fromkeys(names):
        first, last = names.index(name), len(names) - 1 - names[::-1].index(name)
        tones = next(
            (TONES[arm] for arm in arms if name.startswith(ARMS.get(arm, arm)) and arm in TONES), TONES["llama3"]
        )
        tone = tones[0] if name.endswith("validação") else tones[1]
        marker = {"type": "circle", "size": 6, "fill": {"color": tone}, "border": {"color": tone}}
        span = {"categories": place.range("Minutos", first, last), "values": place.range("Perda", first, last)}
        line = {"color": tone, "width": 1.75}
        series.append({"name": name, "line": line, "marker": marker if tone == tones[0] else {"type": "none"}} | span)
    axes = {
        "x": {"name": "Minutos de treino", "min": 0, "num_format": "0.0"},
        "y": {"name": "Perda (nats por token)", "num_format": "0.0"},
    }
    sheet.chart(
        "curves", series, title="Perda contra tempo", **axes, row=top, column=len(arms) + 1, offset=16, size=(560, 350)
    )


def _experiments(sheet: Sheet, folder: Path) -> None:
    """O que o caderno 05 concluiu, se ele foi executado."""
    path = folder / "resumo.json"
    if not path.is_file():
        return
    known = read_json(path)
    winner = known.get("winner") or {}
    facts: list[tuple[str, Any]] = [
        ("Vencedor", winner.get("trial")),
        ("Perda na validação do vencedor", winner.get("heldout_loss")),
        ("Perda na validação do perfil sem mudanças", known.get("profile_loss")),
        ("Distância entre as sementes (ruído)", known.get("spread")),
        ("Tempo usado", duration(known["spent_seconds"]) if known.get("spent_seconds") else None),
    ]
    sheet.heading("Experimentos do caderno 05 (a perda é a da validação; o teste não foi lido)")
    columns = [
        Column("Fato", 40, "", lambda fact: fact[0]),
        Column("Valor", 22, "0.000", lambda fact: fact[1]),
    ]
    sheet.table(columns, facts)
