"""`tiffin features` without a stack: the compiled catalog, and keys as people write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.cli.test_commands import CATALOG, run
from tiffin.core.errors import Invalid, NotFound
from tiffin.embedded.view_reports import find_record, offline_values, plain, read_key
from tiffin.features.compute import EVENT_TIME, KNOWN_AT
from tiffin.features.offline import WRITTEN_AT
from tiffin.storage.content import PARTITION
from tiffin.storage.delta import DeltaStore

INSTANT = pa.timestamp("us", tz="UTC")
DAY = datetime(2013, 6, 10, tzinfo=UTC)
PLANES = find_record(CATALOG, "fleet/plane_days")


def test_the_list_holds_every_view_of_the_catalog(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "features", "list", "--json", "--catalog", str(CATALOG), "--home", str(tmp_path)) == 0

    found = json.loads(capsys.readouterr().out)["views"]
    assert sorted(f"{one['team']}/{one['name']}" for one in found) == sorted(json.loads(CATALOG.read_text())["views"])
    assert {one["online"] for one in found} == {None}


def test_a_view_shows_its_columns_key_and_owner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(monkeypatch, "features", "show", "fleet/carrier_delays", "--catalog", str(CATALOG), "--home", str(tmp_path))

    shown = capsys.readouterr().out
    assert "team:fleet" in shown
    assert "carrier: string, origin: string" in shown
    assert "late_share_7d" in shown


def test_a_misspelt_view_gets_the_nearest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(monkeypatch, "features", "show", "fleet/carrier_dalays", "--catalog", str(CATALOG), "--home", str(tmp_path)) == 4

    assert "did you mean 'fleet/carrier_delays'?" in capsys.readouterr().err


def test_a_missing_catalog_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(monkeypatch, "features", "list", "--catalog", str(tmp_path / "none.json"), "--home", str(tmp_path)) == 4

    assert "none.json" in capsys.readouterr().err


def test_a_key_is_typed_as_its_view_declares() -> None:
    assert read_key(PLANES, {"tailnum": 16}).to_pylist() == [{"tailnum": "16"}]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({}, "lacks 'tailnum'", id="missing"),
        pytest.param({"tailnum": None}, "lacks 'tailnum'", id="null"),
        pytest.param({"tailnum": "N1", "origin": "EWR"}, "no key part 'origin'", id="of another view"),
    ],
)
def test_a_key_that_is_none_of_the_views_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        read_key(PLANES, given)


def test_an_unknown_view_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="did you mean 'fleet/planes'"):
        find_record(CATALOG, "fleet/plane")


@pytest.mark.parametrize(
    ("as_of", "legs"),
    [
        pytest.param(DAY, None, id="before it was known"),
        pytest.param(DAY + timedelta(minutes=30), 3, id="when it became known"),
        pytest.param(DAY + timedelta(days=7), 3, id="at the end of its life"),
        pytest.param(DAY + timedelta(days=7, seconds=1), None, id="expired"),
    ],
)
def test_offline_values_are_those_that_a_label_at_the_instant_would_get(tmp_path: Path, as_of: datetime, legs: int | None) -> None:
    tables = DeltaStore(str(tmp_path))
    row = {
        "tailnum": pa.array(["N1"]),
        "legs_1d": pa.array([3], pa.int8()),
        "arr_delay_last": pa.array([-5], pa.int16()),
        "air_time_1d": pa.array([None], pa.int16()),
        EVENT_TIME: pa.array([DAY], INSTANT),
        KNOWN_AT: pa.array([DAY + timedelta(minutes=30)], INSTANT),
        WRITTEN_AT: pa.array([DAY], INSTANT),
        PARTITION: pa.array(["2013-06-09"]),
    }
    tables.replace("fleet/plane_days", pa.table(row), partitions=["2013-06-09"])

    found = offline_values(PLANES, read_key(PLANES, {"tailnum": "N1"}), as_of=as_of, tables=tables)

    assert found.values["legs_1d"] == legs
    assert found.values["air_time_1d"] is None
    assert found.event_time == (DAY if legs else None)
    assert found.source == "fleet/plane_days version 0"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (np.float64("nan"), None),
        (np.float64(2.5), 2.5),
        ("AA", "AA"),
        (None, None),
        (np.array([1, 2]), [1, 2]),
        (np.array([np.nan, np.nan], np.float32), None),
    ],
    ids=repr,
)
def test_a_cell_is_plain_and_its_null_is_none(cell: object, value: object) -> None:
    assert plain(cell) == value
