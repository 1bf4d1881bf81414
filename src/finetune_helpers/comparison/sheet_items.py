"""Folhas Métricas e Respostas: uma linha por item e sistema; ficam ocultas enquanto a revisão é cega."""

from dataclasses import dataclass

from . import flexibility
from .cells import Book, finish, header, plain, put, scale, title, widths
from .metrics import Scores
from .results import Results
from .rules import PROBLEMS

MISSING = "[sem resposta]"
METRIC_COLUMNS = {"chrf": "F", "rouge_l": "G", "cosine": "H", "loss": "I", "defective": "J", "unsupported": "L"}
METRIC_COLUMNS |= {"copied": "N"}


@dataclass(frozen=True)
class Area:
    """Linhas de dados de uma folha, para as fórmulas de outra: funcionam em qualquer ordem das linhas."""

    sheet: str
    first: int
    last: int

    def column(self, letter: str) -> str:
        """Endereço absoluto de uma coluna da área."""
        return f"{self.sheet}!${letter}${self.first}:${letter}${max(self.last, self.first)}"


def metrics_sheet(book: Book, results: Results) -> Area:
    """Escreve Métricas: as medidas de cada resposta."""
    sheet = book.workbook.create_sheet("Métricas")
    title(
        sheet, "Métricas por item", "Proximidade ao texto do catálogo não é precisão: leia ao lado da revisão humana."
    )
    labels = ["item_id", "Regime", "Grupo", "Sistema", "Palavras", "chrF++", "ROUGE-L", "Cosseno", "Perda (nats/token)"]
    labels += ["Com defeito (1 = sim)", "Defeitos", "Específicos sem apoio por 100 palavras", "Quais"]
    first = header(sheet, 4, [*labels, "Copiado do treino", "Título de treino copiado"], 62)
    row = first - 1
    for row, score in enumerate(_all(results), start=first):
        _metrics_row(sheet, row, score, results.study.items[score.item_id])
    widths(sheet, [19, 10, 18, 17, 9, 8, 9, 9, 11, 9, 44, 14, 40, 10, 44])
    area = Area("Métricas", first, row)
    for letter, low in (("F", False), ("G", False), ("H", False), ("I", True), ("L", True), ("N", True)):
        scale(sheet, f"{letter}{first}:{letter}{max(row, first)}", low_is_good=low)
    finish(sheet, "E5", 4, filter_area=f"A4:O{max(row, first)}")
    return area


def _all(results: Results) -> list[Scores]:
    return [score for scores in results.scores.values() for score in scores.values()]


def _metrics_row(sheet, row: int, score: Scores, item: dict) -> None:
    defects = "; ".join(PROBLEMS[key] for key in score.problems)
    values = [score.item_id, item.get("regime") or None, item.get("cluster") or None, score.system, score.words]
    values += [score.chrf, score.rouge_l, score.cosine, score.loss, score.defective, defects or None]
    values += [score.unsupported, "; ".join(score.specifics) or None, score.copied, score.copied_from or None]
    forms = {6: "0.0", 7: "0.000", 8: "0.000", 9: "0.000", 12: "0.00", 14: "0.0%"}
    for column, value in enumerate(values, start=1):
        cell = sheet.cell(row, column)
        if isinstance(value, str):
            plain(cell, value)
        elif value is not None:
            # Sem medida, a célula fica vazia e não "n/d": as médias da folha Resumo a pulam.
            cell.value = value
            if column in forms:
                cell.number_format = forms[column]


def answers_sheet(book: Book, results: Results) -> Area:
    """Escreve Respostas: o que cada sistema respondeu, com o que falta à vista, e o veredicto da flexibilidade."""
    sheet = book.workbook.create_sheet("Respostas")
    title(sheet, "Respostas", "Tudo o que os sistemas escreveram; os arquivos respostas.jsonl têm os textos inteiros.")
    labels = ["item_id", "Suíte", "Família", "Sistema", "Pergunta", "Referência", "Resposta", "Tokens de entrada"]
    labels += ["Tokens de saída", "Segundos", "Fim", "Estrito (1 = passou)", "Tolerante (1 = passou)"]
    first = header(sheet, 4, labels)
    row = first - 1
    for row, values in enumerate([*_test_rows(results), *_flexibility_rows(results)], start=first):
        for column, value in enumerate(values, start=1):
            if value is not None:
                put(sheet.cell(row, column), value, "0.00" if column == 10 else None)
        sheet.row_dimensions[row].height = 90
    widths(sheet, [19, 13, 24, 17, 40, 55, 70, 11, 11, 11, 9, 11, 11])
    finish(sheet, "E5", 4, filter_area=f"A4:M{max(row, first)}")
    return Area("Respostas", first, row)


def _test_rows(results: Results):
    study = results.study
    for system in study.systems:
        for key, item in study.items.items() if system in study.answers else ():
            given = study.answers[system].get(key)
            yield [key, "teste", None, system, item["title"], item["content"], *_given(given), None, None]


def _flexibility_rows(results: Results):
    for system, verdicts in results.verdicts.items():
        for key, verdict in verdicts.items():
            prompt, given = flexibility.find(key), results.study.flexibility[system][key]
            asked = "\n\n".join(part for part in (prompt.instruction, prompt.input) if part)
            row = [key, "flexibilidade", flexibility.FAMILIES[verdict.family], system, asked, None, *_given(given)]
            yield [*row, int(verdict.strict), int(verdict.loose)]


def _given(row: dict | None) -> list:
    if row is None:
        return [MISSING, None, None, None, None]
    return [row["answer"] or "", row["tokens_in"], row["tokens_out"], row["seconds"], row["finish_reason"]]
