"""A view's computed rows, judged before they are written."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.flight_views import START, day, make_view
from tiffin.core.errors import Invalid
from tiffin.features import Expect, Feature, Float32, GoldenRow, Int32, Window, hourly, snapshot
from tiffin.features.view import FeatureView
from tiffin.orchestration.checks import Finding
from tiffin.orchestration.checks_view import CHECKS, earlier_partitions, judge_rows

DAYS = 40
KEYS = 30
NAMES = [day(number).partition for number in range(DAYS)]
LAST = NAMES[-1]


def make_rows(*, factor: float = 1.0, nulls: int = 1, keys: int = KEYS, days: int = DAYS) -> pa.Table:
    """Usual days; the last one with other values, nulls or keys."""
    random = np.random.default_rng(7)
    parts = []
    for number in range(days):
        last = number == days - 1
        count = keys if last else KEYS
        delay = random.normal(12, 3, count) * (factor if last else 1.0)
        delay[: nulls if last else 1] = np.nan
        parts.append(
            pa.table(
                {
                    "carrier": pa.array([f"C{key}" for key in range(count)]),
                    "flights": pa.array(random.integers(20, 40, count), pa.int32()),
                    "delay_mean": pa.array(delay, pa.float32(), from_pandas=True),
                    "event_time": pa.array([START + timedelta(days=number + 1)] * count, pa.timestamp("us", tz="UTC")),
                    "partition": pa.array([NAMES[number]] * count, pa.string()),
                }
            )
        )
    return pa.concat_tables(parts)


def judged(rows: pa.Table, view: FeatureView | None = None, *, source: int = 1, alone: bool = False) -> dict[str, Finding]:
    """All findings about the days of `rows`, or about the last one beside the stored others."""
    places = rows["partition"].to_numpy(zero_copy_only=False)
    before = rows.filter(pa.array(places != LAST)) if alone else None
    run = rows.filter(pa.array(places == LAST)) if alone else rows
    return judge_rows(view or make_view(), run, judged=[LAST] if alone else NAMES, before=before, source_rows=lambda partition: source)


def failed(findings: dict[str, Finding]) -> set[str]:
    return {name for name, one in findings.items() if not one.passed}


def test_usual_days_pass_every_check_with_numbers_and_a_picture() -> None:
    findings = judged(make_rows())

    assert list(findings) == list(CHECKS)
    assert failed(findings) == set()
    assert findings["row_count"].evidence["compared_with_earlier"] == DAYS - 7
    assert all(findings[name].picture.startswith(b"\x89PNG") for name in ("row_count", "null_rate", "value_size"))


@pytest.mark.parametrize("alone", [pytest.param(False, id="in a range"), pytest.param(True, id="beside stored partitions")])
@pytest.mark.parametrize(
    ("rows", "check"),
    [
        pytest.param(make_rows(nulls=12), "null_rate", id="nulls up"),
        pytest.param(make_rows(factor=60), "value_size", id="another unit"),
        pytest.param(make_rows(keys=10), "row_count", id="rows lost"),
        pytest.param(pa.concat_tables([make_rows(), make_rows().slice((DAYS - 1) * KEYS, 1)]), "keys_unique", id="a repeated key"),
    ],
)
def test_a_bad_partition_fails_its_check_and_no_other(rows: pa.Table, check: str, alone: bool) -> None:
    findings = judged(rows, alone=alone)

    assert failed(findings) == {check}
    assert findings[check].fix
    assert check == "keys_unique" or findings[check].partitions == (LAST,)
    assert check == "keys_unique" or LAST in findings[check].description


def test_the_figures_of_a_finding_are_what_was_found_usual_and_allowed() -> None:
    finding = judged(make_rows(factor=60))["value_size"]

    (figure,) = finding.evidence["figures"]
    assert (figure["partition"], figure["feature"]) == (LAST, "delay_mean")
    assert 600 < figure["found"] < 900
    assert 10 < figure["usual"] < 14
    assert figure["high"] < 40
    assert "tiffin/accept=value_size" in finding.fix


@pytest.mark.parametrize(
    ("source", "passed"),
    [pytest.param(5, False, id="the source has rows"), pytest.param(0, True, id="the source has none")],
)
def test_an_empty_partition_is_the_transforms_fault_only_if_there_was_something(source: int, passed: bool) -> None:
    finding = judged(make_rows(days=DAYS - 1), source=source)["row_count"]

    assert finding.passed is passed
    assert LAST in finding.description


def test_features_that_follow_events_say_so() -> None:
    steady = make_view(features=(Feature("flights", Int32()), Feature("delay_mean", Float32(), expect=Expect(steady=False))))
    bounded = make_view(features=(Feature("flights", Int32()), Feature("delay_mean", Float32(step=0.01, low=-90, high=1500))))

    assert failed(judged(make_rows(factor=60), steady)) == set()
    assert failed(judged(make_rows(factor=60), bounded)) == set()


def test_a_value_outside_of_what_is_expected_is_named() -> None:
    view = make_view(features=(Feature("flights", Int32()), Feature("delay_mean", Float32(), expect=Expect(low=-90, high=500))))

    finding = judged(make_rows(factor=60), view)["value_range"]

    assert not finding.passed
    assert f"delay_mean of {LAST} reaches" in finding.description
    assert "[-90, 500]" in finding.description


def test_a_golden_row_is_compared_in_the_features_encoding() -> None:
    rows = make_rows()
    value = rows["delay_mean"][5].as_py()
    right = GoldenRow(NAMES[0], key={"carrier": "C5"}, values={"delay_mean": value, "flights": rows["flights"][5].as_py()})
    wrong = right.with_changes(values={"delay_mean": value + 1})
    absent = GoldenRow(NAMES[0], key={"carrier": "ZZ"}, values={"delay_mean": None})
    view = make_view(features=(Feature("flights", Int32()), Feature("delay_mean", Float32())))

    assert judged(rows, view.with_changes(golden=(right,)))["golden_rows"].evidence == {"golden_rows": 1}
    assert judged(rows, view.with_changes(golden=(right,)))["golden_rows"].passed
    finding = judged(rows, view.with_changes(golden=(right, wrong, absent)))["golden_rows"]
    assert "delay_mean of carrier='C5'" in finding.description
    assert "there is no row carrier='ZZ'" in finding.description
    assert finding.partitions == (NAMES[0],)


def test_a_golden_row_of_another_partition_is_not_asked_about() -> None:
    golden = GoldenRow("2031-01-01", key={"carrier": "C5"}, values={"flights": 1})

    assert judged(make_rows(), make_view(golden=(golden,)))["golden_rows"].passed


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        pytest.param(GoldenRow("2030-01-01", key={"carrier": "UA"}, values={"flight": 1}), "did you mean 'flights'", id="feature"),
        pytest.param(GoldenRow("2030-01-01", key={"airline": "UA"}, values={"flights": 1}), "every part", id="key"),
    ],
)
def test_a_golden_row_that_names_nothing_is_refused_at_import(golden: GoldenRow, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        make_view(golden=(golden,))


def test_expectations_are_no_part_of_a_definition() -> None:
    plain = make_view()
    expecting = make_view(
        features=(Feature("flights", Int32()), Feature("delay_mean", Float32(step=0.01), expect=Expect(high=500))),
        golden=(GoldenRow("2030-01-01", key={"carrier": "UA"}, values={"flights": 1}),),
    )

    assert expecting.definition == plain.definition
    assert expecting.record(team="t", owner="team:t") == plain.record(team="t", owner="team:t")


@pytest.mark.parametrize(
    ("run", "count", "first", "last"),
    [
        pytest.param([35], 28, 7, 34, id="one day"),
        pytest.param([5], 5, 0, 4, id="one of the first"),
        pytest.param([0], 0, None, None, id="the first"),
        pytest.param(list(range(30, 40)), 28, 2, 29, id="a range"),
        pytest.param([10, 39], 38, 0, 38, id="two days apart"),
    ],
)
def test_a_run_reads_the_days_before_it_once(run: list[int], count: int, first: int | None, last: int | None) -> None:
    found = earlier_partitions(make_view(), [day(number) for number in run])

    assert len(found) == count
    assert (found[0], found[-1]) == (NAMES[first], NAMES[last]) if count else found == []
    assert not {day(number).partition for number in run} & set(found)


def test_an_hour_reads_the_same_hour_of_earlier_days_and_a_snapshot_nothing() -> None:
    by_hour = hourly_view()
    window = by_hour.windows_of(["2030-02-08-06:00"])

    assert {found[11:] for found in earlier_partitions(by_hour, window)} == {"06:00"}
    assert len(earlier_partitions(by_hour, window)) == 28
    assert earlier_partitions(snapshot_view(), [Window(start=START, end=START + timedelta(days=3), partition="")]) == []


def hourly_view() -> FeatureView:
    view = make_view()
    return FeatureView(
        "hours", entity=view.entity, source=view.source, features=view.features, partitions=hourly("2030-01-01"), transform=view.transform
    )


def snapshot_view() -> FeatureView:
    view = make_view()
    return FeatureView(
        "whole", entity=view.entity, source=view.source, features=view.features, partitions=snapshot("2030-01-01"), transform=view.transform
    )
