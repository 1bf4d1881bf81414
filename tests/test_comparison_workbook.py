"""``comparacao.xlsx``: todo número já está salvo, só Custo tem fórmulas, e nada se perde, se corta ou mente."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from comparison_run import make_run
from openpyxl import load_workbook
from test_comparison_review import HOSTILE, blind, fill, hostile_run, needs_office, recalculated

from finetune_helpers import comparison, prices, records
from finetune_helpers.comparison import (
    answers_sheets,
    columns,
    figures,
    metrics,
    readme,
    results,
    review,
    tables,
    wording,
    workbook,
)
from finetune_helpers.errors import InputError, RunMismatchError

SHEETS = ["Resumo", "Lado a lado", "Métricas", "Estatística", "Flexibilidade", "Treino", "Custo", "Proveniência"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Uma rodada pontuada e a sua planilha."""
    run = make_run(tmp_path_factory.mktemp("planilha"))
    records.write_json(run / "hiperparametros" / "resumo.json", {"winner": {"trial": "ensaio 3", "heldout_loss": 3.9}})
    found = comparison.score(run)
    return found, comparison.write_workbook(run, results=found)


def written(path, name):
    """Os valores salvos de uma aba, como os lê um programa que não recalcula."""
    return [list(row) for row in load_workbook(path, data_only=True)[name].iter_rows(values_only=True)]


def table(path, name, first):
    """As linhas da tabela que começa no cabeçalho ``first``, como dicionários."""
    lines = written(path, name)
    head = next(number for number, line in enumerate(lines) if line[0] == first)
    rows = []
    for line in lines[head + 1 :]:
        if line[0] is None:
            break
        rows.append(dict(zip(lines[head], line, strict=True)))
    return rows


def words(path, name="Resumo"):
    return "\n".join(str(value) for line in written(path, name) for value in line if value is not None)


def test_eight_visible_sheets_in_order_and_none_hidden(scored):
    book = load_workbook(scored[1])
    assert book.sheetnames == SHEETS and {sheet.sheet_state for sheet in book} == {"visible"}


def test_only_costs_has_formulas_and_each_has_its_value(scored):
    formulas, values = load_workbook(scored[1]), load_workbook(scored[1], data_only=True)
    with_formulas = [cell for sheet in formulas for row in sheet for cell in row if cell.data_type == "f"]
    assert {cell.parent.title for cell in with_formulas} == {"Custo"} and len(with_formulas) > 20
    stored = [values["Custo"][cell.coordinate].value for cell in with_formulas]
    assert all(isinstance(value, (int, float)) for value in stored)


@needs_office
def test_libreoffice_recalculates_what_is_stored_after_prices_are_sorted_too(scored, tmp_path):
    stored = load_workbook(scored[1], data_only=True)["Custo"]
    book = load_workbook(scored[1])  # o openpyxl não guarda os valores das fórmulas: o LibreOffice os calcula
    sheet = book["Custo"]
    first = 1 + next(cell.row for (cell,) in sheet.iter_rows(max_col=1) if cell.value == "Chave")
    priced = [
        [cell.value for cell in row] for row in sheet.iter_rows(min_row=first, max_row=first + len(prices.load()) - 1)
    ]
    for line, values in enumerate(reversed(priced), start=first):
        for column, value in enumerate(values, start=1):
            sheet.cell(line, column).value = value
    book.save(tmp_path / "custo.xlsx")
    computed = load_workbook(recalculated(tmp_path / "custo.xlsx", tmp_path), data_only=True)["Custo"]
    places = [cell.coordinate for row in book["Custo"] for cell in row if cell.data_type == "f"]
    assert [place for place in places if abs(computed[place].value - stored[place].value) > 1e-9] == []
    assert not [cell.coordinate for row in computed for cell in row if cell.data_type == "e"]


@needs_office
def test_a_price_that_a_person_types_changes_the_costs(scored, tmp_path):
    book = load_workbook(scored[1])
    sheet = book["Custo"]
    line = next(cell.row for (cell,) in sheet.iter_rows(max_col=1) if str(cell.value).startswith("T4|gpu_hour"))
    before = sheet.cell(line, 4).value
    sheet.cell(line, 4).value = 2 * before
    book.save(tmp_path / "dobro.xlsx")
    changed = recalculated(tmp_path / "dobro.xlsx", tmp_path)
    old, new = (table(path, "Custo", "Sistema") for path in (scored[1], changed))
    own = [
        (a["US$ por 1.000"], b["US$ por 1.000"])
        for a, b in zip(old, new, strict=True)
        if a["Sistema"].startswith("Trilha LLaMA")
    ]
    assert own and all(b == pytest.approx(2 * a) for a, b in own)


def test_every_answer_is_side_by_side_with_its_reference(scored):
    found, path = scored
    rows = table(path, "Lado a lado", "Título")
    assert len(rows) == len(found.study.items)
    for row in rows:
        item = found.study.items[row["Identidade"]]
        assert row["Referência do catálogo"] == item["content"]
        for system in wording.answered(found):
            answer, measured = (
                found.study.answers[system.name][item["item_id"]],
                found.rows[system.name][item["item_id"]],
            )
            assert row[system.label] == columns.clean(answer.answer)
            told = row[f"{system.label}: regras"]
            assert all(answers_sheets.defect_name(name) in told for name in measured.defects)
            assert ("cortada" in told) == measured.cut
            loss = row.get(f"{system.label}: perda")
            assert (
                loss in ("—", None)
                if measured.values["loss"] is None
                else loss == pytest.approx(measured.values["loss"])
            )


def test_every_measure_of_every_answer_is_in_metrics(scored):
    found, path = scored
    rows = {(row["Identidade"], row["Sistema"]): row for row in table(path, "Métricas", "Item")}
    for system in found.rows:
        for item, row in found.rows[system].items():
            cells = rows[item, found.study.system(system).label]
            for metric in metrics.METRICS:
                assert cells[metric.label] == (
                    "—" if row.values[metric.key] is None else pytest.approx(row.values[metric.key], abs=1e-12)
                )


def test_the_summary_says_the_model_under_each_system_and_what_was_not_reviewed(scored):
    found, path = scored
    rows = table(path, "Resumo", "Sistema e modelo")[: len(wording.answered(found))]
    assert [row["Sistema e modelo"] for row in rows] == [f"{s.label}\n{s.model}" for s in wording.answered(found)]
    assert {row["Preferência humana"] for row in rows} == {columns.NO_REVIEW}
    assert all(sentence in words(path) for sentence in found.conclusions())


def test_form_defects_are_never_under_the_word_precision(scored):
    lines = written(scored[1], "Resumo")
    groups = next(line for line in lines if "Precisão" in line)
    head = lines[lines.index(groups) + 1]
    assert (
        head[groups.index("Precisão")] == "Preferência humana"
        and groups[groups.index("Precisão") + 1] == "Texto (regras e perda)"
    )
    assert head.index("Cortada no limite") == head.index("Com defeito de forma") + 1


def test_the_charts_are_native_and_the_summary_has_two(scored):
    with zipfile.ZipFile(scored[1]) as archive:
        names = archive.namelist()
        charts = "".join(archive.read(name).decode() for name in names if "charts/chart" in name)
    assert not [name for name in names if "media/" in name]
    drawn = {
        "O que o ajuste mudou",
        "Custo contra qualidade",
        "Aprovação por família",
        "Perda contra tempo",
        "por ocupação",
    }
    assert [title for title in drawn if title not in charts] == []


def test_the_printed_page_is_a4_landscape_with_repeated_headings(scored):
    for sheet in load_workbook(scored[1]):
        assert (sheet.page_setup.orientation, int(sheet.page_setup.paperSize)) == ("landscape", 9)
        assert sheet.sheet_properties.pageSetUpPr.fitToPage
        if sheet.title in ("Lado a lado", "Métricas", "Proveniência"):
            assert sheet.print_title_rows and sheet.freeze_panes and sheet.auto_filter.ref


def test_the_same_run_writes_the_same_bytes(scored):
    found, path = scored
    assert path.read_bytes() == comparison.write_workbook(found.study.run, results=found).read_bytes()


@needs_office
def test_hostile_answers_survive_libreoffice_and_never_become_formulas(tmp_path):
    run = hostile_run(tmp_path)
    path = comparison.write_workbook(run)
    saved = recalculated(path, tmp_path)
    for opened in (path, saved):
        sheet = load_workbook(opened)["Lado a lado"]
        head = next(row for row in sheet.iter_rows() if row[0].value == "Título")
        column = next(cell.column for cell in head if cell.value == "Trilha GPT, ajustado")
        cells = [sheet.cell(head[0].row + 1 + number, column) for number in range(len(HOSTILE))]
        assert {cell.data_type for cell in cells} == {"s"}
        assert [columns.shown(cell.value) for cell in cells] == [columns.clean(text) for text in HOSTILE]


def test_a_review_changes_the_summary_and_side_by_side(tmp_path):
    run = make_run(tmp_path, suite=False)
    path = comparison.write_review(run, size=blind.Size(2, 40, 10))
    rows = {row.code: row for row in blind.read_key(run / blind.KEY).rows}
    fill(
        path,
        run / "preenchida.xlsx",
        rate=lambda code: {
            review.PREFERENCE: rows[code].expected or ("A" if rows[code].left == rows[code].first else "B"),
            review.COMMENT: "=boa",
        },
    )
    before = words(comparison.write_workbook(run))
    book = comparison.write_workbook(run, reviews=run / "preenchida.xlsx")
    after = words(book)
    assert "Revisão humana" not in before and columns.NO_REVIEW in before
    assert "Revisão humana" in after and "Às cegas, Trilha LLaMA, ajustado fez 100 %" in after and "Ana" in after
    told = [row["Revisão humana"] for row in table(book, "Lado a lado", "Título")]
    assert any("Ana: Trilha LLaMA, ajustado melhor que Trilha GPT, ajustado (=boa)" in str(text) for text in told)


def test_a_review_of_other_answers_is_refused(tmp_path):
    run = make_run(tmp_path, suite=False)
    path = comparison.write_review(run, size=blind.Size(1, 12, 0))
    rows = records.read_jsonl(run / "gpt" / "respostas.jsonl")
    records.write_jsonl(run / "gpt" / "respostas.jsonl", [row | {"answer": "Outra."} for row in rows])
    with pytest.raises(RunMismatchError, match="não é das respostas"):
        comparison.write_workbook(run, reviews=path)


def vote(number, choice, *sides, question="x"):
    shown = {"question": question, "answer_a": "a", "answer_b": "=b"}
    return {
        "vote_id": f"v{number}",
        "at": "2026-11-22T14:30:00+00:00",
        "system_a": sides[0],
        "system_b": sides[1],
        "choice": choice,
    } | shown


def test_page_votes_are_counted_with_the_exact_sign_test_whatever_the_side(tmp_path):
    run = make_run(tmp_path, n=8, suite=False, few_shot=False)
    tuned = ("llama3-tuned", "gpt-tuned")
    title = comparison.score(run).study.items.values().__iter__().__next__()["title"]
    votes = [vote(n, "A", *tuned, question=title.upper()) for n in range(5)] + [
        vote(5 + n, "B", *tuned[::-1]) for n in range(3)
    ]
    votes += [vote(8, "ambas_ruins", *tuned), vote(9, "B", *tuned), vote(10, "empate", "gpt-base", "outro/modelo")]
    quiet = table(comparison.write_workbook(run), "Resumo", "Sistema e modelo")
    records.write_jsonl(run / "votos.jsonl", votes)
    path = comparison.write_workbook(run)
    first, second = table(path, "Resumo", "Sistema")
    assert (first["Sistema"], first["Vitórias"], first["Derrotas"], first["Ambas ruins"]) == (
        "Trilha LLaMA, ajustado",
        8,
        1,
        1,
    )
    assert first["p (sinal, exato)"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert (second["Contra"], second["Empates"], second["Julgamentos"]) == ("outro/modelo", 1, 1)
    assert table(path, "Resumo", "Sistema e modelo") == quiet
    told = {row["Título"]: row["Votos da página"] for row in table(path, "Lado a lado", "Título")}
    assert told[title] == "Trilha LLaMA, ajustado: 5"


def test_the_rejected_judge_is_shown_in_grey_beside_its_audit(tmp_path):
    run = make_run(tmp_path, n=12, suite=False)
    found = comparison.score(run)
    pair = found.study.pairs()[0]
    rows = [
        {
            "item_id": item,
            "first": pair[0],
            "second": pair[1],
            "left": left,
            "right": right,
            "words_a": 9,
            "words_b": 8,
            "key": f"{item}{left}",
        }
        | {"winner": "A", "tokens_in": 1, "tokens_out": 1}
        for item in found.study.items
        for left, right in (pair, pair[::-1])
    ]
    records.write_jsonl(run / "juiz.jsonl", rows)
    sheet = load_workbook(comparison.write_workbook(run))["Resumo"]
    line = next(row for row in sheet.iter_rows() if row[2].value == "reprovado")
    assert all(cell.font.italic for cell in line[:9]) and line[8].value == 1.0


def test_a_run_without_answers_says_not_run_and_has_no_error(tmp_path):
    path = comparison.write_workbook(make_run(tmp_path, arms=()))
    told = words(path)
    assert "Não executado: Trilha LLaMA, base" in told and "#" not in told


@pytest.mark.parametrize("arms", [("llama3",), ("gpt",)])
def test_a_run_of_one_arm_has_every_sheet(tmp_path, arms):
    assert load_workbook(comparison.write_workbook(make_run(tmp_path, n=8, arms=arms))).sheetnames == SHEETS


def test_an_empty_test_set_says_what_to_do(tmp_path):
    run = make_run(tmp_path, n=0, suite=False, arms=())
    with pytest.raises(InputError, match="não tem itens"):
        comparison.write_workbook(run)


def test_a_failed_write_leaves_the_old_workbook(scored, monkeypatch):
    found, path = scored
    before = path.read_bytes()
    monkeypatch.setattr(tables.Book, "data", lambda self: (_ for _ in ()).throw(OSError("disco cheio")))
    with pytest.raises(OSError, match="disco"):
        comparison.write_workbook(found.study.run, results=found)
    assert path.read_bytes() == before and not list(path.parent.glob("*.parcial"))


def test_a_new_metric_is_one_function_and_one_line(tmp_path, monkeypatch):
    """A receita do CONTRIBUTING: a medida aparece na planilha, na estatística e na figura."""

    def vowels(case):
        return float(sum(letter in "aeiou" for letter in case.answer.answer))

    added = metrics.Metric("vowels", "Vogais por resposta", "0.0", False, vowels)
    for module in (
        metrics,
        results,
        *(
            sys.modules[f"finetune_helpers.comparison.{name}"]
            for name in ("answers_sheets", "statistics_sheets", "figures", "readme")
        ),
    ):
        monkeypatch.setattr(module, "METRICS", (*metrics.METRICS, added), raising=False)
    found = comparison.score(make_run(tmp_path, n=10, suite=False))
    path = comparison.write_workbook(found.study.run, results=found)
    rows = [row for row in table(path, "Métricas", "Item") if row["Sistema"] == "Trilha GPT, base"]
    answers = found.study.answers["gpt-base"].values()
    assert fmean(row["Vogais por resposta"] for row in rows) == pytest.approx(
        fmean(sum(c in "aeiou" for c in a.answer) for a in answers)
    )
    assert (
        "Vogais por resposta" in words(path, "Estatística") and readme.disagreements(mine(tmp_path, found), found) == []
    )
    labels = drawn_labels(figures.differences, found)
    assert "Vogais por resposta" in labels


def drawn_labels(draw, found):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert draw(found, axes)
    return [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]


def mine(folder, found):
    """Um README com a tabela da rodada gravada."""
    path = folder / "LEIA.md"
    blocks = [f"<!-- {name}: início -->\n<!-- {name}: fim -->\n" for name in readme.BLOCKS]
    path.write_text("\n".join(["# Título\n", *blocks, "Fim.\n"]), encoding="utf-8")
    return readme.write(path, found)


def test_the_readme_table_is_written_and_checked_against_run_and_workbook(scored, tmp_path, capsys):
    found, _ = scored
    text = mine(tmp_path, found)
    assert readme.disagreements(text, found) == [] and text.read_text(encoding="utf-8").endswith("Fim.\n")
    text.write_text(text.read_text(encoding="utf-8").replace("ainda sem revisão", "ótima", 1), encoding="utf-8")
    assert readme.main([str(text), str(found.study.run)]) == 1 and "--gravar" in capsys.readouterr().out
    assert readme.main([str(text), str(found.study.run), "--gravar"]) == 0
    system = next(iter(found.rows))
    key = next(iter(found.rows[system]))
    row = replace(found.rows[system][key], values=found.rows[system][key].values | {"chrf": 99.0})
    other = replace(found, rows=found.rows | {system: found.rows[system] | {key: row}})
    assert any("Escreva a planilha de novo" in told for told in readme.disagreements(text, other))


def test_a_readme_without_the_marks_says_what_to_do(scored, tmp_path):
    (tmp_path / "x.md").write_text("nada", encoding="utf-8")
    with pytest.raises(InputError, match="marcas"):
        readme.write(tmp_path / "x.md", scored[0])


def test_figures_are_drawn_when_there_is_something_to_draw(scored):
    found, _ = scored
    names = {path.stem for path in figures.write_figures(found)}
    assert names == {"perda", "diferencas", "flexibilidade", "custo_qualidade"}


def test_a_figure_without_data_leaves_no_old_file(tmp_path):
    found = comparison.score(make_run(tmp_path, n=8, arms=("gpt",), suite=False))
    old = found.study.run / "figuras" / "flexibilidade.png"
    old.parent.mkdir()
    old.write_bytes(b"antiga")
    assert "flexibilidade" not in {path.stem for path in figures.write_figures(found)} and not old.exists()


def test_prices_carry_their_date_and_source(scored):
    rows = table(scored[1], "Custo", "Chave")
    assert len(rows) == len(prices.load())
    assert all(row["Vale desde"] != "—" and row["Fonte"] for row in rows)


def test_without_a_priced_machine_there_is_no_break_even(tmp_path):
    run = make_run(tmp_path, n=8, suite=False)
    for arm in ("llama3", "gpt"):
        path = run / arm / "treino.json"
        records.write_json(path, records.read_json(path) | {"price_sku": "cpu", "billed_tokens": None})
    told = words(comparison.write_workbook(run), "Custo")
    assert "Ponto de equilíbrio" not in told


@pytest.mark.skipif(sys.platform != "linux", reason="o pico de memória só é medido no Linux")
def test_the_benchmark_passes_its_limits_on_a_smaller_run():
    script = Path(__file__).parents[1] / "benchmarks" / "comparison.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run([sys.executable, str(script), "60"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workbook_name_is_the_promised_one(scored):
    assert scored[1].name == workbook.FILE == "comparacao.xlsx"
