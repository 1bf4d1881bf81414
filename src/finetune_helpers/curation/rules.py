"""Regras da curadoria: um nome, um motivo e UMA condição em SQL sobre ``title``, ``content`` e ``tokens``.

A condição é a única definição da regra. O DuckDB a aplica ao arquivo inteiro (``reading``), a um quadro do pandas, a
uma linha ou a uma partição do Dask: ``dask.dataframe.map_partitions(filter_frame, regras)``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import duckdb
    import pandas

KEYWORDS = ("copyright", "author")
TITLE_OVER = 40  # caracteres
CONTENT_OVER = 400
BORDER = 256  # tokens: o conjunto do GPT vai até aqui; o do LLaMA começa logo acima
# O que o Python trata como espaço em str.isspace; o \s do DuckDB só conhece o ASCII.
_SPACE = r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_NOT_IN_WORD = r"[^\pL\pN_]"


@dataclass(frozen=True)
class Rule:
    """O motivo de quem cai, a frase que explica a regra e a condição, em SQL, de quem fica; nenhum texto é nulo."""

    name: str
    says: str
    condition: str


@dataclass(frozen=True)
class Plan:
    """As regras na ordem em que valem: no texto bruto, no texto limpo, nos tokens e, no fim, contra repetições."""

    mode: str
    raw: tuple[Rule, ...]
    cleaned: tuple[Rule, ...]
    tokens: tuple[Rule, ...]
    cleans: bool = False
    unique: bool = False

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Todas as regras, em ordem."""
        return (*self.raw, *self.cleaned, *self.tokens)

    def without(self, *names: str) -> "Plan":
        """O mesmo plano com as regras ``names`` desligadas; InputError se um nome não existe."""
        known = [rule.name for rule in self.rules]
        if unknown := [name for name in names if name not in known]:
            raise InputError(f'Não há regra "{unknown[0]}" neste plano. As regras são: {", ".join(known)}.')
        raw, cleaned, tokens = (
            tuple(rule for rule in rules if rule.name not in names) for rules in (self.raw, self.cleaned, self.tokens)
        )
        return replace(self, raw=raw, cleaned=cleaned, tokens=tokens)


def with_keyword(words: Sequence[str], *, whole_word: bool = False) -> Rule:
    """``sem_palavra_chave``: uma das palavras no título ou no conteúdo, sem contar caixa.

    A palavra vale como pedaço de outra ("authority" contém "author"), a menos que ``whole_word``.
    """
    how = "palavra inteira" if whole_word else "como pedaço de palavra"
    frame = rf"(?:^|{_NOT_IN_WORD}){{}}(?:$|{_NOT_IN_WORD})" if whole_word else "{}"
    patterns = ["(?i)" + frame.format(re.escape(word)).replace("'", "''") for word in words]
    says = " ou ".join(f'"{word}"' for word in words) + f" no título ou no conteúdo ({how})"
    # Uma expressão por palavra: o DuckDB procura um texto fixo duas vezes mais depressa do que um de dois.
    condition = " OR ".join(f"regexp_matches({text}, '{it}')" for text in ("content", "title") for it in patterns)
    return Rule("sem_palavra_chave", says, condition)


def _folded(column: str) -> str:
    return f"lower(trim(regexp_replace({column}, '[{_SPACE}]+', ' ', 'g')))"


COMPLETE = Rule(
    "incompleto",
    "título e conteúdo preenchidos",
    f"regexp_matches(title, '[^{_SPACE}]') AND regexp_matches(content, '[^{_SPACE}]')",
)
NOT_THE_TITLE = Rule(
    "conteudo_igual_ao_titulo",
    "conteúdo diferente do título",
    # Um conteúdo mais de duas vezes maior que o título é outro, e nem se compara.
    f"length(content) > 2 * length(title) OR content = '' OR {_folded('title')} <> {_folded('content')}",
)
LONG_TITLE = Rule("titulo_curto", f"título com mais de {TITLE_OVER} caracteres", f"length(title) > {TITLE_OVER}")
LONG_CONTENT = Rule(
    "conteudo_curto", f"conteúdo com mais de {CONTENT_OVER} caracteres", f"length(content) > {CONTENT_OVER}"
)
MANY_TOKENS = Rule("poucos_tokens", f"título + conteúdo com {BORDER + 1} tokens ou mais", f"tokens > {BORDER}")
FEW_TOKENS = Rule("muitos_tokens", f"título + conteúdo com até {BORDER} tokens", f"tokens <= {BORDER}")


def plan(model: str, mode: str) -> Plan:
    """As regras do projeto para o modelo (``"llama"`` ou ``"gpt"``) e o modo (``"recomendada"`` ou ``"original"``).

    InputError se o modelo ou o modo for outro.
    """
    if mode not in ("recomendada", "original"):
        raise InputError(f'Modo "{mode}" desconhecido. Em `mode`, use "recomendada" ou "original".')
    if model not in ("llama", "gpt"):
        raise InputError(f'Modelo "{model}" desconhecido. Use "llama" ou "gpt".')
    tokens = (MANY_TOKENS if model == "llama" else FEW_TOKENS,)
    raw = (LONG_TITLE, LONG_CONTENT, with_keyword(KEYWORDS))
    if mode == "original":
        return Plan(mode, (COMPLETE, *raw), (), tokens)
    cleaned = tuple(replace(rule, name=f"{rule.name}_apos_limpeza") for rule in (LONG_TITLE, LONG_CONTENT))
    return Plan(mode, (COMPLETE, NOT_THE_TITLE, *raw), cleaned, tokens, cleans=True, unique=True)


def passed_sql(rules: Sequence[Rule]) -> str:
    """A expressão que soma 2^i para cada regra i que mantém a linha: 2^n - 1 é quem passa por todas."""
    # O CASE para na primeira parte que decide uma condição com AND ou OR; fora dele, o DuckDB calcularia todas.
    return " + ".join(f"CASE WHEN {rule.condition} THEN {1 << at} ELSE 0 END" for at, rule in enumerate(rules)) or "0"


def passed(rules: Sequence[Rule], rows: Sequence[tuple[str, str, int]]) -> list[int]:
    """Por quais regras passa cada linha (título, conteúdo e tokens), na soma de ``passed_sql``."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    query = f"""SELECT {passed_sql(rules)} FROM (
        SELECT unnest($1::VARCHAR[]) AS title, unnest($2::VARCHAR[]) AS content, unnest($3::BIGINT[]) AS tokens)"""
    return [row[0] for row in _memory().cursor().execute(query, columns).fetchall()]


def keep_row(rule: Rule, row: Mapping[str, Any]) -> bool:
    """Se a regra mantém uma linha: um dicionário com ``title``, ``content`` e, para as de tokens, ``tokens``."""
    return passed([rule], [(_text(row.get("title")), _text(row.get("content")), row.get("tokens", 0))]) == [1]


def filter_frame(frame: "pandas.DataFrame", rules: Sequence[Rule]) -> "pandas.DataFrame":
    """As linhas do quadro que passam por todas as regras, na ordem; serve a ``dask.dataframe.map_partitions``.

    InputError se falta a coluna ``title`` ou a ``content``.
    """
    if missing := [name for name in ("title", "content") if name not in frame.columns]:
        raise InputError(
            f'Falta a coluna "{missing[0]}" no quadro; as colunas são {", ".join(map(str, frame.columns))}.'
        )
    tokens = frame["tokens"] if "tokens" in frame.columns else [0] * len(frame)
    rows = zip(map(_text, frame["title"]), map(_text, frame["content"]), tokens, strict=True)
    every = (1 << len(rules)) - 1
    return frame[[mask == every for mask in passed(rules, list(rows))]]


@cache
def _memory() -> "duckdb.DuckDBPyConnection":
    import duckdb

    return duckdb.connect()


def _text(value: Any) -> str:
    # O DuckDB só aceita UTF-8: uma metade solta de caractere conta como um caractere qualquer.
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else ""
