"""Regras da curadoria: um nome, um motivo e UMA condição em SQL sobre ``title`` e ``content``.

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
TITLE_OVER = 40
CONTENT_OVER = 400
BORDER = 256  # o conjunto do GPT vai até aqui; o do LLaMA começa logo acima
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
class TokenRule:
    """Regra sobre tokens(título) + tokens(conteúdo): fica quem está entre ``least`` e ``most``, com as pontas."""

    name: str
    says: str
    least: int = 0
    most: int | None = None

    def keeps(self, count: int) -> bool:
        """Se fica uma linha com ``count`` tokens."""
        return self.least <= count and (self.most is None or count <= self.most)


@dataclass(frozen=True)
class Plan:
    """As regras na ordem em que valem: no texto bruto, no texto limpo, nos tokens e, no fim, contra repetições."""

    mode: str
    raw: tuple[Rule, ...]
    cleaned: tuple[Rule, ...]
    tokens: tuple[TokenRule, ...]
    cleans: bool = False
    unique: bool = False

    @property
    def rules(self) -> tuple[Rule | TokenRule, ...]:
        """Todas as regras, em ordem."""
        return (*self.raw, *self.cleaned, *self.tokens)

    def without(self, *names: str) -> "Plan":
        """O mesmo plano com as regras ``names`` desligadas; InputError se um nome não existe."""
        known = [rule.name for rule in self.rules]
        if unknown := [name for name in names if name not in known]:
            raise InputError(f'Não há regra "{unknown[0]}" neste plano. As regras são: {", ".join(known)}.')
        kept: dict[str, Any] = {
            part: tuple(rule for rule in getattr(self, part) if rule.name not in names)
            for part in ("raw", "cleaned", "tokens")
        }
        return replace(self, **kept)


def plan(model: str, mode: str) -> Plan:
    """As regras do projeto para o modelo (``"llama"`` ou ``"gpt"``) e o modo (``"recomendada"`` ou ``"original"``).

    InputError se o modelo ou o modo for outro.
    """
    if mode not in ("recomendada", "original"):
        raise InputError(f'Modo "{mode}" desconhecido. Em `mode`, use "recomendada" ou "original".')
    if model not in ("llama", "gpt"):
        raise InputError(f'Modelo "{model}" desconhecido. Use "llama" ou "gpt".')
    raw = (COMPLETE, title_over(TITLE_OVER), content_over(CONTENT_OVER), with_keyword(KEYWORDS))
    tokens = (MANY_TOKENS if model == "llama" else FEW_TOKENS,)
    if mode == "original":
        return Plan(mode, raw, (), tokens)
    again = (title_over(TITLE_OVER, "_apos_limpeza"), content_over(CONTENT_OVER, "_apos_limpeza"))
    return Plan(mode, (raw[0], NOT_THE_TITLE, *raw[1:]), again, tokens, cleans=True, unique=True)


def title_over(limit: int, suffix: str = "") -> Rule:
    """``titulo_curto``: o título precisa de mais de ``limit`` caracteres."""
    return Rule(f"titulo_curto{suffix}", f"título com mais de {limit} caracteres", f"length(title) > {limit}")


def content_over(limit: int, suffix: str = "") -> Rule:
    """``conteudo_curto``: o conteúdo precisa de mais de ``limit`` caracteres."""
    return Rule(f"conteudo_curto{suffix}", f"conteúdo com mais de {limit} caracteres", f"length(content) > {limit}")


def with_keyword(words: Sequence[str], *, whole_word: bool = False, every: bool = False) -> Rule:
    """``sem_palavra_chave``: uma das palavras (todas, com ``every``) no título ou no conteúdo, sem contar caixa.

    A palavra vale como pedaço de outra ("authority" contém "author"), a menos que ``whole_word``.
    """
    joined = (" e " if every else " ou ").join(f'"{word}"' for word in words)
    how = "palavra inteira" if whole_word else "como pedaço de palavra"
    before, after = (f"(?:^|{_NOT_IN_WORD})", f"(?:$|{_NOT_IN_WORD})") if whole_word else ("", "")
    patterns = [re.escape(word).replace("'", "''") for word in words]
    tests = (
        f"(regexp_matches(content, '{pattern}') OR regexp_matches(title, '{pattern}'))"
        for pattern in (f"(?i){before}(?:{one}){after}" for one in (patterns if every else ["|".join(patterns)]))
    )
    return Rule("sem_palavra_chave", f"{joined} no título ou no conteúdo ({how})", " AND ".join(tests))


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
MANY_TOKENS = TokenRule("poucos_tokens", f"título + conteúdo com {BORDER + 1} tokens ou mais", least=BORDER + 1)
FEW_TOKENS = TokenRule("muitos_tokens", f"título + conteúdo com até {BORDER} tokens", most=BORDER)


def passed_sql(rules: Sequence[Rule]) -> str:
    """A expressão que soma 2^i para cada regra i que mantém a linha: 2^n - 1 é quem passa por todas."""
    # O CASE para na primeira parte que decide uma condição com AND ou OR; fora dele, o DuckDB calcularia todas.
    return " + ".join(f"CASE WHEN {rule.condition} THEN {1 << at} ELSE 0 END" for at, rule in enumerate(rules)) or "0"


def passed(rules: Sequence[Rule], titles: Sequence[str], contents: Sequence[str]) -> list[int]:
    """Por quais regras passa cada par de textos, na soma de ``passed_sql``."""
    query = f"SELECT {passed_sql(rules)} FROM (SELECT unnest($1::VARCHAR[]) AS title, unnest($2::VARCHAR[]) AS content)"
    return [row[0] for row in _memory().cursor().execute(query, [list(titles), list(contents)]).fetchall()]


def keep_row(rule: Rule, row: Mapping[str, Any]) -> bool:
    """Se a regra mantém uma linha (um dicionário com ``title`` e ``content``)."""
    return passed([rule], [_text(row.get("title"))], [_text(row.get("content"))]) == [1]


def keep_frame(rules: Sequence[Rule], frame: "pandas.DataFrame") -> "pandas.Series":
    """Máscara booleana (Series) de quem passa por todas as regras num quadro com ``title`` e ``content``.

    InputError se falta uma das colunas.
    """
    import pandas as pd

    if missing := [name for name in ("title", "content") if name not in frame.columns]:
        raise InputError(
            f'Falta a coluna "{missing[0]}" no quadro; as colunas são {", ".join(map(str, frame.columns))}.'
        )
    texts = ([_text(value) for value in frame[name].tolist()] for name in ("title", "content"))
    every = (1 << len(rules)) - 1
    return pd.Series([mask == every for mask in passed(rules, *texts)], index=frame.index, dtype=bool)


def filter_frame(frame: "pandas.DataFrame", rules: Sequence[Rule]) -> "pandas.DataFrame":
    """As linhas do quadro que passam por todas as regras, na ordem; serve a ``dask.dataframe.map_partitions``."""
    return frame[keep_frame(rules, frame)]


@cache
def _memory() -> "duckdb.DuckDBPyConnection":
    import duckdb

    return duckdb.connect()


def _text(value: Any) -> str:
    # O DuckDB só aceita UTF-8: uma metade solta de caractere conta como um caractere qualquer.
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else ""
