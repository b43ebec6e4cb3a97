"""Gates: at the limit, above and below it, and without the metric."""

from __future__ import annotations

import pytest

from tiffin.training import Gate, Metric, NotWorseThanLive

NAN = float("nan")


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        pytest.param(Metric("m").below(2.0), 1.9, True, id="below"),
        pytest.param(Metric("m").below(2.0), 2.0, False, id="not below its limit"),
        pytest.param(Metric("m").below(2.0), NAN, False, id="NaN is not below"),
        pytest.param(Metric("m").above(2.0), 2.1, True, id="above"),
        pytest.param(Metric("m").above(2.0), 2.0, False, id="not above its limit"),
        pytest.param(Metric("m").above(2.0), NAN, False, id="NaN is not above"),
    ],
)
def test_a_limit_itself_does_not_pass(gate: Gate, value: float, passed: bool) -> None:
    result = gate.judge({"m": value}, None)

    assert result.passed is passed
    assert result.evidence["limit"] == 2.0


@pytest.mark.parametrize("gate", [Metric("m").below(1), Metric("m").above(0), NotWorseThanLive("m")], ids=repr)
def test_a_missing_metric_passes_no_gate(gate: Gate) -> None:
    assert gate.judge({"n": 0.5}, None).passed is False


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        pytest.param(NotWorseThanLive("m", by=0.1), 11.0, True, id="an error grows by as much as allowed"),
        pytest.param(NotWorseThanLive("m", by=0.1), 11.1, False, id="an error grows by more"),
        pytest.param(NotWorseThanLive("m", by=0.1, better="higher"), 9.0, True, id="a score shrinks by as much as allowed"),
        pytest.param(NotWorseThanLive("m", by=0.1, better="higher"), 8.9, False, id="a score shrinks by more"),
        pytest.param(NotWorseThanLive("m", by=0.1, better="higher"), 12.0, True, id="a score grows"),
    ],
)
def test_a_candidate_may_be_a_little_worse_than_the_live_model_in_the_metrics_own_direction(gate: Gate, value: float, passed: bool) -> None:
    assert gate.judge({"m": value}, {"m": 10.0}).passed is passed


def test_the_first_model_has_nothing_to_be_worse_than() -> None:
    assert NotWorseThanLive("m", by=0.0, better="higher").judge({"m": 0.1}, None).passed
