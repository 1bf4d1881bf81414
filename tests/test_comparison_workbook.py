"""``comparacao.xlsx``: todo número já está salvo, só Custo tem fórmulas, e nada se perde, se corta ou mente."""

import importlib.util
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import paginas
import pytest
from comparison_run import make_run
from matplotlib.figure import Figure
from openpyxl import load_workbook
from test_comparison_review import HOSTILE, blind, clean, fill, hostile_run, needs_office, ratings, recalculated

from finetune_helpers import comparison, prices, records
from finetune_helpers.comparison import answers_sheets, figures, judge, judgements, metrics, tables, wording
from finetune_helpers.errors import InputError, RunMismatchError

SHEETS = ["Resumo", "Lado a lado", "Métricas", "Estatística", "Flexibilidade", "Treino", "Custo", "Proveniência"]
TUNED = ("llama3-tuned", "gpt-tuned")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Uma rodada pontuada e a sua planilha."""
    run = make_run(tmp_path_factory.mktemp("planilha"))
    records.write_json(run / "hiperparametros" / "resumo.json", {"winner": {"trial": "ensaio 3", "heldout_loss": 3.9}})
    found = comparison.score(run)
    return found, comparison.write_workbook(run, results=found)


@pytest.fixture(scope="module")
def formulas(scored):
    """A planilha como o openpyxl a abre, com as fórmulas."""
    return load_workbook(scored[1])


def written(path, name):
    """Os valores salvos de uma aba, como os lê um programa que não recalcula."""
    return [list(row) for row in load_workbook(path, data_only=True)[name].iter_rows(values_only=True)]


def table(path, name, first):
    """As linhas da tabela que começa no cabeçalho ``first``, como dicionários."""
    lines = written(path, name)
    head = next(number for number, line in enumerate(lines) if line[0] == first)
    end = next((number for number in range(head, len(lines)) if lines[number][0] is None), len(lines))
    return [dict(zip(lines[head], line, strict=True)) for line in lines[head + 1 : end]]


def words(path, name="Resumo"):
    return "\n".join(str(value) for line in written(path, name) for value in line if value is not None)


def test_eight_visible_sheets_in_order_printed_on_a4_landscape(scored, formulas):
    assert scored[1].name == "comparacao.xlsx" and formulas.sheetnames == SHEETS
    for sheet in formulas:
        assert sheet.sheet_state == "visible" and sheet.sheet_properties.pageSetUpPr.fitToPage
        assert (sheet.page_setup.orientation, int(sheet.page_setup.paperSize)) == ("landscape", 9)
        if sheet.title in ("Lado a lado", "Métricas", "Proveniência"):
            assert sheet.print_title_rows and sheet.freeze_panes and sheet.auto_filter.ref


def test_only_costs_has_formulas_and_each_has_its_value(scored, formulas):
    with_formulas = [cell for sheet in formulas for row in sheet for cell in row if cell.data_type == "f"]
    assert {cell.parent.title for cell in with_formulas} == {"Custo"} and len(with_formulas) > 20
    values = load_workbook(scored[1], data_only=True)["Custo"]
    assert all(isinstance(values[cell.coordinate].value, (int, float)) for cell in with_formulas)
    tuned = next(row for row in table(scored[1], "Custo", "Sistema") if row["Sistema"] == "Trilha LLaMA, ajustado")
    for row in table(scored[1], "Custo", "Ocupação da máquina"):
        machine = row["T4, US$ por 1.000"] * row["Ocupação da máquina"]
        assert machine == pytest.approx(tuned["US$ por 1.000"])


@needs_office
def test_libreoffice_recalculates_what_is_stored_and_a_typed_price_changes_the_costs(scored, tmp_path):
    """Uma cópia com os preços em outra ordem dá os números gravados; outra, com a hora da T4 em dobro, o dobro."""
    sorted_book, dear_book = load_workbook(scored[1]), load_workbook(scored[1])  # sem os valores das fórmulas
    sheet, dear = sorted_book["Custo"], dear_book["Custo"]
    first = 1 + next(cell.row for (cell,) in sheet.iter_rows(max_col=1) if cell.value == "Chave")
    lines = range(first, first + len(prices.load()))
    priced = [[cell.value for cell in sheet[line]] for line in lines]
    for line, values in zip(reversed(lines), priced, strict=True):
        for column, value in enumerate(values, start=1):
            sheet.cell(line, column).value = value
    line = next(line for line in lines if str(dear.cell(line, 1).value).startswith("T4|gpu_hour"))
    dear.cell(line, 4).value *= 2
    sorted_book.save(tmp_path / "ordem.xlsx")
    dear_book.save(tmp_path / "dobro.xlsx")
    order, double = recalculated(tmp_path, tmp_path / "ordem.xlsx", tmp_path / "dobro.xlsx")
    stored, computed = (load_workbook(path, data_only=True)["Custo"] for path in (scored[1], order))
    places = [cell.coordinate for row in sheet for cell in row if cell.data_type == "f"]
    assert [place for place in places if abs(computed[place].value - stored[place].value) > 1e-9] == []
    assert not [cell.coordinate for row in computed for cell in row if cell.data_type == "e"]
    old, new = (table(path, "Custo", "Sistema") for path in (scored[1], double))
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if a["Sistema"].startswith("Trilha LLaMA")]
    assert pairs and all(b["US$ por 1.000"] == pytest.approx(2 * a["US$ por 1.000"]) for a, b in pairs)


def test_every_answer_is_side_by_side_with_its_reference(scored):
    found, path = scored
    rows = table(path, "Lado a lado", "Título")
    assert len(rows) == len(found.study.items)
    for row in rows:
        item = found.study.items[row["Identidade"]]
        assert row["Referência do catálogo"] == item["content"]
        for system in wording.answered(found):
            measured, told = found.rows[system.name][item["item_id"]], row[f"{system.label}: regras"]
            assert row[system.label] == tables.clean(found.study.answers[system.name][item["item_id"]].answer)
            assert all(answers_sheets.defect_name(name) in told for name in measured.defects)
            assert ("cortada" in told) == measured.values["cut"]
            loss, cell = measured.values["loss"], row.get(f"{system.label}: perda", "—")
            assert cell == ("—" if loss is None else pytest.approx(loss))


def test_every_measure_of_every_answer_is_in_metrics(scored):
    found, path = scored
    rows = {(row["Identidade"], row["Sistema"]): row for row in table(path, "Métricas", "Item")}
    for system, answers in found.rows.items():
        for item, row in answers.items():
            cells = rows[item, found.study.system(system).label]
            for metric in metrics.METRICS:
                value = row.values[metric.key]
                assert cells[metric.label] == ("—" if value is None else pytest.approx(value, abs=1e-12))


def test_the_summary_says_the_model_under_each_system_and_what_was_not_reviewed(scored):
    found, path = scored
    rows = table(path, "Resumo", "Sistema e modelo")[: len(wording.answered(found))]
    assert [row["Sistema e modelo"] for row in rows] == [f"{s.label}\n{s.model}" for s in wording.answered(found)]
    assert {row["Preferência humana"] for row in rows} == {tables.NO_REVIEW}
    assert all(sentence in words(path) for sentence in found.conclusions())


def test_the_line_of_the_tuned_model_is_read_in_words(scored):
    found, _ = scored
    told, defects = comparison.in_words(found), found.mean("llama3-tuned", "defective")
    assert told.startswith(f"Trilha LLaMA, ajustado (Qwen-Pequeno-0.5B), em {defects.n} respostas:")
    assert wording.share_text(defects) in told and "a perda caiu de 4,3" in told
    assert comparison.in_words(replace(found, rows={})).startswith("Não executado")


def test_form_defects_are_never_under_the_word_precision(scored):
    lines = written(scored[1], "Resumo")
    groups = next(line for line in lines if "Precisão" in line)
    head, place = lines[lines.index(groups) + 1], groups.index("Precisão")
    assert (head[place], groups[place + 1]) == ("Preferência humana", "Texto (regras e perda)")
    assert head.index("Cortada no limite") == head.index("Com defeito de forma") + 1 > place + 1


def test_the_charts_are_native(scored):
    with zipfile.ZipFile(scored[1]) as archive:
        names = archive.namelist()
        charts = "".join(archive.read(name).decode() for name in names if "charts/chart" in name)
    titles = ("O que o ajuste mudou", "Custo contra qualidade", "Aprovação por família", "Perda contra", "por ocupação")
    assert [title for title in titles if title not in charts] == []
    assert not [name for name in names if "media/" in name]


def test_the_same_run_writes_the_same_bytes_and_a_failed_write_leaves_them(scored, monkeypatch):
    found, path = scored
    before = path.read_bytes()
    assert comparison.write_workbook(found.study.run, results=found).read_bytes() == before
    monkeypatch.setattr(tables.Book, "data", lambda _: (_ for _ in ()).throw(OSError("disco cheio")))
    with pytest.raises(OSError, match="disco"):
        comparison.write_workbook(found.study.run, results=found)
    assert path.read_bytes() == before and not list(path.parent.glob("*.parcial"))


@needs_office
def test_hostile_answers_survive_both_files_and_libreoffice_and_never_become_formulas(tmp_path):
    run = hostile_run(tmp_path)
    review = comparison.write_review(run, size=blind.Size(1, 3 * len(HOSTILE), 0))
    path = comparison.write_workbook(run)
    saved, saved_review = recalculated(tmp_path, path, review)  # antes do openpyxl, que grava _x000D_ sem escape
    for opened in (path, saved):
        sheet = load_workbook(opened)["Lado a lado"]
        head = next(row for row in sheet.iter_rows() if row[0].value == "Título")
        column = next(cell.column for cell in head if cell.value == "Trilha GPT, ajustado")
        cells = [sheet.cell(head[0].row + 1 + number, column) for number in range(len(HOSTILE))]
        assert {cell.data_type for cell in cells} == {"s"}
        assert [tables.shown(cell.value) for cell in cells] == [tables.clean(text) for text in HOSTILE]
    typed = fill(saved_review, sheets=(1,), names=("Ana",))
    read = comparison.read_review(saved_review, run)
    assert (ratings(read), read.problems) == (clean(typed), ())


def test_a_review_changes_the_summary_and_side_by_side_and_other_answers_refuse_it(tmp_path):
    run = make_run(tmp_path, n=12, suite=False)
    path = comparison.write_review(run, size=blind.Size(2, 24, 8))
    rows = {row.code: row for row in blind.read_key(run / blind.KEY).rows}

    def rate(code):
        row = rows[code]
        side = row.expected or ("A" if row.left == row.first else "B")
        return {judgements.PREFERENCE: side, "Comentário": "=boa", "Correção A": 5 if side == "A" else 1}

    fill(path, run / "preenchida.xlsx", rate=rate)
    before = words(comparison.write_workbook(run))
    found = comparison.score(run)
    book = comparison.write_workbook(run, reviews="preenchida.xlsx", results=found)
    after = words(book)
    assert "Revisão humana" not in before and tables.NO_REVIEW in before
    assert "Às cegas, Trilha LLaMA, ajustado fez 100 %" in after and "Ana" in after
    assert "Correção humana (1 a 5)" in words(book, "Custo")
    told = [row["Revisão humana"] for row in table(book, "Lado a lado", "Título")]
    assert any("Ana: Trilha LLaMA, ajustado melhor que Trilha GPT, ajustado (=boa)" in str(text) for text in told)
    drawn = figures.write_figures(found, comparison.read_review(run / "preenchida.xlsx"))
    assert {path.stem for path in drawn} == {"perda", "diferencas", "custo_qualidade", "preferencia"}
    answers = records.read_jsonl(run / "gpt" / "respostas.jsonl")
    records.write_jsonl(run / "gpt" / "respostas.jsonl", [row | {"answer": "Outra."} for row in answers])
    with pytest.raises(RunMismatchError, match="não é das respostas"):
        comparison.write_workbook(run, reviews=path)


def test_page_votes_and_the_rejected_judge_stay_out_of_the_line_of_each_system(tmp_path):
    run = make_run(tmp_path, n=8, suite=False, few_shot=False)
    found = comparison.score(run)
    title = next(iter(found.study.items.values()))["title"]
    cast = [*[("A", *TUNED)] * 5, *[("B", *TUNED[::-1])] * 3, ("ambas_ruins", *TUNED), ("B", *TUNED)]
    votes = [
        {"vote_id": f"v{n}", "at": "2026-11-22T14:30:00+00:00", "question": title.upper() if n < 5 else "x"}
        | {"choice": choice, "system_a": one, "system_b": two, "answer_a": "a", "answer_b": "=b"}
        for n, (choice, one, two) in enumerate([*cast, ("empate", "gpt-base", "outro/modelo")])
    ]
    quiet = table(comparison.write_workbook(run, results=found), "Resumo", "Sistema e modelo")
    records.write_jsonl(run / "votos.jsonl", votes)
    judged = {"judge": "juiz-1", "winner": "A", "tokens_in": 1, "tokens_out": 1}
    rows = judge._questions(found.study, TUNED, "juiz-1")
    records.write_jsonl(run / "juiz.jsonl", [row | judged for row in rows])
    path = comparison.write_workbook(run, results=found)
    first, second = table(path, "Resumo", "Sistema")[:2]
    counts = ("Trilha LLaMA, ajustado", 8, 1, 1)
    assert tuple(first[title] for title in ("Sistema", "Vitórias", "Derrotas", "Ambas ruins")) == counts
    assert first["p (sinal, exato)"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert (second["Contra"], second["Empates"], second["Julgamentos"]) == ("outro/modelo", 1, 1)
    assert table(path, "Resumo", "Sistema e modelo") == quiet
    told = {row["Título"]: row["Votos da página"] for row in table(path, "Lado a lado", "Título")}
    assert told[title] == "Trilha LLaMA, ajustado: 5"
    line = next(row for row in load_workbook(path)["Resumo"].iter_rows() if row[2].value == "reprovado")
    assert all(cell.font.italic for cell in line[:9]) and line[8].value == 1.0


def test_a_run_without_answers_says_not_run_and_has_no_error(tmp_path):
    told = words(comparison.write_workbook(make_run(tmp_path, arms=())))
    assert "Não executado: Trilha LLaMA, base" in told and "#" not in told


@pytest.mark.parametrize("arm", ["llama3", "gpt"])
def test_a_run_of_one_unpriced_arm_has_every_sheet_and_no_figure_or_break_even_without_data(tmp_path, arm):
    run = make_run(tmp_path, n=8, arms=(arm,), suite=arm == "llama3")
    report = records.read_json(run / arm / "treino.json") | {"price_sku": "cpu", "billed_tokens": None}
    records.write_json(run / arm / "treino.json", report)
    (run / "figuras").mkdir()
    old = run / "figuras" / ("flexibilidade.png" if arm == "gpt" else "preferencia.png")
    old.write_bytes(b"antiga")
    found = comparison.score(run)
    path = comparison.write_workbook(run, results=found)
    assert load_workbook(path).sheetnames == SHEETS and "Ponto de equilíbrio" not in words(path, "Custo")
    assert old not in figures.write_figures(found) and not old.exists()


def test_an_old_folder_dropped_in_whole_has_its_costs_too(tmp_path):
    run = make_run(tmp_path, n=8, suite=False, few_shot=False)
    shutil.copytree(run / "gpt", run / "antiga")
    rows = table(comparison.write_workbook(run), "Custo", "Trilha")
    assert {row["Trilha"] for row in rows} == {"antiga", "Trilha GPT", "Trilha LLaMA"}


def test_an_empty_test_set_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="não tem itens"):
        comparison.write_workbook(make_run(tmp_path, n=0, suite=False, arms=()))


def test_a_new_metric_is_one_function_and_one_line(tmp_path, monkeypatch):
    """A receita do CONTRIBUTING: a medida aparece na planilha, na estatística e na figura."""

    def vowels(case):
        return float(sum(letter in "aeiou" for letter in case.answer.answer))

    added = metrics.Metric("vowels", "Vogais por resposta", "0.0", False, vowels)
    wing = ("metrics", "results", "answers_sheets", "statistics_sheets", "figures")
    for module in [*(sys.modules[f"finetune_helpers.comparison.{name}"] for name in wing), paginas]:
        monkeypatch.setattr(module, "METRICS", (*metrics.METRICS, added), raising=False)
    found = comparison.score(make_run(tmp_path, n=10, suite=False))
    path = comparison.write_workbook(found.study.run, results=found)
    rows = [row for row in table(path, "Métricas", "Item") if row["Sistema"] == "Trilha GPT, base"]
    counted = fmean(sum(letter in "aeiou" for letter in row.answer) for row in found.study.answers["gpt-base"].values())
    assert fmean(row["Vogais por resposta"] for row in rows) == pytest.approx(counted)
    assert "Vogais por resposta" in words(path, "Estatística")
    assert paginas.disagreements(mine(tmp_path, found), found) == []
    axes = Figure().subplots()
    assert figures.differences(found, axes)
    assert "Vogais por resposta" in [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]


@pytest.mark.parametrize(("measured", "title"), [(True, "O que o título explica"), (False, "Antes e depois do ajuste")])
def test_the_figure_of_losses_promises_only_what_was_measured(scored, monkeypatch, measured, title):
    found = scored[0]
    kept = {
        arm: [{key: row[key] for key in row if measured or "other" not in key} for row in found.heldout(arm)]
        for arm in found.study.reports
    }
    monkeypatch.setattr(type(found), "heldout", lambda results, arm: kept[arm])
    axes = Figure().subplots()
    assert figures.losses(found, axes)
    assert axes.get_title(loc="left") == title
    assert len(axes.get_legend_handles_labels()[0]) == 2 * measured


def mine(folder, found):
    """Um README com a tabela da rodada gravada."""
    path = folder / "LEIA.md"
    blocks = [f"<!-- {name}: início -->\n<!-- {name}: fim -->\n" for name in paginas.BLOCKS]
    path.write_text("\n".join(["# Título\n", *blocks, "Fim.\n"]), encoding="utf-8")
    return paginas.write(path, found)


def test_the_readme_table_is_written_and_checked_against_run_and_workbook(scored, tmp_path, capsys):
    found, _ = scored
    text = mine(tmp_path, found)
    assert paginas.disagreements(text, found) == [] and text.read_text(encoding="utf-8").endswith("Fim.\n")
    text.write_text(text.read_text(encoding="utf-8").replace("ainda sem revisão", "ótima", 1), encoding="utf-8")
    assert paginas.main([str(text), str(found.study.run)]) == 1 and "--gravar" in capsys.readouterr().out
    assert paginas.main([str(text), str(found.study.run), "--gravar"]) == 0
    system, rows = next(iter(found.rows.items()))
    key, row = next(iter(rows.items()))
    other = replace(found, rows=found.rows | {system: rows | {key: replace(row, values=row.values | {"chrf": 99.0})}})
    assert any("Escreva a planilha de novo" in told for told in paginas.disagreements(text, other))


def test_the_pages_show_in_bold_what_is_demonstrable_and_count_each_defect(scored):
    found = scored[0]
    shown = [one for one in found.contrasts if one.holm is not None]
    assert paginas.judgement(found).count("**") == 2 * sum(one.holm <= 0.05 for one in shown) > 0
    assert paginas.judgement(found).count("visível a partir de") == len(shown)
    repeated = next(line for line in paginas.defects(found).splitlines() if line.startswith("| repetição"))
    systems = [system.name for system in wording.answered(found)]
    counts = [sum("repeticao" in row.defects for row in found.rows[name].values()) for name in systems]
    assert list(map(int, repeated.split("|")[2:-1])) == counts
    (lost, *_) = found.forgetting()
    assert f"de {lost.base_passed} para {lost.tuned_passed} em {lost.estimate.n} perguntas" in paginas.families(found)
    assert paginas.families(replace(found, verdicts={})) == "não executado"


def test_a_readme_without_the_marks_says_what_to_do(scored, tmp_path):
    (tmp_path / "x.md").write_text("nada\n<!-- exemplo: fim -->", encoding="utf-8")
    with pytest.raises(InputError, match="marcas"):
        paginas.write(tmp_path / "x.md", scored[0])


def test_figures_are_drawn_when_there_is_something_to_draw(scored):
    names = {path.stem for path in figures.write_figures(scored[0])}
    assert names == {"perda", "diferencas", "flexibilidade", "custo_qualidade"}


def test_prices_carry_their_date_and_source(scored):
    rows = table(scored[1], "Custo", "Chave")
    assert len(rows) == len(prices.load())
    assert all(row["Vale desde"] != "—" and row["Fonte"] for row in rows)


def test_the_benchmark_runs_and_fails_past_its_limit(monkeypatch):
    spec = importlib.util.spec_from_file_location("medida", Path(__file__).parents[1] / "benchmarks" / "comparison.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, "LIMIT_MB", 0)
    assert benchmark.main(6) == 1
