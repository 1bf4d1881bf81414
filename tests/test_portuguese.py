"""Números, datas, dinheiro, durações e valores p como se escrevem em português."""

import re
from datetime import date as Day

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_helpers.portuguese import counted, date, duration, number, p_value, percent, plain, usd


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(0), "0"),
        (number(999), "999"),
        (number(1234567), "1.234.567"),
        (number(1234.5, 1), "1.234,5"),
        (number(0.125, 2), "0,12"),
        (number(-1234.567, 2), "-1.234,57"),
        (percent(0.125), "12,5 %"),
        (percent(1, 0), "100 %"),
        (percent(-0.034, 1), "-3,4 %"),
        (duration(0), "0 s"),
        (duration(45.4), "45 s"),
        (duration(59.6), "1 min 0 s"),
        (duration(200), "3 min 20 s"),
        (duration(3599.7), "1 h 0 min"),
        (duration(3900), "1 h 5 min"),
        (duration(90_000), "25 h 0 min"),
        (plain(0.0002), "0,0002"),
        (plain(0.00005), "0,00005"),
        (plain(3), "3"),
        (plain(1234.567), "1235"),
        (plain(4.25, 2), "4,25"),
        (counted(0, "época"), "0 épocas"),
        (counted(1.0, "época"), "1 época"),
        (counted(1.5, "época"), "1,5 época"),
        (counted(12345, "linha"), "12.345 linhas"),
        (usd(1234.5), "US$ 1.234,50"),
        (usd(0.0004, 4), "US$ 0,0004"),
        (usd(None), "preço desconhecido"),
        (date("2026-11-21"), "21/11/2026"),
        (date("2026-11-21T10:00:00+00:00"), "21/11/2026"),
        (date(Day(2027, 1, 6)), "06/01/2027"),
        (p_value(None), "p = —"),
        (p_value(0.0001, floor=0.0001), "p ≤ 0,0001"),
        (p_value(0.0002, floor=0.0001), "p < 0,001"),
        (number(None), "—"),
        (p_value(0.0009999), "p < 0,001"),
        (p_value(0.001), "p = 0,001"),
        (p_value(0.0416), "p = 0,042"),
        (p_value(1), "p = 1,000"),
    ],
)
def test_as_written(written, expected):
    assert written == expected


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
