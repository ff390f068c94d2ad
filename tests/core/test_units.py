"""Sizes, rates and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.units import format_duration, format_rate, format_size, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1024", 1024),
        ("500 MB", 500_000_000),
        ("500MB", 500_000_000),
        (" 64 MiB ", 64 * 2**20),
        ("64 mib", 64 * 2**20),
        ("64 Mi", 64 * 2**20),
        ("1.5 kB", 1500),
        (".5 k", 500),
        ("2 TB", 2 * 10**12),
        ("1 PiB", 2**50),
        ("7 bytes", 7),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_a_size_is_read_in_the_forms_people_use(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "1 XB", "1 i", "1e9", "1,5 GB", "five", "1 GB/s", "inf", "nan", "0x10"]
)
def test_what_is_no_size_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_size(text)
    assert repr(text) in str(refused.value)
    assert "64 MiB" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "rate_bytes_per_s"),
    [
        ("0", 0),
        ("200 MB/s", 200_000_000),
        ("200 MBps", 200_000_000),
        ("200 MB", 200_000_000),
        ("2 Gbit/s", 250_000_000),
        ("2 Gbits/s", 250_000_000),
        ("2 gbit / s", 250_000_000),
        ("100 Mbps", 12_500_000),
        ("100 Mb/s", 12_500_000),
        ("1 MiB/s", 2**20),
        ("8 Kibit/s", 1024),
        ("125000000", 125_000_000),
    ],
)
def test_a_rate_is_bits_only_where_it_says_so(text: str, rate_bytes_per_s: int) -> None:
    assert parse_rate(text) == rate_bytes_per_s


@pytest.mark.parametrize("text", ["", "fast", "-1 MB/s", "1 MB/min", "1 i/s", "inf"])
def test_what_is_no_rate_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_rate(text)
    assert "2 Gbit/s" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("15 m", 900.0),
        ("24h", 86400.0),
        ("7d", 604800.0),
        ("2W", 1209600.0),
    ],
)
def test_a_duration_is_seconds_unless_it_says_otherwise(text: str, duration_s: float) -> None:
    assert parse_duration(text) == duration_s


@pytest.mark.parametrize("text", ["", "-1s", "1 month", "1h30m", "inf", "nan", "9" * 400])
def test_what_is_no_duration_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_duration(text)
    assert "30s" in str(refused.value)


@given(st.text(max_size=30))
def test_any_text_is_either_read_as_a_number_that_is_not_negative_or_refused_with_advice(text: str) -> None:
    for parse in (parse_size, parse_rate, parse_duration):
        try:
            value = parse(text)
        except ValueError as refused:
            assert "write" in str(refused)  # noqa: PT017  # both outcomes are allowed, each with its own rule
        else:
            assert value >= 0


def test_a_size_beyond_every_float_is_read_exactly() -> None:
    assert parse_size("9" * 400) == 10**400 - 1


@given(st.integers(0, 10**15))
def test_a_size_survives_being_shown_within_the_digits_shown(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == pytest.approx(size_bytes, rel=0.06)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.96, "1.0 kB"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (137_438_953_472, "137.4 GB"),
        (5 * 10**15, "5000.0 TB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_a_size_is_shown_with_one_decimal_and_never_as_a_thousand(size_bytes: float, text: str) -> None:
    assert format_size(size_bytes) == text


def test_a_rate_is_a_size_a_second() -> None:
    assert format_rate(1_234_567_890) == "1.2 GB/s"


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (12.3, "12 s"),
        (59.6, "1 m 00 s"),
        (125, "2 m 05 s"),
        (3599.7, "1 h 00 m"),
        (11280, "3 h 08 m"),
        (90000, "1 d 01 h"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text
