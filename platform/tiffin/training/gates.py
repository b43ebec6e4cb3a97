"""Gates: what a model version must show before it may be promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

__all__ = ["Gate", "GateResult", "Metric", "NotWorseThanLive"]


@dataclass(frozen=True, slots=True)
class GateResult:
    """A verdict with its evidence."""

    gate: str
    passed: bool
    evidence: dict[str, float | None]

    def to_json(self) -> dict[str, Any]:
        """For the model manifest."""
        return {"gate": self.gate, "passed": self.passed, "evidence": self.evidence}


@runtime_checkable
class Gate(Protocol):
    """Judges a candidate's metrics, beside the live model's when there is one."""

    def judge(self, metrics: Mapping[str, float], live: Mapping[str, float] | None) -> GateResult: ...


@dataclass(frozen=True, slots=True)
class Below:
    """`metric < limit`; a metric that is missing or NaN does not pass."""

    metric: str
    limit: float

    def judge(self, metrics: Mapping[str, float], live: Mapping[str, float] | None) -> GateResult:
        value = metrics.get(self.metric)
        passed = value is not None and value < self.limit
        return GateResult(f"{self.metric} < {self.limit}", passed, {self.metric: value, "limit": self.limit})


@dataclass(frozen=True, slots=True)
class Above:
    """`metric > limit`; a metric that is missing or NaN does not pass."""

    metric: str
    limit: float

    def judge(self, metrics: Mapping[str, float], live: Mapping[str, float] | None) -> GateResult:
        value = metrics.get(self.metric)
        passed = value is not None and value > self.limit
        return GateResult(f"{self.metric} > {self.limit}", passed, {self.metric: value, "limit": self.limit})


@dataclass(frozen=True, slots=True)
class Metric:
    """`Metric("mae").below(15)`, `Metric("auc").above(0.7)`."""

    name: str

    def below(self, limit: float) -> Below:
        """The gate that demands less than `limit`."""
        return Below(self.name, limit)

    def above(self, limit: float) -> Above:
        """The gate that demands more than `limit`."""
        return Above(self.name, limit)


@dataclass(frozen=True, slots=True)
class NotWorseThanLive:
    """A metric may be worse than the live model's by at most the fraction `by`; the first model passes.

    Args:
        better: which way the metric improves: "lower" for errors and losses, "higher" for auc and the like.
    """

    metric: str
    by: float = 0.0
    better: Literal["lower", "higher"] = "lower"

    def judge(self, metrics: Mapping[str, float], live: Mapping[str, float] | None) -> GateResult:
        value, bar = metrics.get(self.metric), None if live is None else live.get(self.metric)
        passed = value is not None and (bar is None or self.good_enough(value, bar))
        return GateResult(f"{self.metric} at most {self.by:.0%} worse than live", passed, {self.metric: value, "live": bar})

    def good_enough(self, value: float, bar: float) -> bool:
        """Compared to the live model; NaN is not."""
        return value <= bar * (1 + self.by) if self.better == "lower" else value >= bar * (1 - self.by)
