"""A budget is told at 80 %, ends backfills at 100 %, and never touches prod."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.team_files import make_platform, make_team, named
from tiffin.compute.allotment import allot
from tiffin.compute.budget import ANNOTATION, Budget, Standing, backfill_hold, budget_of, refuse_backfill
from tiffin.compute.render_team import render
from tiffin.core.errors import Denied, Invalid

NETWORK = allot(make_team(budget_usd_per_month=1000), make_platform())
CENTS = st.integers(0, 10**7).map(lambda cents: Decimal(cents) / 100)


def spent(usd: str) -> Budget:
    return budget_of(NETWORK, Decimal(usd), month="2026-11")


@pytest.mark.parametrize(
    ("usd", "standing"),
    [
        pytest.param("0", Standing.WITHIN, id="nothing yet"),
        pytest.param("799.99", Standing.WITHIN, id="a cent below the alert"),
        pytest.param("800", Standing.ALERT, id="exactly the alert"),
        pytest.param("999.99", Standing.ALERT, id="a cent below the end"),
        pytest.param("1000", Standing.SPENT, id="exactly the end"),
        pytest.param("4000", Standing.SPENT, id="far beyond"),
    ],
)
def test_a_budget_stands_where_its_share_says(usd: str, standing: Standing) -> None:
    assert spent(usd).standing is standing


def test_a_share_is_not_rounded_up_in_words() -> None:
    assert spent("999.99").words == "network has used 999.99 of 1000.00 USD of 2026-11 (99 %)"


@given(usd=CENTS)
def test_prod_and_default_are_never_refused(usd: Decimal) -> None:
    budget = budget_of(NETWORK, usd, month="2026-11")

    assert refuse_backfill(budget, "prod") is None
    assert refuse_backfill(budget, "default") is None


@given(usd=CENTS)
def test_a_backfill_is_refused_exactly_when_the_budget_is_spent(usd: Decimal) -> None:
    found = refuse_backfill(budget_of(NETWORK, usd, month="2026-11"), "backfill")

    assert (found is not None) == (usd >= 1000)


def test_a_refusal_says_how_much_and_what_to_do() -> None:
    found = refuse_backfill(spent("1200"), "backfill")

    assert isinstance(found, Denied)
    assert found.message == "no new backfills: network has used 1200.00 of 1000.00 USD of 2026-11 (120 %)"
    assert "budget_usd_per_month" in found.fix


def test_a_queue_that_is_none_is_not_taken_for_prod() -> None:
    with pytest.raises(Invalid, match="'backfil' is none of a team's"):
        refuse_backfill(spent("1"), "backfil")


def test_without_a_budget_nothing_is_ever_spent() -> None:
    budget = Budget(team="x", spent_usd=Decimal(10**9), limit_usd=None, month="2026-11")

    assert budget.standing is Standing.UNLIMITED
    assert refuse_backfill(budget, "backfill") is None


@pytest.mark.parametrize("sum_", ["-1", "NaN", "Infinity"])
def test_a_sum_that_is_none_is_refused(sum_: str) -> None:
    with pytest.raises(Invalid, match="is said to have cost"):
        budget_of(NETWORK, Decimal(sum_), month="2026-11")


def test_the_hold_is_on_the_backfills_queue_and_says_why() -> None:
    held = backfill_hold(NETWORK.namespace, spent("1000"))
    queue = named(render(NETWORK, make_platform()), "LocalQueue", "backfill")

    assert held["metadata"]["namespace"] == queue["metadata"]["namespace"]
    assert held["metadata"]["name"] == queue["metadata"]["name"]
    assert held["spec"] == {"stopPolicy": "Hold"}
    assert held["metadata"]["annotations"][ANNOTATION] == spent("1000").words


def test_within_the_budget_nothing_is_stated_so_that_applying_it_lifts_the_hold() -> None:
    free = backfill_hold(NETWORK.namespace, spent("999"))

    assert free["spec"] == {}
    assert "annotations" not in free["metadata"]
