"""Números, datas, dinheiro, durações e valores p como se escrevem em português."""

import re
from datetime import date as Day

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_helpers.portuguese import counted, date, duration, number, p_value, percent, plain, usd

CASES = {
    number: [((0,), "0"), ((999,), "999"), ((1234567,), "1.234.567"), ((1234.5, 1), "1.234,5"), ((0.125, 2), "0,12"),
             ((-1234.567, 2), "-1.234,57"), ((None,), "—")],
    percent: [((0.125,), "12,5 %"), ((1, 0), "100 %"), ((-0.034, 1), "-3,4 %")],
    duration: [((0,), "0 s"), ((0.4,), "menos de 1 s"), ((45.4,), "45 s"), ((59.6,), "1 min 0 s"),
               ((200,), "3 min 20 s"), ((3599.7,), "1 h 0 min"), ((3900,), "1 h 5 min"), ((90_000,), "25 h 0 min")],
    plain: [((0.0002,), "0,0002"), ((0.00005,), "0,00005"), ((3,), "3"), ((1234.567,), "1235"), ((4.25, 2), "4,25")],
    counted: [((0, "época"), "0 épocas"), ((1.0, "época"), "1 época"), ((1.5, "época"), "1,5 época"),
              ((2, "época"), "2 épocas"), ((12345, "linha"), "12.345 linhas")],
    usd: [((1234.5,), "US$ 1.234,50"), ((0.0004, 4), "US$ 0,0004"), ((None,), "preço desconhecido")],
    date: [(("2026-11-21",), "21/11/2026"), (("2026-11-21T10:00:00+00:00",), "21/11/2026"),
           ((Day(2027, 1, 6),), "06/01/2027")],
    p_value: [((None,), "p = —"), ((0.0001, 0.0001), "p ≤ 0,0001"), ((0.0002, 0.0001), "p < 0,001"),
              ((0.0009999,), "p < 0,001"), ((0.001,), "p = 0,001"), ((0.0416,), "p = 0,042"), ((1,), "p = 1,000")],
}  # fmt: skip


@pytest.mark.parametrize("write", CASES)
def test_as_written(write):
    assert [write(*given) for given, _ in CASES[write]] == [expected for _, expected in CASES[write]]


@given(st.integers(-(10**12), 10**12), st.integers(0, 4))
def test_a_written_number_reads_back(thousandths, digits):
    value = thousandths / 1000
    written = number(value, digits)
    assert re.fullmatch(r"-?\d{1,3}(\.\d{3})*" + (rf",\d{{{digits}}}" if digits else ""), written)
    assert float(written.replace(".", "").replace(",", ".")) == pytest.approx(value, abs=0.51 * 10**-digits)


@given(st.floats(0, 10**7))
def test_a_duration_never_shows_sixty_of_anything(seconds):
    shown = [int(part) for part in re.findall(r"(\d+) (?:min|s)\b", duration(seconds))]
    assert shown and max(shown) < 60
