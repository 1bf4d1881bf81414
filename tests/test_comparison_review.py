"""Ler a revisão de volta: sem perdas, com vários arquivos, com células ruins apontadas e nada perdido em silêncio."""

import json
import random

import pytest
from openpyxl import load_workbook
from test_comparison_study import make_run
from test_comparison_workbook import HOSTILE, needs_office, random_ratings, recalculated

from finetune_helpers import comparison, records
from finetune_helpers.comparison import blind, results, review, study, tally, workbook
from finetune_helpers.errors import InputError, RunMismatchError

FIELDS = dict(zip("FGHIJKLM", tally.Rating.__dataclass_fields__, strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("revisao"), n=60, suite=False)
    found = results.compute(study.read_study(run))
    return run, found, blind.plan(found.study, rows=40, shared=8)


def saved(found, plan, ratings, path, reviewers=None):
    workbook.build(found, plan, ratings, reviewers).workbook.save(path)
    return path


def edited(path, changes, target=None):
    book = load_workbook(path)
    for sheet, place, value in changes:
        book[sheet][place].value = value
    book.save(target or path)
    return target or path


def full_ratings(plan):
    rng, rated = random.Random(8), random_ratings(plan)
    for code, rating in rated.items():
        problems = {"problem_a": rng.choice(blind.PROBLEM_CODES), "problem_b": rng.choice(blind.PROBLEM_CODES)}
        comment = {"comment": rng.choice(("", "=1+1", "bom, mas curto", "linha 1\nlinha 2"))}
        rated[code] = tally.Rating(**(vars(rating) | problems | comment))
    return rated


def test_round_trip_loses_nothing(made, tmp_path):
    _, found, plan = made
    ratings = full_ratings(plan)
    read = comparison.read_review(saved(found, plan, ratings, tmp_path / "a.xlsx", {1: "Ana", 2: "Bia"}))
    assert (read.ratings, read.problems, read.plan, read.reviewers) == (ratings, (), plan, {1: "Ana", 2: "Bia"})


@needs_office
def test_round_trip_through_libreoffice_with_hostile_answers(tmp_path):
    run = make_run(tmp_path, n=len(HOSTILE), suite=False)
    rows = records.read_jsonl(run / "gpt" / "respostas.jsonl")
    tuned = [row | {"answer": text} for row, text in zip(rows[len(HOSTILE) :], HOSTILE, strict=True)]
    # Um substituto solto não cabe em UTF-8: o JSONL o guarda como \\ud800.
    lines = [json.dumps(row) + "\n" for row in rows[: len(HOSTILE)] + tuned]
    (run / "gpt" / "respostas.jsonl").write_text("".join(lines), encoding="utf-8")
    found = results.compute(study.read_study(run))
    plan = blind.plan(found.study)
    ratings = full_ratings(plan)
    recalculated(saved(found, plan, ratings, tmp_path / "hostil.xlsx"), tmp_path)
    read = comparison.read_review(tmp_path / "calculada" / "hostil.xlsx")
    assert read.problems == () and read.ratings == ratings and not any(row["edited"] for row in read.rows)


def test_bad_cells_are_reported_by_address_and_kept_as_rows(made, tmp_path):
    _, found, plan = made
    path = saved(found, plan, {}, tmp_path / "ruim.xlsx")
    changes = [
        ("Revisão 1", "F5", "C"),
        ("Revisão 1", "G6", 7),
        ("Revisão 2", "H7", "dois"),
        ("Revisão 2", "K8", "feio"),
    ]
    read = comparison.read_review(edited(path, changes))
    assert [any(place in line for line in read.problems) for place in ("1!F5", "1!G6", "2!H7", "2!K8")] == [True] * 4
    assert len(read.rows) == len(plan.rows) and len(read.problems) == 4


def test_labels_are_read_whatever_their_case_and_spaces(made, tmp_path):
    _, found, plan = made
    path = saved(found, plan, {}, tmp_path / "caixa.xlsx")
    changes = [("Revisão 1", "F5", " Ambas  Ruins"), ("Revisão 1", "G5", "4 "), ("Revisão 1", "H5", 3.0)]
    read = comparison.read_review(edited(path, changes))
    assert list(read.ratings.values()) == [tally.Rating("ambas ruins", 4, 3)] and read.problems == ()


def test_an_edited_answer_is_reported(made, tmp_path):
    _, found, plan = made
    path = edited(saved(found, plan, {}, tmp_path / "editada.xlsx"), [("Revisão 1", "D9", "outro texto")])
    read = comparison.read_review(path)
    assert len(read.problems) == 1 and "A9" in read.problems[0] and sum(row["edited"] for row in read.rows) == 1


def test_deleted_repeated_and_foreign_rows_are_reported(made, tmp_path):
    _, found, plan = made
    path, sheet = saved(found, plan, {}, tmp_path / "linhas.xlsx"), "Revisão 1"
    book = load_workbook(path)
    codes = [book[sheet][f"A{row}"].value for row in (5, 6, 7)]
    book[sheet]["A6"].value, book[sheet]["A7"].value = codes[0], "R9-999"
    book.save(path)
    problems = "\n".join(comparison.read_review(path).problems)
    assert all(
        text in problems for text in (f"falta a linha {codes[1]}", f"{codes[0]} repetido", "R9-999 desconhecido")
    )


def test_columns_are_found_by_header_in_any_order(made, tmp_path):
    _, found, plan = made
    ratings = full_ratings(plan)
    path = saved(found, plan, ratings, tmp_path / "colunas.xlsx")
    book = load_workbook(path)
    sheet = book["Revisão 1"]
    for row in range(4, sheet.max_row + 1):
        sheet[f"F{row}"].value, sheet[f"M{row}"].value = sheet[f"M{row}"].value, sheet[f"F{row}"].value
    book.save(path)
    assert comparison.read_review(path).ratings == ratings


def test_two_files_with_one_reviewer_each_are_joined(made, tmp_path):
    _, found, plan = made
    ratings = full_ratings(plan)
    halves = [{code: r for code, r in ratings.items() if code.startswith(f"R{number}")} for number in (1, 2)]
    paths = [saved(found, plan, half, tmp_path / f"{n}.xlsx", {n: f"Pessoa {n}"}) for n, half in enumerate(halves, 1)]
    assert comparison.read_review(paths).ratings == ratings


def test_two_people_on_the_same_sheet_become_two_reviewers(made, tmp_path):
    _, found, plan = made
    ratings = {code: r for code, r in full_ratings(plan).items() if code.startswith("R1")}
    names = ("Ana", "Bia")
    paths = [saved(found, plan, ratings, tmp_path / f"{name}.xlsx", {1: name}) for name in names]
    read = comparison.read_review(paths)
    assert sorted(read.reviewers.values()) == ["", *names] and len(read.ratings) == 2 * len(ratings)
    assert read.agreement["kappa"] == pytest.approx(1.0) and read.agreement["alfa"] == pytest.approx(1.0)


def test_conflicting_copies_of_one_reviewer_are_reported(made, tmp_path):
    _, found, plan = made
    one = saved(found, plan, {plan.rows[0].code: tally.Rating("A")}, tmp_path / "v1.xlsx", {1: "Ana"})
    two = saved(found, plan, {plan.rows[0].code: tally.Rating("B")}, tmp_path / "v2.xlsx", {1: "ana"})
    read = comparison.read_review([one, two])
    assert read.ratings[plan.rows[0].code].preference == "B" and len(read.problems) == 1


def test_reviews_of_different_plans_are_refused(made, tmp_path):
    _, found, plan = made
    other = blind.plan(found.study, rows=30, shared=8)
    paths = [saved(found, one, {}, tmp_path / f"{place}.xlsx") for place, one in enumerate((plan, other))]
    with pytest.raises(RunMismatchError, match="diferentes"):
        comparison.read_review(paths)


def test_a_review_of_other_answers_is_refused(made, tmp_path):
    _, found, plan = made
    path = saved(found, plan, full_ratings(plan), tmp_path / "velha.xlsx")
    with pytest.raises(RunMismatchError, match="não é das respostas"):
        review.merge(study.read_study(make_run(tmp_path, n=60, suite=False, seed=9)), path)


@pytest.mark.parametrize("content", [None, b"nada disso"])
def test_a_file_that_is_not_a_workbook_says_what_to_do(tmp_path, content):
    path = tmp_path / "x.xlsx"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.xlsx"):
        comparison.read_review(path)


def test_merged_workbook_opens_the_names_and_keeps_every_rating(made, tmp_path):
    run, found, plan = made
    ratings = full_ratings(plan)
    path = comparison.write_workbook(run, reviews=saved(found, plan, ratings, tmp_path / "revista.xlsx", {1: "Ana"}))
    read = comparison.read_review(path)
    assert path.name == workbook.REVIEWED and read.opened and (read.ratings, read.plan) == (ratings, plan)
    assert load_workbook(path)["Respostas"].sheet_state == "visible"


def test_a_simulated_review_recovers_the_known_preference(tmp_path):
    run = make_run(tmp_path, n=120, suite=False)
    found = results.compute(study.read_study(run))
    plan, rng = blind.plan(found.study, rows=220, shared=0), random.Random(2)
    truth = {contrast: share for contrast, share in zip(plan.contrasts, (0.7, 0.35, 0.5), strict=True)}
    ratings = {}
    for row in plan.rows:
        if row.kind == blind.MAIN:
            first = rng.random() < truth[row.first, row.second]
            ratings[row.code] = tally.Rating("A" if first == (row.left == row.first) else "B")
    read = comparison.read_review(saved(found, plan, ratings, tmp_path / "simulada.xlsx"))
    assert [p.low <= truth[p.first, p.second] <= p.high for p in read.preference] == [True] * 3
    assert [p.n for p in read.preference] == [110, 55, 55] and read.preference[0].low > 0.5


def test_one_item_per_group_of_near_duplicates(made):
    _, found, plan = made
    for contrast in plan.contrasts[1:]:
        items = {row.item_id for row in plan.rows if (row.first, row.second) == contrast and row.kind == blind.MAIN}
        groups = [found.study.items[item]["cluster"] for item in items]
        assert len(groups) == len(set(groups)) and len(groups) == 10


def test_attention_rows_have_a_known_answer(made):
    _, _, plan = made
    for number in (1, 2):
        rows = [row for row in plan.sheet(number) if row.kind == blind.ATTENTION]
        assert {row.expected for row in rows} & {"empate"} and len(rows) == 2
        right = {row.code: tally.Rating(row.expected) for row in rows}
        assert tally.attention_passed(plan, right, number) == 1.0


@pytest.mark.parametrize("name", ["Leia-me", "Chave"])
def test_a_workbook_without_a_sheet_it_needs_is_refused_by_name(made, tmp_path, name):
    _, found, plan = made
    path = saved(found, plan, {}, tmp_path / "sem_folha.xlsx")
    book = load_workbook(path)
    del book[name]
    book.save(path)
    with pytest.raises(InputError, match=f"falta a folha {name}"):
        comparison.read_review(path)


def test_a_key_without_one_of_its_columns_is_refused_by_name(made, tmp_path):
    _, found, plan = made
    path = saved(found, plan, {}, tmp_path / "chave.xlsx")
    book = load_workbook(path)
    head = next(cell for row in book["Chave"].iter_rows(max_row=20) for cell in row if cell.value == "item_id")
    head.value = "outro nome"
    book.save(path)
    with pytest.raises(InputError, match=r"faltam as colunas.*item_id"):
        comparison.read_review(path)


def test_a_missing_review_sheet_counts_as_empty_and_is_told(made, tmp_path):
    _, found, plan = made
    path = saved(found, plan, full_ratings(plan), tmp_path / "uma.xlsx")
    book = load_workbook(path)
    del book["Revisão 2"]
    book.save(path)
    read = comparison.read_review(path)
    assert read.problems == ("uma.xlsx: falta a folha Revisão 2; ela conta como vazia.",)
    assert {code[:2] for code in read.ratings} == {"R1"}


def test_a_sheet_whose_headings_were_changed_is_refused_by_name(made, tmp_path):
    _, found, plan = made
    path = edited(saved(found, plan, {}, tmp_path / "cabecalho.xlsx"), [("Revisão 1", "F4", "Qual prefere?")])
    with pytest.raises(InputError, match=r"faltam as colunas.*Preferência"):
        comparison.read_review(path)


def test_a_line_without_its_code_is_told_and_ignored(made, tmp_path):
    _, found, plan = made
    path = edited(saved(found, plan, {}, tmp_path / "sem_codigo.xlsx"), [("Revisão 1", "A5", None)])
    problems = "\n".join(comparison.read_review(path).problems)
    assert "Revisão 1!A5: linha sem código" in problems and "falta a linha" in problems


def test_no_workbook_at_all_is_refused():
    with pytest.raises(InputError, match="Nenhuma planilha"):
        comparison.read_review([])
