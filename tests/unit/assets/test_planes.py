"""What is known of a plane, and from when on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from assets.fleet.planes import MAKERS, OTHER, plane_days, planes
from tiffin.features import Window
from tiffin.features.compute import compute

END = datetime(2013, 3, 6, tzinfo=UTC)
DAY = Window(start=END - timedelta(days=1), end=END)
LAST = datetime(2013, 12, 31, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("tailnum", pa.string()),
        ("arr_delay", pa.int16()),
        ("air_time", pa.int16()),
        ("flight", pa.int32()),
        ("carrier", pa.string()),
        ("landed_at", pa.timestamp("us", tz="UTC")),
    ]
)
leg = st.fixed_dictionaries(
    {
        "tailnum": st.sampled_from(["N1", "N2", None]),
        "arr_delay": st.none() | st.integers(-60, 400),
        "air_time": st.none() | st.integers(20, 400),
        "flight": st.integers(1, 5),
        "carrier": st.just("UA"),
        "landed_at": st.integers(1, 10).map(lambda minutes: END - timedelta(minutes=minutes)),
    }
)


def days(legs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert plane_days.transform is not None
    return {one["tailnum"]: one for one in plane_days.transform(pa.Table.from_pylist(legs, SCHEMA), DAY).to_pylist()}


@given(legs=st.lists(leg, max_size=20))
def test_a_planes_day_equals_a_count_by_hand(legs: list[dict[str, Any]]) -> None:
    found = days(legs)

    assert set(found) == {one["tailnum"] for one in legs if one["tailnum"]}
    for tailnum, features in found.items():
        own = [one for one in legs if one["tailnum"] == tailnum]
        landed = [one for one in own if one["arr_delay"] is not None]
        newest = max(((one["landed_at"], one["flight"]) for one in landed), default=None)
        last = {one["arr_delay"] for one in landed if (one["landed_at"], one["flight"]) == newest}
        times = [one["air_time"] for one in own if one["air_time"] is not None]
        assert features["legs_1d"] == len(own)
        assert features["air_time_1d"] == (sum(times) if times else None)
        assert features["arr_delay_last"] in (last or {None})


def test_the_register_knows_a_plane_of_2013_or_of_no_year_only_when_2013_has_ended(sources: dict[str, pa.Table]) -> None:
    register = sources["raw/planes"]
    new = pc.fill_null(pc.greater_equal(register["year"], 2013), True)

    early = register.filter(pc.invert(new))["registered_at"]
    late = register.filter(new)["registered_at"]

    assert pc.unique(early).to_pylist() == [datetime(2013, 1, 1, tzinfo=UTC)]
    assert pc.unique(late).to_pylist() == [datetime(2014, 1, 1, tzinfo=UTC)]
    assert len(late) > 70


def test_the_snapshot_holds_every_plane_that_was_registered_by_then(sources: dict[str, pa.Table]) -> None:
    found = compute(planes, planes.partitions.windows(until=LAST)[0], sources["raw/planes"])

    assert found.num_rows == pc.sum(pc.less(sources["raw/planes"]["registered_at"], pa.scalar(LAST))).as_py()
    assert set(pc.unique(found["maker"]).to_pylist()) == {*MAKERS, OTHER}
    assert set(pc.unique(found["engine"]).to_pylist()) == {"fan", "jet", "propeller"}
    assert pc.max(found["event_time"]).as_py() == datetime(2013, 1, 1, tzinfo=UTC)


def test_makers_that_changed_their_names_are_one_maker(sources: dict[str, pa.Table]) -> None:
    register = {one["tailnum"]: one["manufacturer"] for one in sources["raw/planes"].to_pylist()}
    found = compute(planes, planes.partitions.windows(until=LAST)[0], sources["raw/planes"]).to_pylist()
    makers = {register[one["tailnum"]]: one["maker"] for one in found}

    assert (makers["AIRBUS"], makers["AIRBUS INDUSTRIE"]) == ("airbus", "airbus")
    assert {maker for name, maker in makers.items() if "MCDONNELL" in name} == {"mcdonnell_douglas"}
    assert makers["CESSNA"] == OTHER
