"""Quase duplicatas, conjunto da comparação e a conferência dos arquivos gravados."""

from dataclasses import replace

import pytest
from curation_rows import count_words, good_row, sentence, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import curation
from finetune_helpers.curation import duplicates
from finetune_helpers.errors import InputError
from finetune_helpers.records import Example, read_json, read_jsonl, write_jsonl


def example(seed: int, **changed) -> Example:
    row = good_row(seed)
    return Example(changed.get("title", row["title"]), changed.get("content", row["content"]))


def brute_jaccard(first: str, second: str) -> float:
    sets = [{text[at : at + 5] for at in range(len(text) - 4)} for text in (first, second)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_editions_case_and_word_order_do_not_hide_a_title():
    keys = [duplicates.title_key(one) for one in ("Emma: A Novel (Audio CD)", "a novel EMMA", "A Novel, Emma [VHS]")]
    assert len(set(keys)) == 1


def test_a_title_of_symbols_is_not_near_everything():
    assert duplicates.near_title(duplicates.title_key("!!! ???"), [duplicates.title_key("*** +++")]) is None


@settings(max_examples=60)
@given(st.text("abc d", min_size=5, max_size=80), st.text("abc d", min_size=5, max_size=80))
def test_pairs_are_those_of_the_definition(first, second):
    first, second = (" ".join(text.split()).ljust(5) for text in (first, second))
    found = duplicates.near_pairs([Example("uma coisa", first)], [Example("outra bem diversa", second)])
    assert [one.kind for one in found] == ["conteúdo"] * (brute_jaccard(first, second) >= duplicates.JACCARD)


def test_every_planted_near_duplicate_is_found():
    originals = [sentence(120, seed).split() for seed in range(60)]
    changed = [[*words[:40], "changed", *words[41:80], "again", *words[81:]] for words in originals]
    sides = [[duplicates.shingles(" ".join(words)) for words in side] for side in (changed, originals)]
    assert [(pair.left, pair.right) for pair in duplicates.near_contents(*sides)] == [(at, at) for at in range(60)]
    assert [pair.left for pair in duplicates.near_contents(sides[1], sides[1])] == [*range(60)]
    assert list(duplicates.near_contents([], sides[0])) == []


def test_clusters_join_chains_and_take_the_first_identity():
    chain = [example(1), example(2, title=good_row(1)["title"] + " (Hardcover)"), example(3)]
    chain.append(example(4, content=chain[1].content))
    groups = duplicates.clusters(chain)
    assert groups == [chain[0].item_id, chain[0].item_id, chain[2].item_id, chain[0].item_id]


@pytest.fixture
def rounds(tmp_path):
    """Curadorias dos dois modelos sobre a mesma fonte, gravadas em ``dados/rodada``."""
    rows = [good_row(seed, 80 if seed % 2 else 400) for seed in range(60)]
    path = write_rows(tmp_path / "c.jsonl", rows)
    made = [
        curation.curate(path, model=model, token_counter=count_words, n_train=12, n_test=8)
        for model in ("llama", "gpt")
    ]
    for one in made:
        curation.write(one, tmp_path / "dados" / one.model)
    return made, tmp_path / "dados"


def test_the_comparison_has_both_regimes_in_the_recorded_proportion(rounds):
    made, folder = rounds
    curation.write_comparison(made, folder / "comparacao")
    rows = read_jsonl(folder / "comparacao" / "teste.jsonl")
    report = read_json(folder / "comparacao" / "comparacao.json")
    assert list(rows[0]) == ["item_id", "title", "content", "regime", "cluster"]
    assert report["por_regime"] == {"longo": 8, "curto": 8} and report["proporcao_longo"] == 0.5
    assert [row["regime"] for row in rows] == ["longo"] * 8 + ["curto"] * 8
    assert len({row["item_id"] for row in rows}) == report["grupos"] == 16


def test_an_item_near_the_other_model_s_training_stays_out(rounds, tmp_path):
    long, short = rounds[0]
    title = long.test[0].title + " (Paperback)"
    short = replace(short, train=[Example(title, short.train[0].content, "curto"), *short.train[1:]])
    curation.write_comparison([long, short], tmp_path / "x")
    report = read_json(tmp_path / "x" / "comparacao.json")
    assert report["perto_de_um_treino"] == {"total": 1, "titulos": [long.test[0].title]}
    assert long.test[0].title not in [row["title"] for row in read_jsonl(tmp_path / "x" / "teste.jsonl")]


def test_a_product_in_both_tests_is_asked_once(rounds, tmp_path):
    long, short = rounds[0]
    short = replace(short, test=[replace(long.test[0], regime="curto"), *short.test[1:]])
    curation.write_comparison([long, short], tmp_path / "x")
    titles = [row["title"] for row in read_jsonl(tmp_path / "x" / "teste.jsonl")]
    assert titles.count(long.test[0].title) == 1


def test_without_two_items_far_from_training_there_is_no_comparison(rounds, tmp_path):
    long, short = rounds[0]
    one = [replace(long, test=long.train[:3]), replace(short, test=short.test[:1])]
    with pytest.raises(InputError, match=r"Dos 4 itens de teste, 3 se parecem.* Aumente `n_test` ou diminua `n_train`"):
        curation.write_comparison(one, tmp_path / "x")
    assert not (tmp_path / "x" / "teste.jsonl").exists()
    assert len(curation.shared_test([one[0], replace(short, test=short.test[:2])]).items) == 2


def test_the_check_passes_on_what_the_curation_wrote(rounds):
    made, folder = rounds
    curation.write_comparison(made, folder / "comparacao")
    checks = [(one.test, one.train, one.n_test, one.n_train) for one in curation.check_leaks(folder)]
    assert checks == [
        ("gpt/teste.jsonl", "gpt/treino.jsonl", 8, 12),
        ("llama/teste.jsonl", "llama/treino.jsonl", 8, 12),
        ("comparacao/teste.jsonl", "gpt/treino.jsonl", 16, 12),
        ("comparacao/teste.jsonl", "llama/treino.jsonl", 16, 12),
    ]


def test_original_mode_ends_with_its_leak_declared_and_the_shared_test_free_of_it(tmp_path):
    rows = [good_row(seed, 80 if seed % 2 else 400) for seed in range(24)]
    path = write_rows(tmp_path / "c.jsonl", [*rows, rows[1], rows[0], *(good_row(seed, 400) for seed in range(50, 60))])
    options = {"token_counter": count_words, "mode": "original", "n_train": 12, "n_test": 1}
    made = [curation.curate(path, **options | {"model": model, "n_test": n}) for model, n in (("gpt", 1), ("llama", 4))]
    for one in made:
        curation.write(one, tmp_path / "dados" / one.model)
    curation.write_comparison(made, tmp_path / "dados" / "comparacao")
    leak = {"test": rows[1]["title"], "train": rows[1]["title"], "score": 1.0}
    assert read_json(tmp_path / "dados" / "gpt" / "curadoria.json")["leaks"] == [leak]
    checks = curation.check_leaks(tmp_path / "dados")
    assert [(one.test, one.leaks) for one in checks[:2]] == [("gpt/teste.jsonl", 1), ("llama/teste.jsonl", 1)]
    assert [one.leaks for one in checks[2:]] == [0, 0]
    assert str(checks[0]).endswith("parecidas com o treino: 1") and "nenhum par" in str(checks[2])


@pytest.mark.parametrize("model", ["llama", "gpt"])
def test_the_check_fails_loudly_on_a_planted_leak(rounds, model):
    folder = rounds[1] / model
    train, test = read_jsonl(folder / "treino.jsonl"), read_jsonl(folder / "teste.jsonl")
    write_jsonl(folder / "teste.jsonl", [*test[:2], train[4], *test[3:]])
    with pytest.raises(
        InputError, match=rf"Vazamento: linhas de {model}/teste.*: 1\.\n- linha 3 .* e linha 5 .*título"
    ):
        curation.check_leaks(rounds[1])


def test_the_check_needs_files_with_known_keys(rounds, tmp_path):
    with pytest.raises(InputError, match=r"não tem treino\.jsonl em nenhuma subpasta"):
        curation.check_leaks(tmp_path / "nada")
    write_jsonl(rounds[1] / "gpt" / "teste.jsonl", [{"pergunta": "a"}])
    with pytest.raises(InputError, match=r"teste\.jsonl, linha 1: as chaves são pergunta"):
        curation.check_leaks(rounds[1])
