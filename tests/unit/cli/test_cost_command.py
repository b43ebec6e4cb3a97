"""`tiffin cost`: what it groups by, which days it means, and what it refuses."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.unit.compute.test_cost import bill, quota, usage
from tiffin.cli.cost_command import as_json, counts_of, only, words_of
from tiffin.core.errors import Invalid
from tiffin.embedded.cost_report import CostReport, period_of, read_prices

TODAY = date(2026, 11, 27)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        pytest.param("7d", None, (date(2026, 11, 21), TODAY), id="the last seven days, today among them"),
        pytest.param("2026-11-01", "2026-11-03", (date(2026, 11, 1), date(2026, 11, 3)), id="days"),
        pytest.param("2h", None, (TODAY, TODAY), id="less than a day"),
        pytest.param("1d", "2026-11-03", (date(2026, 11, 3), date(2026, 11, 3)), id="one day back"),
    ],
)
def test_a_period_is_days_both_included(since: str, until: str | None, expected: tuple[date, date]) -> None:
    assert period_of(since, until, today=TODAY) == expected


@pytest.mark.parametrize(
    ("since", "until"),
    [pytest.param("2026-12-01", None, id="backwards"), pytest.param("yesterday", None, id="words"), pytest.param("7d", "soon", id="until")],
)
def test_a_period_that_cannot_be_read_is_refused(since: str, until: str | None) -> None:
    with pytest.raises(Invalid):
        period_of(since, until, today=TODAY)


def test_an_unknown_word_is_named_with_the_nearest() -> None:
    with pytest.raises(Invalid) as refused:
        words_of("team,partitoin")

    assert "partition" in refused.value.fix
    assert words_of("team, day") == ["team", "day"]


def test_predictions_are_model_and_count() -> None:
    assert counts_of(["eta/eta=10", "a=2"]) == {"eta/eta": 10, "a": 2}
    with pytest.raises(Invalid, match="MODEL=COUNT"):
        counts_of(["eta/eta"])


def test_json_keeps_whole_millionths_and_every_total_is_the_same() -> None:
    made = bill(
        usage("w", team="fleet", assets=("fleet/planes",), hours=3),
        quotas=(quota("team-fleet", "fleet", 400), quota("team-eta", "eta", 5000)),
    )
    found = CostReport(TODAY, TODAY, made, 1, False, 0)

    told: dict[str, Any] = as_json(found, made, ["team", "asset"], {"m": 5})

    assert sum(one["usd_micro"] for one in told["costs"]) == told["usd_micro"] == made.usd_micro
    assert told["costs"][0]["asset"] == "fleet/planes"
    assert [(one["borrower"], one["lender"]) for one in told["borrowed"]] == [("fleet", "eta")]
    assert told["per_1000_usd_micro"] == {"m": 0}


def test_one_teams_lines_alone_or_the_nearest_team() -> None:
    made = bill(usage("w", team="fleet"), usage("v", team="eta"))

    assert only(made, "eta").by("team") == {("eta",): 43_700}
    with pytest.raises(Invalid) as refused:
        only(made, "flet")
    assert "fleet" in refused.value.fix


def test_the_installations_own_prices_can_be_read(request: pytest.FixtureRequest) -> None:
    prices = read_prices(request.config.rootpath / "deploy" / "platform.yaml")

    assert {"cpu", "memory"} <= set(prices.flavors["cpu"])
    assert prices.online_gib_month > 0
