"""A curadoria inteira: funil, ordem, escolha sem vazamento, arquivos gravados e conferência."""

import hashlib
from itertools import pairwise

import pytest
from curation_rows import REAL_ROWS, count_words, good_row, sentence, write_rows
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune_helpers import curation, prompts
from finetune_helpers.curation import duplicates, outputs, rules, selection
from finetune_helpers.errors import InputError
from finetune_helpers.records import read_json, read_jsonl

real = pytest.mark.skipif(not REAL_ROWS.is_dir(), reason=f"as linhas reais não estão em {REAL_ROWS}")


def curate(path, model="gpt", n_train=6, n_test=2, **options):
    """Curadoria com contador de palavras; o conjunto do GPT fica com as linhas curtas."""
    return curation.curate(path, model=model, token_counter=count_words, n_train=n_train, n_test=n_test, **options)


@pytest.fixture
def catalogue(tmp_path):
    """Trinta linhas boas, oito longas, uma por motivo de corte e quatro repetições."""
    first = good_row(0)
    bad = [
        {"title": "", "content": "x"},
        {"title": "T" * 41, "content": "T" * 41},
        good_row(100) | {"title": "short"},
        good_row(101) | {"content": "short author"},
        good_row(102) | {"content": sentence(80, 102)},
        good_row(103) | {"title": f"{'T' * 36}&amp;"},
        good_row(104) | {"content": "author " + "&#8217;" * 60},
    ]
    repeats = [
        first | {"content": good_row(200)["content"]},
        good_row(201) | {"content": first["content"].upper()},
        good_row(202) | {"content": first["content"].replace("author", "writer author")},
    ]
    near = good_row(203) | {"title": first["title"] + " (Paperback)"}
    rows = [*bad, first, *repeats, *(good_row(seed) for seed in range(1, 6)), near]
    rows += [good_row(seed) for seed in range(6, 30)] + [good_row(seed, 400) for seed in range(30, 38)]
    return write_rows(tmp_path / "catalogo.jsonl", rows)


def test_each_step_of_the_funnel_starts_where_the_one_before_ended(catalogue):
    made = curate(catalogue)
    assert made.funnel[0].rows_in == 49
    assert all(one.rows_out == other.rows_in for one, other in pairwise(made.funnel))
    assert made.funnel[-1].rows_out == len(made.train) + len(made.test)
    steps = {step.rule: step for step in made.funnel}
    dropped = {name: step.dropped for name, step in steps.items()}
    assert dropped == {
        "incompleto": 1,
        "conteudo_igual_ao_titulo": 1,
        "titulo_curto": 1,
        "conteudo_curto": 1,
        "sem_palavra_chave": 1,
        "titulo_curto_apos_limpeza": 1,
        "conteudo_curto_apos_limpeza": 1,
        "muitos_tokens": 8,
        "excedente": 22,
        "duplicata_exata": 2,
        "quase_duplicata": 1,
        "perto_do_treino": 1,
    }
    assert (steps["conteudo_curto"].alone, steps["conteudo_curto"].alone_of) == (3, 49)
    assert (steps["duplicata_exata"].alone, steps["duplicata_exata"].alone_of) == (2, steps["duplicata_exata"].rows_in)


@pytest.mark.parametrize(
    ("asked", "titles", "fits"),
    [
        ((60, 20), "ABCDEFGHIJ", (8, 2)),
        ((60, 20), "ABCDEFGABC", (5, 2)),  # os três últimos têm títulos do treino e não servem de teste
        ((9, 1), "ABC", (2, 1)),
        ((1, 9), "ABC", (1, 2)),
        ((5, 5), "AB", (1, 1)),
        ((5, 5), "AAAA", (0, 0)),
        ((5, 5), "A", (0, 0)),
    ],
)
def test_the_largest_fit_keeps_the_proportion_and_a_test_far_from_the_training(asked, titles, fits):
    made = selection.Selection(*asked, True, selection.Funnel([], {}))
    rows = [selection.Candidate(at, sentence(6, ord(title)), sentence(80, at)) for at, title in enumerate(titles)]
    made.train.extend(rows)
    assert made.largest_fit() == fits
    made.unique = False
    assert sum(made.largest_fit()) == (len(rows) if len(rows) > 1 else 0)


def test_the_funnel_is_read_a_step_a_line():
    steps = [selection.Step("a", "x", 1500, 1200, 400, 2000), selection.Step("b", "y", 1200, 1200, 0, 1200)]
    assert selection.as_text(steps) == (
        "a: entram 1.500, caem 300, ficam 1.200 (sozinha cortaria 400 de 2.000)\n"
        "b: entram 1.200, caem 0, ficam 1.200 (sozinha cortaria 0 de 1.200)"
    )


def test_dropped_rows_are_kept_ten_a_reason_with_line_and_partner(catalogue):
    dropped = curate(catalogue).dropped_examples
    assert len(dropped["excedente"]) == selection.KEPT_PER_REASON
    assert dropped["titulo_curto"][0]["line"] == 3
    assert [(one["like_line"], one["score"]) for one in dropped["duplicata_exata"]] == [(8, 1.0), (8, 1.0)]
    assert dropped["duplicata_exata"][0]["content"] == good_row(200)["content"]
    assert dropped["perto_do_treino"][0]["title"].endswith("(Paperback)")
    assert dropped["perto_do_treino"][0]["like_line"] == 8


def test_original_mode_keeps_raw_text_and_repetitions_and_counts_the_leak(tmp_path):
    rows = [good_row(seed) | {"content": f" author&#8217;s {sentence(80, seed)} "} for seed in range(3)]
    path = write_rows(tmp_path / "o.jsonl", [*rows, rows[0]])
    made = curate(path, mode="original", n_train=3, n_test=1)
    assert made.train[0].content == rows[0]["content"]
    assert made.report()["leaks"] == [{"test": rows[0]["title"], "train": rows[0]["title"], "score": 1.0}]
    assert made.test[0].cluster == made.train[0].cluster == made.train[0].item_id


def test_the_two_models_part_the_rows_at_the_border_and_each_has_its_format(catalogue, tmp_path):
    short, long = curate(catalogue), curate(catalogue, model="llama", n_train=5)
    assert {one.regime for one in (*short.train, *short.test)} == {"curto"}
    assert {one.regime for one in (*long.train, *long.test)} == {"longo"}
    assert all(sum(count_words([one.title, one.content])) >= 257 for one in (*long.train, *long.test))
    assert sum(short.token_histogram.values()) == 42
    outputs.write(short, tmp_path / "gpt")
    outputs.write(long, tmp_path / "llama")
    assert read_jsonl(tmp_path / "llama" / "treino.jsonl") == [prompts.to_alpaca(one) for one in long.train]
    assert read_jsonl(tmp_path / "gpt" / "teste.jsonl") == [prompts.to_chat(one) for one in short.test]
    assert read_json(tmp_path / "gpt" / "curadoria.json")["arquivos"]["treino.jsonl"]["linhas"] == 6


def test_row_by_row_gives_the_same_rows_as_the_pipeline(catalogue):
    plan = rules.plan("gpt", "original")
    rows = [row for row in curation.read_rows(catalogue) if all(rules.keep_row(rule, row) for rule in plan.raw)]
    rows = [row for row in rows if sum(count_words([row["title"], row["content"]])) <= rules.BORDER]
    made = curate(catalogue, mode="original", n_train=20, n_test=5)
    assert [one.title for one in (*made.train, *made.test)] == [row["title"] for row in rows[:25]]


def test_too_few_rows_says_how_many_there_are_and_what_fits(catalogue):
    with pytest.raises(
        InputError, match=r"há 31 linhas para o treino e 0 linhas.*pedidas 60 e 20\. Use `n_train` = 23 e `n_test` = 8"
    ):
        curate(catalogue, n_train=60, n_test=20)
    assert len(curate(catalogue, n_train=23, n_test=8).test) == 8


def test_nothing_left_names_the_emptiest_rule_and_prints_the_funnel(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", [good_row(seed) | {"title": "short"} for seed in range(5)])
    with pytest.raises(InputError, match=r'mais corta é "titulo_curto"(?s:.*)titulo_curto: entram 5, caem 5, ficam 0'):
        curate(path)


@pytest.mark.parametrize("numbers", [{"n_train": 0}, {"n_test": -1}])
def test_sizes_must_be_positive(catalogue, numbers):
    with pytest.raises(InputError, match="os dois precisam ser 1 ou mais"):
        curate(catalogue, **numbers)


def test_early_stop_reads_only_the_blocks_it_needs(tmp_path, monkeypatch):
    path = write_rows(tmp_path / "grande.jsonl", [good_row(seed) for seed in range(400)])
    monkeypatch.setattr("finetune_helpers.curation.pipeline.SMALL", 0)
    monkeypatch.setattr("finetune_helpers.curation.pipeline.BLOCK", 50)
    early, whole = curate(path), curate(path, full_scan=True)
    read = b"".join(path.read_bytes().splitlines(keepends=True)[:50])
    source = early.report()["fonte"]
    assert (source["bytes_lidos"], source["linhas_lidas"], source["lida_inteira"]) == (len(read), 50, False)
    assert source["sha256_do_que_foi_lido"] == hashlib.sha256(read).hexdigest()
    assert early.funnel[0].rows_in == source["linhas_lidas"]
    assert whole.report()["fonte"]["linhas_lidas"] == whole.funnel[0].rows_in == 400
    assert (early.train, early.test) == (whole.train, whole.test)


def test_same_input_gives_identical_files_and_report(catalogue, tmp_path):
    reports = []
    for name in ("a", "b"):
        made = curate(catalogue)
        outputs.write(made, tmp_path / name)
        report = read_json(tmp_path / name / "curadoria.json")
        assert report.pop("tempo")["linhas_por_segundo"] > 0
        reports.append(report)
    assert reports[0] == reports[1]
    assert (tmp_path / "a" / "treino.jsonl").read_bytes() == (tmp_path / "b" / "treino.jsonl").read_bytes()


def test_a_failure_while_writing_leaves_no_marker(catalogue, tmp_path, monkeypatch):
    made = curate(catalogue)
    outputs.write(made, tmp_path / "gpt")
    monkeypatch.setattr(outputs, "sha256_file", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outputs.write(made, tmp_path / "gpt")
    assert not (tmp_path / "gpt" / "curadoria.json").exists()


def test_damaged_lines_are_warned_and_reported(catalogue):
    with open(catalogue, "a") as file:
        file.write("lixo\n")
    with pytest.warns(UserWarning, match="puladas: 1"):
        report = curate(catalogue, damage_limit=1).report()
    assert report["linhas_danificadas"]["primeiras"][0]["line"] == 50


ROW = st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from(["", " (Paperback)", " again"]))


@settings(max_examples=25)
@given(st.lists(ROW, min_size=4, max_size=40))
@example([(1, 1, ""), (2, 1, ""), (2, 2, " (Paperback)"), (2, 3, ""), (5, 5, ""), (6, 6, "")])
def test_order_is_kept_and_no_test_row_is_near_a_training_row(tmp_path_factory, picks):
    rows = [
        {"title": good_row(title)["title"] + extra, "content": good_row(content)["content"] + extra}
        for title, content, extra in picks
    ]
    path = write_rows(tmp_path_factory.mktemp("p") / "p.jsonl", rows)
    try:
        made = curate(path, n_train=3, n_test=2)
    except InputError as error:
        assert "para o treino" in str(error) or "ao menos duas" in str(error)
        return
    chosen = [one.title for one in (*made.train, *made.test)]
    # Um título pode repetir-se: o que vale é que os escolhidos apareçam nesta ordem ao percorrer o arquivo uma vez.
    remaining = iter(" ".join(row["title"].split()) for row in rows)
    assert all(title in remaining for title in chosen)
    assert duplicates.near_pairs(made.test, made.train) == []


@real
@pytest.mark.parametrize(("name", "kept"), [("livros_750.jsonl", 404), ("primeiras_500.jsonl", 49)])
def test_real_rows_keep_what_the_rules_say(name, kept):
    made = curation.curate(REAL_ROWS / name, model="gpt", mode="original", n_train=10, n_test=5)
    steps = {step.rule: step for step in made.funnel}
    assert steps["sem_palavra_chave"].rows_out == kept
    text = [row["title"] + "\n" + row["content"] for row in curation.read_rows(REAL_ROWS / name)]
    lengths = [len(one.split("\n")[0]) > 40 and len(one.partition("\n")[2]) > 400 for one in text]
    words = ["author" in one.lower() or "copyright" in one.lower() for one in text]
    assert kept == sum(long and word for long, word in zip(lengths, words, strict=True))


@real
def test_real_rows_are_clean_and_without_leaks(tmp_path):
    made = curation.curate(REAL_ROWS / "livros_750.jsonl", model="gpt", n_train=48, n_test=16)
    curation.write(made, tmp_path / "gpt")
    assert curation.check_leaks(tmp_path)[0].n_test == 16
    assert not any("This text refers" in one.content or "&#" in one.content for one in (*made.train, *made.test))


def test_alternatives_count_each_reading(catalogue):
    found = {one.reading: one for one in curation.alternatives(catalogue, model="gpt", token_counter=count_words)}
    assert found['"copyright" ou "author"'].rows == found["como pedaço de palavra"].rows == 44
    assert found['"copyright" e "author"'].rows == 0
    assert found["257 ou mais"].rows == 8 and found["até 256"].rows == 36
    assert found["até 256"].adopted and not found["257 ou mais"].adopted


def test_short_of_rows_the_token_rule_can_be_switched_off_and_the_report_says_so(catalogue):
    made = curate(catalogue, model="llama", n_train=10, n_test=4, if_short="desligar_tokens")
    assert made.report()["regra_de_tokens"] == "desligada"
    assert {one.regime for one in (*made.train, *made.test)} == {"curto"}
    enough = curate(catalogue, model="llama", n_train=5, n_test=2, if_short="desligar_tokens")
    assert enough.report()["regra_de_tokens"] == "ligada"
    with pytest.raises(InputError, match='Use "parar" ou "desligar_tokens"'):
        curate(catalogue, if_short="talvez")
