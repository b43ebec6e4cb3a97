"""A scheduled publication is a delta exactly when everything up to the watermark is still what was published."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.flight_views import make_view
from tiffin.core.units import to_us
from tiffin.features import daily, snapshot
from tiffin.manifests.records import GenerationRecord, SegmentRef
from tiffin.orchestration.schedule_plan import MAX_DELTAS, Publication, publication

RECORD = make_view().record(team="ops", owner="team:ops")
WATERMARK = datetime(2030, 1, 3, tzinfo=UTC)
NOW = datetime(2030, 1, 4, 6, tzinfo=UTC)
PUBLISHED = {"2030-01-01": "a", "2030-01-02": "b"}
LANDED = {**PUBLISHED, "2030-01-03": "c"}
SEGMENT = SegmentRef(digest="0" * 64, size_bytes=1, rows=1, start_us=0, end_us=1)


def live(**changes: Any) -> GenerationRecord:
    found = {
        "team": "ops",
        "view": "delays",
        "view_record": RECORD.address,
        "entity": RECORD.entity,
        "row_schema": RECORD.row_schema,
        "base": SEGMENT,
        "watermark_us": to_us(WATERMARK),
        "as_of_us": None,
        "ttl_us": None,
    }
    return GenerationRecord(**{**found, **changes})


def decided(**changes: Any) -> Publication:
    given: dict[str, Any] = {"current": live(), "published": PUBLISHED, "held": LANDED, "as_of": NOW, "frozen": False}
    cut = changes.pop("cut", daily("2030-01-01"))
    return publication(RECORD, cut, **{**given, **changes})


def test_a_landed_partition_is_a_delta_from_the_watermark_on() -> None:
    assert decided() == Publication(WATERMARK, "1 partitions landed")


def test_rows_that_were_not_known_yet_are_due_without_a_landing() -> None:
    assert decided(held=PUBLISHED).delta


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"current": None}, "nothing is published", id="first"),
        pytest.param({"current": live(view_record="1" * 64)}, "definition changed", id="another definition"),
        pytest.param({"published": None}, "not known", id="unknown origin"),
        pytest.param({"held": {**LANDED, "2030-01-02": "repaired"}}, "first 2030-01-02", id="repaired"),
        pytest.param({"held": {"2030-01-02": "b", "2030-01-03": "c"}}, "first 2030-01-01", id="emptied"),
        pytest.param({"as_of": datetime(2030, 1, 2, tzinfo=UTC)}, "earlier instant", id="back in time"),
        pytest.param({"frozen": True}, "replayed", id="replay begins"),
        pytest.param({"current": live(deltas=(SEGMENT,) * MAX_DELTAS)}, f"{MAX_DELTAS} deltas", id="a long chain"),
        pytest.param({"cut": snapshot("2030-01-01")}, "snapshot", id="snapshot"),
    ],
)
def test_everything_else_is_a_new_generation(changes: dict[str, Any], told: str) -> None:
    found = decided(**changes)

    assert not found.delta
    assert told in found.why


def test_a_replay_goes_back_when_its_instant_does_even_after_the_watermark() -> None:
    later = live(as_of_us=to_us(NOW))

    assert "earlier instant" in decided(current=later, frozen=True, as_of=datetime(2030, 1, 3, 12, tzinfo=UTC)).why
