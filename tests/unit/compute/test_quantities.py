"""Quantities: exact, as Kubernetes reads and writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute.quantities import LARGEST, milli, quantity_text, requests_of, total
from tiffin.core.errors import Invalid

SUFFIXES = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}
AMOUNTS = st.one_of(
    st.integers(0, LARGEST),
    st.integers(0, 4000),
    st.builds(lambda digits, size: digits * int(SUFFIXES[size]) * 1000, st.integers(0, 99), st.sampled_from(["k", "M", "Ki", "Mi", "Gi"])),
)


@given(AMOUNTS)
def test_what_is_written_is_read_back_exactly(amount: int) -> None:
    assert milli(quantity_text(amount)) == amount


@given(st.integers(0, 10**6), st.integers(0, 999_999), st.sampled_from(sorted(SUFFIXES)))
def test_reading_agrees_with_fractions_and_rounds_up(whole: int, part: int, suffix: str) -> None:
    exact = (whole + Fraction(part, 10**6)) * SUFFIXES[suffix] * 1000
    wanted = -(-exact.numerator // exact.denominator)

    if wanted > LARGEST:
        with pytest.raises(Invalid, match="more than"):
            milli(f"{whole}.{part:06d}{suffix}")
    else:
        assert milli(f"{whole}.{part:06d}{suffix}") == wanted


@given(st.integers(1, 5000), st.sampled_from(["", "k", "Ki", "M", "Mi", "Gi"]))
def test_no_shorter_text_of_whole_digits_says_the_same(digits: int, suffix: str) -> None:
    amount = int(digits * SUFFIXES[suffix]) * 1000
    shortest = min(
        (f"{Fraction(amount, 1000) / size}{name}" for name, size in SUFFIXES.items() if (Fraction(amount, 1000) / size).denominator == 1),
        key=len,
    )

    assert len(quantity_text(amount)) == len(shortest)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("500m", 500, id="half a core"),
        pytest.param("2", 2000, id="cores"),
        pytest.param(2, 2000, id="a number"),
        pytest.param(0.1, 100, id="a fraction that binary cannot hold"),
        pytest.param(".5", 500, id="no leading zero"),
        pytest.param("1e3", 10**6, id="an exponent"),
        pytest.param("5e-1", 500, id="a negative exponent"),
        pytest.param("100u", 1, id="finer than a thousandth"),
        pytest.param("4Gi", 4 * 2**30 * 1000, id="binary"),
        pytest.param("4G", 4 * 10**9 * 1000, id="decimal"),
        pytest.param("1E", 10**18 * 1000, id="exa is no exponent"),
    ],
)
def test_reads_as_kubernetes_does(text: str | float, wanted: int) -> None:
    assert milli(text) == wanted


@pytest.mark.parametrize("text", ["", "-1", "1ki", "1 Gi", "1KB", "abc", "1.2.3", "0x10", "1e", "nan", "inf", "1iG", True, "９"])
def test_refuses_what_is_no_quantity(text: str) -> None:
    with pytest.raises(Invalid, match="not readable"):
        milli(text)


def test_more_than_kubernetes_counts_is_refused() -> None:
    with pytest.raises(Invalid, match="more than"):
        milli("9223372036854775808")
    assert milli("9223372036854775807") == LARGEST


def test_requests_of_several_pods_add_up() -> None:
    one = requests_of({"cpu": "500m", "nvidia.com/gpu": 1})

    assert total(one, 4) == {"cpu": 2000, "nvidia.com/gpu": 4000}
