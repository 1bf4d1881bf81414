"""A planilha: fórmulas iguais ao Python no LibreOffice, cega, segura contra textos hostis e refeita dos arquivos."""

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from statistics import fmean

import pytest
from openpyxl import Workbook, load_workbook
from test_comparison_study import make_run

from finetune_helpers import records
from finetune_helpers.comparison import blind, cells, figures, results, study, tally, workbook
from finetune_helpers.errors import InputError

SOFFICE = shutil.which("soffice")
needs_office = pytest.mark.skipif(SOFFICE is None, reason="LibreOffice (soffice) não está instalado")
VISIBLE_TO_REVIEWER = ("Leia-me", "Revisão 1", "Revisão 2", "Listas")

HOSTILE = [
    *("R$ 10", "\u202er", "1.5", "[resposta vazia]", "–—“”…"),
    *("=1+1", '=HYPERLINK("http://x","y")', "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\n=1", "="),
    *("==", " =1", "#N/A", "#REF!", "#DIV/0!", "#NAME?", "TRUE", "FALSE", "verdadeiro", "1e5", "0001", "1,5", "10%"),
    *("_x000D_", "a_x0041_b", "_x005F_", "_x005F_x000D_", "_X000D_", "_xZZZZ_", "__x0007__", "x_x000d_"),
    *("'aspas", '"aspas"', "''", "a'b", "{=A1}", "<b>&amp;</b>", "&lt;", "<!-- -->", "</t></is></c>", "12/03"),
    *("a\rb", "a\r\nb", "a\n\n\nb", "fim \n", "  espaços  ", "\x00nul", "a\x07b", "a\x7fb", "a\x1bb", "a\x85b"),
    *("\ufffe\uffff", "\ud800solto", "\U0001f9d9\u200d\u2642\ufe0f", "\u05e2\u05d1", "\u0639\u0631", "e\u0301", "]]>"),
    *("\u200bzero", "\ufeffbom", "x" * 40_000, "\U0001f600" * 20_000, "linha\n" * 300, "", " ", "\n", "a;b,c"),
]  # fmt: skip


def recalculated(path, folder):
    """A planilha aberta, calculada e salva pelo LibreOffice, com os valores no lugar das fórmulas."""
    out, office = folder / "calculada", [SOFFICE, "--headless", "--norestore"]
    form = ["--convert-to", "xlsx:Calc MS Excel 2007 XML", "--outdir", str(out)]
    profile = f"-env:UserInstallation=file://{folder.parent / 'perfil-do-office'}"
    subprocess.run([*office, profile, *form, str(path)], check=True, capture_output=True)
    return load_workbook(out / path.name, data_only=True)


def differences(book, computed, moved=None):
    """Fórmulas cujo valor no LibreOffice não é o do Python, a 1e-9."""
    found = []
    for (sheet, place), value in book.expected.items():
        got = computed[sheet][(moved or {}).get((sheet, place), place)].value
        got = "" if got is None else got
        numbers = isinstance(value, (int, float)) and isinstance(got, (int, float))
        if not (abs(got - value) <= 1e-9 * max(1, abs(value)) if numbers else got == value):
            found.append((sheet, place, value, got))
    return found


def random_ratings(plan, seed=3, share=0.8):
    rng = random.Random(seed)
    rated = [row.code for row in plan.rows if rng.random() < share]
    return {
        code: tally.Rating(rng.choice(blind.PREFERENCES), *(rng.choice((None, 1, 2, 3, 4, 5)) for _ in range(4)))
        for code in rated
    }


def type_ratings(book, plan, ratings):
    """Escreve as notas nas folhas, como faria um revisor; números às vezes como texto."""
    for number in range(1, plan.reviewers + 1):
        sheet = book[f"Revisão {number}"]
        for row in range(5, sheet.max_row + 1):
            rating = ratings.get(cells.shown(sheet.cell(row, 1).value))
            for letter, field in zip(
                "FGHIJ", ("preference", "correct_a", "correct_b", "fluent_a", "fluent_b"), strict=True
            ):
                value = getattr(rating, field) if rating else None
                sheet[f"{letter}{row}"].value = f"{value} " if letter == "G" and value else value or None


def shuffle_rows(sheet, first, letters, seed=1):
    """Troca as linhas de lugar nas colunas dadas, como faz uma ordenação; devolve linha antiga → nova."""
    old = list(range(first, sheet.max_row + 1))
    new = old.copy()
    random.Random(seed).shuffle(new)
    values = {row: [(sheet[f"{c}{row}"].value, sheet[f"{c}{row}"].data_type) for c in letters] for row in old}
    for before, after in zip(old, new, strict=True):
        for letter, (value, kind) in zip(letters, values[before], strict=True):
            cell = sheet[f"{letter}{after}"]
            cell.value = value
            if kind == "s":
                cell.data_type = "s"
    return dict(zip(old, new, strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("planilha"), skip=2)
    found = results.compute(study.read_study(run))
    return run, found, blind.plan(found.study, rows=50, shared=12)


@needs_office
@pytest.mark.parametrize("opened", [False, True])
def test_every_formula_equals_python_before_any_rating(made, tmp_path, opened):
    _, found, plan = made
    book = workbook.build(found, plan, {}, opened=opened)
    book.workbook.save(tmp_path / "vazia.xlsx")
    assert len(book.expected) > 800 and differences(book, recalculated(tmp_path / "vazia.xlsx", tmp_path)) == []


@needs_office
def test_every_formula_follows_typed_ratings_and_sorted_rows(made, tmp_path):
    _, found, plan = made
    ratings = random_ratings(plan)
    expected = workbook.build(found, plan, ratings, opened=True)
    book = workbook.build(found, plan, {}).workbook
    type_ratings(book, plan, ratings)
    book["Leia-me"]["B4"].value = "sim"
    for name, letters in (
        ("Revisão 1", "ABCDEFGHIJKLM"),
        ("Revisão 2", "ABCDEFGHIJKLM"),
        ("Métricas", "ABCDEFGHIJKLMNO"),
    ):
        shuffle_rows(book[name], 5, letters)
    shuffle_rows(book["Respostas"], 5, "ABCDEFGHIJKLM")
    lines = shuffle_rows(book["Preços"], 5, "ABCDEFGHILMN")
    moved = {("Preços", f"{c}{old}"): f"{c}{new}" for old, new in lines.items() for c in "JK"}
    book.save(tmp_path / "revista.xlsx")
    assert differences(expected, recalculated(tmp_path / "revista.xlsx", tmp_path), moved) == []


@needs_office
def test_all_ties_give_nd_and_not_an_error(made, tmp_path):
    _, found, plan = made
    book = workbook.build(found, plan, {row.code: tally.Rating("empate") for row in plan.rows}, opened=True)
    book.workbook.save(tmp_path / "empates.xlsx")
    computed = recalculated(tmp_path / "empates.xlsx", tmp_path)
    assert differences(book, computed) == []
    assert not [c.coordinate for sheet in computed for row in sheet for c in row if c.data_type == "e"]


@needs_office
def test_a_run_without_answers_has_no_error_cells(tmp_path):
    run = make_run(tmp_path, arms=())
    computed = recalculated(workbook.write_workbook(run), tmp_path)
    assert not [(sheet.title, c.coordinate) for sheet in computed for row in sheet for c in row if c.data_type == "e"]
    assert computed["Resumo"]["B5"].value == "não executado"


@needs_office
def test_summary_is_recomputed_from_the_files_alone(made, tmp_path):
    run, found, plan = made
    workbook.build(found, plan, {}, opened=True).workbook.save(tmp_path / "resumo.xlsx")
    sheet = recalculated(tmp_path / "resumo.xlsx", tmp_path)["Resumo"]
    labels = [cell.value for cell in sheet[4]]
    rows = {
        sheet.cell(row, 1).value: dict(zip(labels, (c.value for c in sheet[row]), strict=False)) for row in range(5, 9)
    }
    for system, label in list(study.LABELS.items())[:4]:
        for column, value in from_files(run, system).items():
            assert rows[label][column] == pytest.approx(value, rel=1e-9), (system, column)


def from_files(run, system):
    """Os números de um sistema, calculados só dos JSONL, com as bibliotecas de origem."""
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    arm = system.split("-")[0]
    rows = [json.loads(line) for line in (run / arm / "respostas.jsonl").read_text(encoding="utf-8").splitlines()]
    items = {
        row["item_id"]: row
        for row in records.read_jsonl(run.parents[1] / "dados" / "r1" / "comparacao" / "teste.jsonl")
    }
    given = {row["item_id"]: row for row in rows if row["system"] == system and row["suite"] == "teste"}
    rouge, chrf = RougeScorer(["rougeL"]), CHRF(word_order=2)
    texts = [(items[key]["content"], row["answer"]) for key, row in given.items()]
    report = json.loads((run / arm / "treino.json").read_text(encoding="utf-8"))
    tokens = [fmean(row[key] for row in given.values()) for key in ("tokens_in", "tokens_out")]
    seconds = fmean(row["seconds"] for row in given.values())
    hosted = (0.30, 1.20) if system == "gpt-tuned" else (0.15, 0.60)
    priced = (tokens[0] * hosted[0] + tokens[1] * hosted[1]) / 1000 if arm == "gpt" else seconds / 3.6 * 0.107
    numbers = {"Respostas": len(given), "Faltam": len(items) - len(given), "US$ por 1.000 respostas": priced}
    numbers["chrF++ (0–100)"] = fmean(chrf.sentence_score(answer, [text]).score for text, answer in texts)
    numbers["ROUGE-L (0–1)"] = fmean(rouge.score(text, answer)["rougeL"].fmeasure for text, answer in texts)
    if arm == "llama3":
        key = "tuned_loss" if system.endswith("tuned") else "base_loss"
        losses = {row["item_id"]: row[key] for row in report["heldout"]}
        numbers["Perda de teste (nats/token)"] = fmean(losses[item] for item in given)
    if system.endswith("-tuned"):
        numbers |= {"Treino (min)": 72.5 / 60, "US$ do treino": 0.026 * 0.107 if arm == "llama3" else 34500 * 3 / 1e6}
    return numbers


@needs_office
def test_hostile_texts_survive_libreoffice(tmp_path):
    book = Workbook()
    for row, hostile in enumerate(HOSTILE, start=1):
        cells.text(book.active.cell(row, 1), hostile)
    book.save(tmp_path / "hostil.xlsx")
    sheet = recalculated(tmp_path / "hostil.xlsx", tmp_path).active
    got = [cells.shown(sheet.cell(row, 1).value) for row in range(1, len(HOSTILE) + 1)]
    assert (
        len(HOSTILE) >= 60
        and [pair for pair in zip(got, map(cells.clean, HOSTILE), strict=True) if pair[0] != pair[1]] == []
    )


def test_hostile_texts_never_become_formulas_or_errors(tmp_path):
    book = Workbook()
    for row, hostile in enumerate(HOSTILE, start=1):
        cells.text(book.active.cell(row, 1), hostile)
    book.save(tmp_path / "hostil.xlsx")
    sheet = load_workbook(tmp_path / "hostil.xlsx").active
    assert {cell.data_type for (cell,) in sheet.iter_rows(max_col=1)} == {"s"}
    assert [cells.shown(cell.value) for (cell,) in sheet.iter_rows(max_col=1)] == [
        cells.clean(text) for text in HOSTILE
    ]


def test_reviewer_sees_no_model_name(made):
    _, found, plan = made
    book = workbook.build(found, plan, {})
    names = {key for key in found.study.answers} | set(study.LABELS.values()) | {"llama", "gpt", "modelo-de"}
    names = {name for name in names if not name.startswith("ref-")} - {study.LABELS[name] for name in study.REFERENCES}
    for sheet in book.workbook:
        if sheet.sheet_state == "visible":
            texts = [str(cell.value) for row in sheet for cell in row if cell.value is not None]
            wanted = names if sheet.title in VISIBLE_TO_REVIEWER else names - {"llama", "gpt", "modelo-de"}
            assert not [
                (sheet.title, name) for name in wanted if any(name.casefold() in text.casefold() for text in texts)
            ]
    shown_names = " ".join([*book.workbook.sheetnames, *book.workbook.defined_names]).casefold()
    assert not [name for name in names if name.casefold() in shown_names]


def test_only_hidden_sheets_link_an_answer_to_its_model(made):
    _, found, plan = made
    book = workbook.build(found, plan, {}).workbook
    assert {sheet.title for sheet in book if sheet.sheet_state == "hidden"} == {
        "Métricas",
        "Respostas",
        "Proveniência",
        "Chave",
    }
    assert not [c for n in (1, 2) for row in book[f"Revisão {n}"] for c in row if c.data_type == "f"]


def test_typing_a_rating_reveals_nothing_before_the_names_are_opened(made):
    _, found, plan = made
    empty, typed = (workbook.build(found, plan, ratings) for ratings in ({}, random_ratings(plan)))
    places = [key for key in empty.expected if key[0] == "Resumo" and empty.expected[key] == cells.HIDDEN]
    assert len(places) > 20 and all(typed.expected[key] == cells.HIDDEN for key in places)


def test_the_order_of_a_and_b_is_a_fair_coin_and_repeats_are_flipped(made):
    _, _, plan = made
    main = [row for row in plan.rows if row.kind == blind.MAIN]
    assert 0.35 < fmean(row.left == row.first for row in main) < 0.65
    first = {(row.sheet, row.pair): row.left for row in main}
    assert all(first[row.sheet, row.pair] == row.right for row in plan.rows if row.kind == blind.REPEAT)


def test_the_plan_is_the_same_on_every_run(made):
    run, _, plan = made
    assert blind.plan(study.read_study(run), rows=50, shared=12) == plan


def test_document_properties_are_clean(made):
    run, *_ = made
    with zipfile.ZipFile(workbook.write_workbook(run)) as archive:
        core = archive.read("docProps/core.xml").decode()
    assert "openpyxl" not in core and str(run) not in core


def test_inline_lists_fit_in_255_characters(made):
    _, found, plan = made
    book = workbook.build(found, plan, {}).workbook
    rules = [rule for sheet in book for rule in sheet.data_validations.dataValidation]
    assert rules and all(len(rule.formula1) <= 257 for rule in rules)


def test_writing_again_keeps_the_ratings_already_typed(made):
    run, *_ = made
    path = workbook.write_workbook(run)
    book = load_workbook(path)
    book["Revisão 1"]["F5"].value = "empate"
    book.save(path)
    assert load_workbook(workbook.write_workbook(run))["Revisão 1"]["F5"].value == "empate"


def test_a_failed_write_leaves_the_old_workbook(made, monkeypatch):
    run, *_ = made
    before = workbook.write_workbook(run).read_bytes()
    monkeypatch.setattr(Workbook, "save", lambda self, file: (_ for _ in ()).throw(OSError("disco cheio")))
    with pytest.raises(OSError, match="disco"):
        workbook.write_workbook(run)
    assert (run / workbook.FILE).read_bytes() == before and not list(run.glob("*.parcial"))


def test_an_empty_test_set_says_what_to_do(tmp_path):
    run = make_run(tmp_path, n=0)
    with pytest.raises(InputError, match="não tem itens"):
        workbook.write_workbook(run)


@pytest.mark.skipif(sys.platform != "linux", reason="o pico de memória só é medido no Linux")
def test_500_items_are_written_in_20_seconds_and_400_megabytes():
    script = Path(__file__).parents[1] / "benchmarks" / "comparison.py"
    # A medida é do programa, não do programa com a cobertura a contar cada linha.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stdout + found.stderr


def test_with_one_arm_the_primary_endpoint_is_said_to_be_impossible(tmp_path):
    found = results.compute(study.read_study(make_run(tmp_path, n=12, arms=("gpt",), suite=False)))
    sheet = workbook.build(found, blind.plan(found.study), {}).workbook["Resumo"]
    assert any("não pode ser avaliado" in str(cell.value) for (cell,) in sheet.iter_rows(max_col=1))


def test_a_loss_curve_without_times_is_written_as_not_available(tmp_path):
    run = make_run(tmp_path, n=4, suite=False)
    report = records.read_json(run / "gpt" / "treino.json")
    for point in report["loss_curve"]:
        point["seconds"] = None
    records.write_json(run / "gpt" / "treino.json", report)
    sheet = load_workbook(workbook.write_workbook(run))["Treino"]
    rows = [row for row in sheet.iter_rows(values_only=True) if row[1] == "treino"]
    assert {row[2] for row in rows[-len(report["loss_curve"]) :]} == {"n/d"}
    figures.write_figures(run)
