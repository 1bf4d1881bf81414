"""Arena: contas conferidas com as definições, fórmulas no LibreOffice, votos fora do Resumo e nomes cegos."""

import json
import random
import zipfile
from dataclasses import replace
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook
from test_comparison_study import make_run
from test_comparison_workbook import HOSTILE, differences, needs_office, random_ratings, recalculated

from finetune_helpers import comparison, votes
from finetune_helpers.comparison import arena, blind, cells, results, study, workbook
from finetune_helpers.votes import Vote

SYSTEMS = (*study.SYSTEMS, "openai/gpt-9", "aviso:0", "=1+1", "a*")
VOTE = Vote("v0", "2026-11-22T14:30:00+00:00", "A Sea Voyage", "gpt-base", "gpt-tuned", "Uma.", "Outra.", "A")
CAST = st.lists(
    st.builds(
        lambda sides, choice, question: replace(
            VOTE, system_a=sides[0], system_b=sides[1], choice=choice, question=question
        ),
        st.lists(st.sampled_from(SYSTEMS[:5]), min_size=2, max_size=2, unique=True),
        st.sampled_from(votes.CHOICES),
        st.sampled_from(["A Sea Voyage", "a sea  VOYAGE", "Old Roads"]),
    ),
    max_size=40,
)


def random_votes(count: int, seed: int = 5) -> list[Vote]:
    """Votos entre todos os sistemas, com textos hostis e um par sem nenhum voto decidido."""
    rng, texts = random.Random(seed), [text for text in HOSTILE if len(text) <= 4000 and text.strip()]
    cast = [replace(VOTE, vote_id="sem-vencedor", system_a="a*", system_b="gpt-base", choice="empate")]
    for number in range(1, count):
        sides = rng.sample(SYSTEMS[:-1], 2) if number % 2 else ["gpt-tuned", "llama3-tuned"]
        shown = dict(zip(("question", "answer_a", "answer_b"), rng.choices(texts, k=3), strict=True))
        choice = rng.choice(("A", *votes.CHOICES))
        cast.append(replace(VOTE, vote_id=f"v{number}", system_a=sides[0], system_b=sides[1], choice=choice, **shown))
    return cast


def cast_in(run, cast: list[Vote]):
    """Grava os votos de uma vez, na forma em que ``votes.append`` os grava um a um."""
    lines = [json.dumps(vars(vote), ensure_ascii=False) + "\n" for vote in cast]
    (run / votes.FILE).write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Uma rodada com 120 votos, o que se leu dela e o plano da revisão."""
    run = cast_in(make_run(tmp_path_factory.mktemp("arena"), n=12), random_votes(120))
    found = results.compute(study.read_study(run))
    return run, found, blind.plan(found.study, rows=12, shared=4)


def built(made, **options):
    _, found, plan = made
    return workbook.build(found, plan, {}, **options)


@settings(max_examples=100)
@given(CAST)
def test_every_vote_is_counted_once_and_the_numbers_are_those_of_the_definitions(cast):
    found = arena.duels(cast, study.SYSTEMS)
    assert sum(duel.votes for duel in found) == len(cast)
    assert all(duel.wins + duel.losses + duel.ties + duel.both_bad == duel.votes for duel in found)
    decided = [duel for duel in found if duel.wins + duel.losses]
    for duel in decided:
        n, fewest = duel.wins + duel.losses, min(duel.wins, duel.losses)
        assert duel.rate == duel.wins / n
        assert duel.p == pytest.approx(min(1, 2 * sum(comb(n, k) for k in range(fewest + 1)) / 2**n))
        # Os extremos de Wilson são as proporções a 1,96 erros padrão da observada.
        for end in (duel.low, duel.high):
            assert (duel.rate - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, rel=1e-5, abs=1e-9)
        assert duel.low - 1e-9 <= duel.rate <= duel.high + 1e-9
        smaller = [other.p for other in decided if other.p <= duel.p]
        steps = [p * (len(decided) - sum(other.p < p for other in decided)) for p in smaller]
        assert duel.holm == pytest.approx(min(1, max(steps)))
    empty = [duel for duel in found if duel not in decided]
    assert {(duel.rate, duel.low, duel.p, duel.holm) for duel in empty} <= {(None,) * 4}


@settings(max_examples=100)
@given(CAST, st.randoms())
def test_the_side_on_which_an_answer_was_shown_changes_nothing(cast, rng):
    other = {"A": "B", "B": "A"}
    turned = [
        replace(one, system_a=one.system_b, system_b=one.system_a, choice=other.get(one.choice, one.choice))
        if rng.random() < 0.5
        else one
        for one in cast
    ]
    assert arena.duels(turned, study.SYSTEMS) == arena.duels(cast, study.SYSTEMS)


def test_the_vote_goes_to_the_system_that_wrote_the_answer():
    cast = [VOTE, replace(VOTE, choice="B"), replace(VOTE, choice="B"), replace(VOTE, choice="ambas_ruins")]
    (duel,) = arena.duels(cast, study.SYSTEMS)
    assert (duel.first, duel.second) == ("gpt-tuned", "gpt-base")
    assert (duel.wins, duel.losses, duel.ties, duel.both_bad) == (2, 1, 0, 1)


def test_the_same_question_written_otherwise_is_one_question():
    cast = [VOTE, replace(VOTE, question=" a SEA\nvoyage "), replace(VOTE, question="Old Roads")]
    assert arena.duels(cast, ())[0].questions == 2


def test_the_two_tuned_models_come_first_as_in_the_review():
    cast = random_votes(60)
    found = [(duel.first, duel.second) for duel in arena.duels(cast, study.SYSTEMS)]
    assert found[0] == ("llama3-tuned", "gpt-tuned") and ("llama3-base", "llama3-tuned") not in found


@needs_office
@pytest.mark.parametrize("opened", [False, True], ids=["cega", "aberta"])
def test_every_formula_equals_python(made, tmp_path, opened):
    book = built(made, opened=opened)
    book.workbook.save(tmp_path / "votada.xlsx")
    computed = recalculated(tmp_path / "votada.xlsx", tmp_path)
    assert differences(book, computed) == []
    sheets = [computed[name] for name in ("Arena", "Votos")]
    assert not [c.coordinate for sheet in sheets for row in sheet for c in row if c.data_type == "e"]
    values = [cell.value for cell in computed["Arena"]["F"][7:]]
    assert all(isinstance(value, int) for value in values) if opened else set(values) == {cells.HIDDEN}


def test_a_votes_text_never_becomes_a_formula(made, tmp_path):
    run, *_ = made
    built(made, opened=True).workbook.save(tmp_path / "votada.xlsx")
    sheet = load_workbook(tmp_path / "votada.xlsx")["Votos"]
    for row, vote in enumerate(votes.read(run), start=5):
        texts = [sheet.cell(row, column) for column in (7, 8, 9)]
        assert {cell.data_type for cell in texts} == {"s"}
        wanted = [cells.clean(text) for text in (vote.question, vote.answer_a, vote.answer_b)]
        assert [cells.shown(cell.value) for cell in texts] == wanted


def test_each_row_shows_the_label_of_its_systems(made):
    run, *_ = made
    book = built(made, opened=True)
    for row, vote in enumerate(votes.read(run), start=5):
        shown = [book.expected["Votos", f"{letter}{row}"] for letter in "CD"]
        assert shown == [study.label(vote.system_a), study.label(vote.system_b)]


def test_votes_change_neither_the_headline_nor_the_summary(made, tmp_path):
    quiet = make_run(tmp_path, n=12)
    before = comparison.headline(quiet), summary(comparison.write_workbook(quiet))
    cast_in(quiet, random_votes(40))
    (quiet / workbook.FILE).unlink()
    after = comparison.headline(quiet), summary(comparison.write_workbook(quiet))
    assert after == before and "Arena" in load_workbook(quiet / workbook.FILE).sheetnames


def summary(path) -> tuple[bytes, list]:
    """Os bytes da folha Resumo, e o texto e o formato de cada célula, que os bytes só citam por número."""
    sheet = load_workbook(path).worksheets[1]
    with zipfile.ZipFile(path) as archive:
        written = archive.read("xl/worksheets/sheet2.xml")
    assert sheet.title == "Resumo"
    return written, [(c.value, c.number_format, repr(c.font), repr(c.fill)) for row in sheet for c in row]


def test_the_texts_of_the_other_sheets_are_the_same_with_votes(made, tmp_path):
    _, found, plan = made
    other = replace(found, study=replace(found.study, run=tmp_path))
    with_votes, without = built(made), workbook.build(other, plan, {})
    for name in set(without.workbook.sheetnames) - {"Chave", "Proveniência", "Resumo"}:
        sheets = with_votes.workbook[name], without.workbook[name]
        first, second = ([[cell.value for cell in row] for row in sheet] for sheet in sheets)
        assert first == second, name


def test_without_votes_there_is_no_sheet(tmp_path):
    names = load_workbook(comparison.write_workbook(make_run(tmp_path, n=12))).sheetnames
    assert not {"Arena", "Votos"} & set(names)


def test_the_blind_workbook_hides_the_votes_and_names_nobody(made):
    book = built(made)
    assert book.workbook["Votos"].sheet_state == "hidden" and book.workbook["Arena"].sheet_state == "visible"
    shown = {value for (sheet, _), value in book.expected.items() if sheet == "Arena" and isinstance(value, str)}
    assert all(value == cells.HIDDEN or value.startswith("Sistema ") for value in shown)
    typed = " ".join(str(c.value) for row in book.workbook["Arena"] for c in row if c.data_type != "f" and c.value)
    assert not [name for name in (*SYSTEMS, *study.LABELS.values()) if name in typed]


def test_the_opened_workbook_shows_the_votes(made):
    book = built(made, opened=True)
    assert {book.workbook[name].sheet_state for name in ("Arena", "Votos")} == {"visible"}
    assert cells.HIDDEN not in {value for (sheet, _), value in book.expected.items() if sheet == "Arena"}


def test_a_review_is_read_back_from_a_workbook_with_votes(made, tmp_path):
    _, found, plan = made
    ratings = random_ratings(plan)
    workbook.build(found, plan, ratings).workbook.save(tmp_path / "revista.xlsx")
    kept = comparison.read_review(tmp_path / "revista.xlsx").ratings
    assert {code: rating.preference for code, rating in kept.items()} == {
        code: rating.preference for code, rating in ratings.items()
    }
