"""Prices: exact, complete, and never guessed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tiffin.compute.prices import ONLINE, UNSEEN, Prices
from tiffin.core.errors import Invalid, NotFound

HOUR_US = 3_600_000_000
PRICES = Prices.parse(
    {"flavors": {"cpu": {"cpu": "0.1", "memory": "0.01"}, "a100": {"cpu": "0.2", "nvidia.com/gpu": "3"}}, "online_gib_month": "7.3"}
)


def test_a_tenth_of_a_dollar_is_a_tenth() -> None:
    assert PRICES.usd("cpu", "cpu", 3000, HOUR_US) == Fraction(3, 10)
    assert PRICES.usd("cpu", "memory", 2 * 2**30 * 1000, HOUR_US // 2) == Fraction(1, 100)
    assert PRICES.usd("a100", "nvidia.com/gpu", 1000, HOUR_US) == 3


def test_online_memory_is_priced_by_the_month() -> None:
    assert PRICES.usd(ONLINE, "memory", 2**30 * 1000, HOUR_US) == Fraction(1, 100)


def test_usage_that_nobody_saw_admitted_costs_what_the_first_flavor_costs() -> None:
    assert PRICES.usd(UNSEEN, "cpu", 1000, HOUR_US) == Fraction(1, 10)
    assert PRICES.usd(UNSEEN, "nvidia.com/gpu", 1000, HOUR_US) == 3


def test_pods_that_a_quota_counts_are_nothing_that_is_bought() -> None:
    assert PRICES.usd("cpu", "pods", 5000, HOUR_US) == 0


@pytest.mark.parametrize(
    ("flavor", "resource", "message"),
    [
        pytest.param("a10", "cpu", "flavor 'a10' has no price", id="flavor"),
        pytest.param("a100", "memory", "resource 'memory' of flavor 'a100' has no price", id="resource"),
    ],
)
def test_what_has_no_price_is_no_gift(flavor: str, resource: str, message: str) -> None:
    with pytest.raises(NotFound, match=message):
        PRICES.usd(flavor, resource, 1, 1)


@pytest.mark.parametrize(
    ("section", "fix"),
    [
        pytest.param({"flavor": {}}, "did you mean 'flavors'", id="misspelt"),
        pytest.param({"flavors": {"cpu": {"cpu": "cheap"}}}, "write dollars as text", id="words"),
        pytest.param({"flavors": {"cpu": {"cpu": "-1"}}}, "write dollars as text", id="negative"),
        pytest.param({"flavors": {"cpu": {"cpu": "NaN"}}}, "write dollars as text", id="no number"),
        pytest.param({"flavors": {"online": {"memory": "1"}}}, "online_gib_month", id="a word of the bill"),
        pytest.param({"flavors": {}}, "write flavors", id="nothing priced"),
        pytest.param([], "write prices", id="no mapping"),
    ],
)
def test_a_price_list_that_cannot_be_meant_is_refused(section: object, fix: str) -> None:
    with pytest.raises(Invalid) as refused:
        Prices.parse(section)

    assert fix in refused.value.fix
