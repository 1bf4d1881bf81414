"""A revisão cega: não diz quem escreveu o quê, aguenta o que as pessoas fazem com ela, e é lida de volta sem perdas."""

import json
import random
import re
import shutil
import subprocess
import zipfile

import pytest
from comparison_run import make_run
from openpyxl import load_workbook
from scipy import stats
from test_comparison_study import rewrite

from finetune_helpers import comparison, records
from finetune_helpers.comparison import blind, judgements, review, statistics, study
from finetune_helpers.errors import InputError, RunMismatchError

SOFFICE = shutil.which("soffice")
needs_office = pytest.mark.skipif(SOFFICE is None, reason="LibreOffice (soffice) não está instalado")
SMALL = blind.Size(reviewers=2, rows=40, shared=8)
HEAD = 6  # a linha do cabeçalho de uma aba de revisor

HOSTILE = [
    *("R$ 10", "\u202er", "1.5", "[resposta vazia]", "–—“”…", "<r><t>x</t></r>"),
    *("=1+1", '=HYPERLINK("http://x","y")', "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\n=1", "="),
    *("==", " =1", "#N/A", "#REF!", "#DIV/0!", "#NAME?", "TRUE", "FALSE", "verdadeiro", "1e5", "0001", "1,5", "10%"),
    *("_x000D_", "a_x0041_b", "_x005F_", "_x005F_x000D_", "_X000D_", "_xZZZZ_", "__x0007__", "x_x000d_"),
    *("'aspas", '"aspas"', "''", "a'b", "{=A1}", "<b>&amp;</b>", "&lt;", "<!-- -->", "</t></is></c>", "12/03"),
    *("a\rb", "a\r\nb", "a\n\n\nb", "fim \n", "  espaços  ", "\x00nul", "a\x07b", "a\x7fb", "a\x1bb", "a\x85b"),
    *("\ufffe\uffff", "\ud800solto", "\U0001f9d9\u200d\u2642\ufe0f", "\u05e2\u05d1", "\u0639\u0631", "e\u0301", "]]>"),
    *("\u200bzero", "\ufeffbom", "x" * 40_000, "\U0001f600" * 20_000, "linha\n" * 300, "", " ", "\n", "a;b,c"),
]  # fmt: skip


def recalculated(folder, *paths):
    """As planilhas abertas, calculadas e salvas pelo LibreOffice."""
    out = folder / "calculada"
    profile = f"-env:UserInstallation=file://{folder.parent / 'perfil-do-office'}"
    form = ["--convert-to", "xlsx:Calc MS Excel 2007 XML", "--outdir", str(out)]
    subprocess.run(
        [SOFFICE, "--headless", "--norestore", profile, *form, *map(str, paths)], check=True, capture_output=True
    )
    return [out / path.name for path in paths]


def hostile_run(folder):
    """Uma rodada em que as respostas do GPT ajustado são os textos hostis."""
    run = make_run(folder, n=len(HOSTILE), suite=False, few_shot=False)
    path = run / "gpt" / "respostas.jsonl"
    rows = records.read_jsonl(path)
    tuned = (row for row in rows if row["system"] == "gpt-tuned")
    for row, text in zip(tuned, HOSTILE, strict=True):
        row["answer"] = text
    # Um substituto solto não cabe em UTF-8: o JSON o escreve como \\ud800.
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return run


def choices(rng):
    """O que uma pessoa escreve numa linha."""
    known = {judgements.GRADES: (None, 1, 2, 3, 4, 5, " 3", "4,0"), (): (None, "=1+1", "bom", "linha 1\nlinha 2")}
    options = {title: known.get(accepted, (None, *accepted)) for title, (_, accepted, _) in judgements.INPUTS.items()}
    return {title: rng.choice(values) for title, values in options.items()} | {
        judgements.PREFERENCE: rng.choice(judgements.PREFERENCES)
    }


def fill(path, target=None, *, rate=None, sheets=(1, 2), names=("Ana", "Bia"), share=1.0, seed=3):
    """Preenche as abas ``sheets`` como faria uma pessoa e grava em ``target``; devolve o que escreveu, por código."""
    rng, book, typed = random.Random(seed), load_workbook(path), {}
    for number in sheets:
        sheet = book[f"Revisor {number}"]
        titles = {cell.value: cell.column for cell in sheet[HEAD]}
        sheet["B3"].value = names[number - 1]
        for line in range(HEAD + 1, sheet.max_row + 1):
            code = sheet.cell(line, titles[review.CODE]).value
            if rng.random() < share:
                typed[code] = rate(code) if rate else choices(rng)
                for title, value in typed[code].items():
                    sheet.cell(line, titles[title]).value = value
    book.save(target or path)
    return typed


def ratings(read):
    """O que se leu, na forma em que foi escrito."""
    return {
        row["code"]: {title: row[key] or None for title, (key, *_) in judgements.INPUTS.items()} for row in read.rows
    }


def clean(typed):
    """O que se escreveu, com as notas como se leem."""
    return {code: {title: {" 3": 3, "4,0": 4}.get(v, v) for title, v in row.items()} for code, row in typed.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("revisao"), 32, suite=False)


@pytest.fixture
def blank(run, tmp_path):
    """Uma cópia da rodada com a revisão escrita e em branco."""
    shutil.copytree(run.parents[1], tmp_path / "copia")
    return comparison.write_review(tmp_path / "copia" / "resultados" / "r1", size=SMALL)


def test_round_trip_loses_nothing_and_the_key_has_the_hash_of_the_file(blank):
    assert blind.read_key(blank.parent / blind.KEY).file_sha256 == records.sha256_file(blank)
    typed = fill(blank)
    read = comparison.read_review(blank)
    assert (ratings(read), read.problems) == (clean(typed), ())
    assert {row["reviewer"] for row in read.rows} == {"Ana", "Bia"}


def secrets_of(run):
    """Tudo o que diria quem escreveu: modelos, sistemas, rótulos, itens e o nome da rodada."""
    found = study.read_study(run)
    names = {text for system in found.systems for text in (system.name, system.model, system.model_id, system.label)}
    names |= {name.partition("@")[0] for name in names}
    return {name for name in names | set(found.items) | {run.name, "llama", "gpt", "ajustado", "tuned"} if name}


def test_nothing_in_the_file_tells_who_wrote_what(blank):
    with zipfile.ZipFile(blank) as archive:
        parts = {name: archive.read(name).decode("utf-8") for name in archive.namelist()}
        assert all(entry.date_time[0] == 1980 and not entry.comment for entry in archive.infolist())
    leaks = [
        (part, name)
        for part, text in parts.items()
        for name in secrets_of(blank.parent)
        if name.casefold() in text.casefold()
    ]
    assert leaks == []
    shown = re.sub(
        r"<definedName name=.(_xlnm._FilterDatabase|_xlnm.Print_Titles).*?</definedName>", "", "".join(parts.values())
    )
    assert not re.search(r'state="(veryH|h)idden"|hidden="1"|<definedName ', shown)
    formulas = [text for part in parts.values() for text in re.findall(r"<f>(.*?)</f>", part)]
    assert len(formulas) == 2 and all(formula.startswith("COUNTA(") for formula in formulas)


def test_the_order_says_nothing_about_the_key_over_1000_runs(run, monkeypatch):
    found = study.read_study(run)
    monkeypatch.setattr(blind, "texts", lambda *_: ())  # mil sorteios, sem os textos
    main = found.pairs()[0]
    counts, n = {"lado": 0, "código": 0, "repetida": 0}, 1000
    for seed in range(n):
        plan = blind.draw(found, blind.Size(1, 12, 0), random.Random(seed))
        own = [row for row in plan.rows if row.kind == blind.MAIN and (row.first, row.second) == main]
        counts["lado"] += own[0].left == main[0]
        counts["código"] += min(own, key=lambda row: row.code).left == main[0]
        again = min((row for row in plan.rows if row.kind == blind.REPEAT), key=lambda row: row.pair)
        original = next(row for row in plan.rows if row.kind == blind.MAIN and row.pair == again.pair)
        counts["repetida"] += plan.rows.index(again) < plan.rows.index(original)
    low, high = stats.binom.interval(0.9999, n, 0.5)
    assert {name: count for name, count in counts.items() if not low <= count <= high} == {}


def test_sides_are_balanced_repeats_are_flipped_and_all_see_the_shared_pairs(run):
    plan = blind.draw(study.read_study(run), SMALL, random.Random(1))
    seen = []
    for sheet in map(plan.sheet, (1, 2)):
        main = [row for row in sheet if row.kind == blind.MAIN]
        for contrast in plan.contrasts:
            sides = [row.left == row.first for row in main if (row.first, row.second) == contrast]
            assert abs(sum(sides) - len(sides) / 2) <= 0.5
        first = {row.pair: row.left for row in main}
        again = [row for row in sheet if row.kind == blind.REPEAT]
        assert len(again) == blind.REPEATS and all(first[row.pair] == row.right for row in again)
        assert sorted(row.expected for row in sheet if row.kind == blind.ATTENTION)[-1] == "empate"
        seen.append(set(first))
    assert len(seen[0] & seen[1]) == SMALL.shared
    assert sum(pair[1:] == plan.contrasts[0] for pair in seen[0] | seen[1]) == SMALL.rows // 2
    other = blind.draw(study.read_study(run), SMALL)
    assert other.code != plan.code and not {row.code for row in other.rows} & {row.code for row in plan.rows}


def sorted_and_moved(path, target):
    """Linhas embaralhadas e colunas trocadas de lugar, como numa ordenação."""
    book = load_workbook(path)
    for sheet in book.worksheets[1:]:
        order, lines = list(range(1, sheet.max_column + 1)), list(range(HEAD + 1, sheet.max_row + 1))
        old = {(cell.row, cell.column): cell.value for row in sheet.iter_rows(min_row=HEAD) for cell in row}
        columns, rows = random.Random(1).sample(order, len(order)), random.Random(1).sample(lines, len(lines))
        for new_line, line in zip([HEAD, *lines], [HEAD, *rows], strict=True):
            for new_column, column in zip(order, columns, strict=True):
                cell = sheet.cell(new_line, new_column)
                cell.value = old[line, column]
                cell.data_type = "s" if isinstance(cell.value, str) else cell.data_type
    book.save(target)


def exported_by_google(path, target):
    """Sem a dimensão das abas, que o Google Sheets não escreve."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, re.sub(rb"<dimension[^>]*/>", b"", old.read(name)))


def without_the_run_code(path, target):
    """Com o código da revisão apagado: restam os das linhas."""
    book = load_workbook(path)
    del book["Guia"]
    for sheet in book:
        sheet["A2"].value = None
    book.save(target)


@pytest.mark.parametrize("change", [sorted_and_moved, exported_by_google, without_the_run_code, shutil.copy])
def test_what_people_do_with_the_file_loses_nothing(blank, tmp_path, change):
    typed = fill(blank)
    change(blank, tmp_path / "da Ana (1).xlsx")
    read = comparison.read_review(tmp_path / "da Ana (1).xlsx", blank.parent)
    assert (ratings(read), read.problems) == (clean(typed), ())


def test_deleted_rows_bad_values_and_strange_codes_are_told_by_address(blank):
    fill(blank)
    book = load_workbook(blank)
    sheet = book["Revisor 1"]
    column = {cell.value: cell.column_letter for cell in sheet[HEAD]}
    gone = sheet[f"{column['Código']}8"].value
    sheet.delete_rows(8)
    wrong = {f"{column['Preferência']}9": "C", f"{column['Correção A']}10": 6, f"{column['Correção B']}10": 4.5}
    wrong |= {f"{column['Código']}11": "inventado", f"{column['Código']}13": None, "P6": "Minha coluna"}
    for place, value in wrong.items():
        sheet[place].value = value
    sheet[f"{column['Código']}14"].value = sheet[f"{column['Código']}15"].value
    sheet[f"{column['Resposta A']}12"].value = "outra resposta"
    del book["Revisor 2"]
    book.save(blank)
    problems = "\n".join(comparison.read_review(blank).problems)
    told = [*wrong, f"{column['Código']}12", f"{column['Código']}15: o código", gone, "Minha coluna", "A aba Revisor 2"]
    assert [place for place in told if place not in problems] == []
    sheet.delete_cols(16 - 3)  # a coluna Código
    book.save(blank)
    with pytest.raises(InputError, match="falta a coluna Código"):
        comparison.read_review(blank)


def test_two_people_in_two_copies_of_the_same_sheet_are_two_reviewers(blank, tmp_path):
    one = tmp_path / "a.xlsx"
    fill(blank, one, sheets=(1,), names=("Ana",), seed=1)
    fill(blank, blank.with_name("b.xlsx"), sheets=(1,), names=("Bia",), seed=2)
    read = comparison.read_review([one, "b.xlsx"], blank.parent)  # o nome basta na pasta da rodada
    done = {person.name: person.done for person in read.reviewers}
    assert done["Ana"] == done["Bia"] > 20 and read.problems == ()
    assert read.agreement["pares"] == len(
        {row.row.pair for row in read.judgements if row.reviewer == "Ana" and row.row.kind == blind.MAIN}
    )


def test_copies_of_one_person_complete_each_other_and_conflicts_are_told(blank, tmp_path):
    half, other = tmp_path / "a.xlsx", tmp_path / "b.xlsx"
    first = fill(blank, half, sheets=(1,), share=0.5, seed=1)
    second = fill(blank, other, sheets=(1,), share=0.5, seed=2)
    read = comparison.read_review([half, other], blank.parent)
    known = {code: row for code, row in ratings(read).items() if row[judgements.PREFERENCE]}
    assert known == clean(first | second)
    different = [code for code in first if code in second and clean(first)[code] != clean(second)[code]]
    assert sorted(re.findall(r"a linha (\w+) de Ana", "\n".join(read.problems))) == sorted(different)


def test_a_review_of_another_run_is_refused(blank, tmp_path):
    other = comparison.write_review(make_run(tmp_path / "outra", suite=False), size=SMALL)
    with pytest.raises(RunMismatchError, match="não é uma revisão desta rodada"):
        comparison.read_review(other, blank.parent)
    with pytest.raises(RunMismatchError, match="revisões diferentes"):
        comparison.read_review([blank, other])


def test_without_the_key_or_with_a_damaged_file_the_error_says_what_to_do(blank, tmp_path):
    shutil.copy(blank, tmp_path / "sozinha.xlsx")
    with pytest.raises(InputError, match=r"revisao_chave\.json"):
        comparison.read_review(tmp_path / "sozinha.xlsx")
    (tmp_path / "ruim.xlsx").write_bytes(b"nada")
    with pytest.raises(InputError, match="não abre como"):
        comparison.read_review(tmp_path / "ruim.xlsx", blank.parent)
    with pytest.raises(InputError, match="não existe"):
        comparison.read_review(tmp_path / "falta.xlsx", blank.parent)


def test_writing_again_keeps_what_was_typed_and_a_renamed_review_still_opens(blank):
    typed, key = fill(blank), (blank.parent / blind.KEY).read_bytes()
    before = blank.read_bytes()
    assert comparison.write_review(blank.parent, size=SMALL).read_bytes() == before
    assert (blank.parent / blind.KEY).read_bytes() == key
    mine = blank.rename(blank.with_name("minha.xlsx"))
    fresh = comparison.write_review(blank.parent, size=SMALL)
    assert ratings(comparison.read_review(mine)) == clean(typed)
    assert not any(row["preference"] for row in comparison.read_review(fresh).rows)


def change_answers(run):
    rewrite(run, "gpt", lambda row: row | {"answer": row["answer"] + " E mais."})


def test_typed_ratings_are_never_overwritten_and_the_way_out_works(blank):
    fill(blank)
    before = blank.read_bytes()
    change_answers(blank.parent)
    with pytest.raises(RunMismatchError, match="mude antes o nome"):
        comparison.write_review(blank.parent, size=SMALL)
    assert blank.read_bytes() == before
    old = blank.rename(blank.with_name("antiga.xlsx"))
    fresh = comparison.write_review(blank.parent, size=SMALL)
    assert comparison.read_review(fresh).plan.code != comparison.read_review(old).plan.code


@pytest.mark.parametrize("touched", [False, True], ids=["intacta", "aberta-e-salva"])
def test_a_blank_review_of_old_answers_is_replaced(blank, touched):
    if touched:
        load_workbook(blank).save(blank)
    code = comparison.read_review(blank).plan.code
    change_answers(blank.parent)
    assert comparison.read_review(comparison.write_review(blank.parent, size=SMALL)).plan.code != code


def test_a_write_that_fails_leaves_no_half_review(tmp_path, monkeypatch):
    folder = make_run(tmp_path, 8, suite=False)
    monkeypatch.setattr(review, "write_json", lambda *_: (_ for _ in ()).throw(OSError("disco cheio")))
    with pytest.raises(OSError, match="disco"):
        comparison.write_review(folder, size=SMALL)
    assert not (folder / review.FILE).exists()


def test_a_run_with_one_system_no_file_or_a_lost_or_damaged_key_says_what_to_do(blank, tmp_path):
    with pytest.raises(InputError, match="dois sistemas"):
        comparison.write_review(make_run(tmp_path, arms=(), suite=False))
    with pytest.raises(InputError, match="Nenhuma planilha"):
        comparison.read_review([])
    key = blank.parent / blind.KEY
    key.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="não é uma chave"):
        comparison.read_review(blank)
    key.unlink()
    with pytest.raises(RunMismatchError, match="sem a sua chave"):
        comparison.write_review(blank.parent, size=SMALL)


def test_a_reviewer_who_prefers_one_system_is_recovered(blank):
    plan = blind.read_key(blank.parent / blind.KEY)
    rows = {row.code: row for row in plan.rows}

    def rate(code):
        row = rows[code]
        side = row.expected or ("A" if row.left == row.first else "B")
        grades = {f"Correção {shown}": 5 if side == shown else 2 for shown in "AB"}
        return {judgements.PREFERENCE: side} | grades

    fill(blank, rate=rate)
    read = comparison.read_review(blank)
    assert [preference.estimate.mean for preference in read.preference] == [1.0] * len(plan.contrasts)
    assert (read.agreement["pares"], read.agreement["igual"], read.agreement["kappa"]) == (8, 1.0, None)
    assert [(person.repeats_equal, person.attention_right) for person in read.reviewers] == [(1.0, 1.0)] * 2
    assert read.agreement["posição"] == pytest.approx(0.5, abs=0.05)
    best = read.preference[0].first
    assert read.grade(best) > read.grade(read.preference[0].second)


def test_an_item_judged_twice_counts_once_with_its_mean():
    told = [("1", judgements.FIRST), ("1", "empate"), ("2", judgements.SECOND), ("3", "ambas ruins")]
    found = judgements.contest(("um", "outro"), told)
    assert found.statistic == statistics.preference([0.75, 0.0, 0.5])
    assert found.outcomes == {judgements.FIRST: 1, "empate": 1, judgements.SECOND: 1, "ambas ruins": 1}
