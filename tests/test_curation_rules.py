"""Regras: uma linha por motivo, o SQL contra uma leitura comum em Python, e o mesmo resultado em quadro e partição."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from curation_rows import count_words, good_row, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import curation
from finetune_helpers.curation import rules
from finetune_helpers.errors import InputError

ROOT = Path(__file__).parents[1]
PLAN = rules.plan("llama", "recomendada")
BY_NAME = {one.name: one for model in ("llama", "gpt") for one in rules.plan(model, "recomendada").rules}
REASONS = [
    ("incompleto", {"title": "A title", "content": " \t"}, {"title": "A title", "content": "x"}),
    ("incompleto", {"title": None, "content": "x"}, {"title": "t", "content": "x"}),
    ("incompleto", {"content": "x"}, {"title": "t", "content": "x"}),
    ("conteudo_igual_ao_titulo", {"title": "A B", "content": "a  b "}, {"title": "A B", "content": "a c"}),
    ("titulo_curto", {"title": "t" * 40, "content": ""}, {"title": "t" * 41, "content": ""}),
    ("conteudo_curto", {"title": "", "content": "c" * 400}, {"title": "", "content": "c" * 401}),
    ("sem_palavra_chave", {"title": "Auth or", "content": "copy right"}, {"title": "", "content": "AUTHORity"}),
    ("sem_palavra_chave", {"title": "autho", "content": "r"}, {"title": "CopyRight", "content": ""}),
    ("titulo_curto_apos_limpeza", {"title": "t" * 40, "content": ""}, {"title": "t" * 41, "content": ""}),
    ("conteudo_curto_apos_limpeza", {"title": "", "content": "c" * 400}, {"title": "", "content": "c" * 401}),
    ("poucos_tokens", {"tokens": 256}, {"tokens": 257}),
    ("muitos_tokens", {"tokens": 257}, {"tokens": 256}),
]


@pytest.mark.parametrize(("name", "dropped", "kept"), REASONS)
def test_each_reason_drops_its_sample_and_keeps_the_neighbour(name, dropped, kept):
    assert not rules.keep_row(BY_NAME[name], dropped)
    assert rules.keep_row(BY_NAME[name], kept)


def test_a_row_whose_tokens_were_not_counted_has_none():
    row = {"title": "a", "content": "x"}
    assert rules.keep_row(rules.FEW_TOKENS, row) and not rules.keep_row(rules.MANY_TOKENS, row)
    assert rules.keep_row(rules.Rule("sem", "sem tokens", "tokens = 0"), row)


def test_every_rule_has_a_sample():
    assert set(BY_NAME) == {name for name, _, _ in REASONS}


@pytest.mark.parametrize(
    ("options", "text", "kept"),
    [
        ({}, "the authority", True),
        ({"whole_word": True}, "the authority", False),
        ({"whole_word": True}, "the éauthor", False),
        ({"whole_word": True}, "the Author, again", True),
        ({"whole_word": True}, "copyrights", False),
    ],
)
def test_keyword_readings(options, text, kept):
    assert rules.keep_row(rules.with_keyword(rules.KEYWORDS, **options), {"title": "", "content": text}) is kept


def test_original_mode_has_exactly_the_rules_of_the_project():
    names = [one.name for one in rules.plan("gpt", "original").rules]
    assert names == ["incompleto", "titulo_curto", "conteudo_curto", "sem_palavra_chave", "muitos_tokens"]


def test_a_rule_can_be_switched_off():
    for name in [one.name for one in PLAN.rules]:
        assert [one.name for one in PLAN.without(name).rules] == [one.name for one in PLAN.rules if one.name != name]
    short = replace(PLAN, raw=PLAN.raw[:2], cleaned=())
    with pytest.raises(InputError) as caught:
        short.without("titulo_longo")
    assert str(caught.value) == (
        'Não há regra "titulo_longo" neste plano. As regras são: incompleto, conteudo_igual_ao_titulo, poucos_tokens.'
    )


def test_each_rule_says_what_it_keeps():
    assert {one.says for one in PLAN.rules} == {
        "título e conteúdo preenchidos",
        "conteúdo diferente do título",
        "título com mais de 40 caracteres",
        "conteúdo com mais de 400 caracteres",
        '"copyright" ou "author" no título ou no conteúdo (como pedaço de palavra)',
        "título + conteúdo com 257 tokens ou mais",
    }
    assert rules.plan("gpt", "original").tokens[0].says == "título + conteúdo com até 256 tokens"
    assert rules.with_keyword(["água", "mar"]).says == (
        '"água" ou "mar" no título ou no conteúdo (como pedaço de palavra)'
    )
    assert rules.with_keyword(["água"], whole_word=True).says == '"água" no título ou no conteúdo (palavra inteira)'
    assert [rules.plan("gpt", mode).mode for mode in ("original", "recomendada")] == ["original", "recomendada"]


def test_a_frame_may_bring_its_tokens():
    frame = pd.DataFrame({"title": ["a", "b"], "content": ["x", "y"], "tokens": [256, 257]})
    assert rules.filter_frame(frame, PLAN.tokens)["title"].tolist() == ["b"]
    assert rules.filter_frame(frame.drop(columns="tokens"), PLAN.tokens).empty


@pytest.mark.parametrize(("model", "mode", "said"), [("bert", "original", 'Modelo "bert"'), ("gpt", "x", 'Modo "x"')])
def test_unknown_model_or_mode(model, mode, said):
    with pytest.raises(InputError, match=said):
        rules.plan(model, mode)


def in_python(title, content) -> dict[str, bool]:
    """As regras lidas como qualquer um as escreveria em Python."""
    title, content = (one if isinstance(one, str) else "" for one in (title, content))
    text = f"{title}\n{content}".lower()
    return {
        "incompleto": bool(title.strip() and content.strip()),
        "conteudo_igual_ao_titulo": len(content) > 2 * len(title)
        or not content
        or title.lower().split() != content.lower().split(),
        "titulo_curto": len(title) > 40,
        "conteudo_curto": len(content) > 400,
        "sem_palavra_chave": "copyright" in text or "author" in text,
    }


BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
TEXTS = st.one_of(
    st.none(),
    st.integers() | st.booleans() | st.floats(),
    st.text(max_size=60),
    st.text(alphabet="aA uthorcpyig\u00a0é", max_size=60),
    st.text(alphabet=BLANKS, max_size=4),
    st.text(alphabet=st.sampled_from("x\ud83d\U0001f926\u200d\u0301'\"\\\x00"), min_size=38, max_size=42),
    st.sampled_from(
        ["x" * 40, "x" * 41, "é" * 400, "é" * 401, "🤦🏼‍♂️" * 80, "AUTHOR", "Copyright ©", "A  b", "a\u2003B "]
    ),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12))
def test_the_conditions_mean_what_a_plain_python_reading_says(pairs):
    frame = pd.DataFrame(pairs, columns=["title", "content"], dtype=object)
    expected = [in_python(*pair) for pair in pairs]
    for rule in PLAN.raw:
        kept = rules.filter_frame(frame, [rule]).index.tolist()
        assert kept == [at for at, row in enumerate(expected) if row[rule.name]], rule.name
    assert rules.filter_frame(frame, PLAN.raw).index.tolist() == [
        at for at, row in enumerate(expected) if all(row.values())
    ]


def test_frame_without_a_column_says_which():
    with pytest.raises(InputError, match=r'Falta a coluna "content" no quadro; as colunas são title, uid\.'):
        rules.filter_frame(pd.DataFrame({"title": ["a"], "uid": ["1"]}), PLAN.raw)


def test_the_dask_lines_of_the_readme_keep_the_rows_that_pandas_keeps(monkeypatch):
    pytest.importorskip("dask.dataframe", reason="o dask não está instalado")
    monkeypatch.chdir(ROOT)
    (lines,) = re.findall(r"```python\n(import dask.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    told: dict = {}
    exec(lines.replace("2**26", "2**16"), told)  # seis partes em vez de uma
    frame = pd.read_json(ROOT / "dados" / "amostra" / "catalogo.jsonl", lines=True)[["title", "content"]]
    ours = rules.filter_frame(frame, rules.plan("gpt", "recomendada").raw)
    assert told["kept"].npartitions > 3 and len(ours) > 200
    assert list(told["kept"].compute().itertuples(index=False)) == list(ours.itertuples(index=False))


def test_a_new_filter_is_a_line_and_shows_in_the_funnel_and_in_the_report(tmp_path):
    path = write_rows(
        tmp_path / "c.jsonl", [good_row(seed) | ({"title": "Used " * 9} if seed == 3 else {}) for seed in range(9)]
    )
    plan = rules.plan("gpt", "original")
    # As linhas que CONTRIBUTING pede, e mais nada.
    new = rules.Rule("usado", "título que não começa por Used", "NOT starts_with(title, 'Used')")
    plan = replace(plan, raw=(*plan.raw, new))
    made = curation.curate(path, model="gpt", rules=plan, token_counter=count_words, n_train=5, n_test=3)
    (step,) = [step for step in made.funnel if step.rule == "usado"]
    assert (step.rows_in, step.rows_out, step.alone) == (9, 8, 1)
    assert made.dropped_examples["usado"][0]["line"] == 4
    assert made.report()["regras"]["usado"] == new.says


def test_a_condition_that_is_not_sql_is_an_instruction(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", [good_row(1)])
    wrong = rules.Rule("torta", "errada", "tamanho(title) > 3")
    plan = replace(rules.plan("gpt", "original"), raw=(wrong,))
    with pytest.raises(InputError, match=r"não entende a condição de uma regra .*tamanho.* Corrija a regra"):
        curation.curate(path, model="gpt", rules=plan, token_counter=count_words)
