"""A planted bad partition is stopped before it reaches the online store: check, figure and fix are in Dagster's event log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from tests.dagster_case import Case, failures, started
from tiffin.compute import Team
from tiffin.features import Entity, Feature, Float32, Int32, Online, Source, Window, daily, feature_view
from tiffin.orchestration.definitions import team_assets
from tiffin.training import Spine, TrainingTable

START = datetime(2012, 12, 1, tzinfo=UTC)
CARRIERS, FLIGHTS, DAYS = 40, 10, 40
DAY = "2013-01-09"
RANGE = ("2012-12-01", "2013-01-08")
TEAM = Team("yard", owner="team:yard")
INSTANT = pa.timestamp("us", tz="UTC")


def landings() -> pa.Table:
    """40 usual days of 40 carriers."""
    random = np.random.default_rng(3)
    rows = DAYS * CARRIERS * FLIGHTS
    landed = START + timedelta(hours=12)
    delay = random.normal(15, 8, rows)
    place = np.arange(rows)
    delay[(place // FLIGHTS) % 50 == 0] = np.nan  # a carrier-day in fifty is not recorded
    return pa.table(
        {
            "carrier": pa.array([f"C{carrier:02d}" for carrier in place // FLIGHTS % CARRIERS]),
            "landed_at": pa.array([landed + timedelta(days=int(day)) for day in place // (FLIGHTS * CARRIERS)], INSTANT),
            "delay": pa.array(delay, mask=np.isnan(delay)),
        }
    )


@dataclass
class Yard:
    """A source that a test may spoil on its last day."""

    spoil: Callable[[pa.Table], pa.Table] = field(default=lambda last: last)

    def load(self) -> pa.Table:
        rows = landings()
        first = rows.num_rows - CARRIERS * FLIGHTS
        return pa.concat_tables([rows.slice(0, first), self.spoil(rows.slice(first))]).combine_chunks()


def with_delay(rows: pa.Table, delay: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index("delay"), "delay", delay)


def nulls_up(rows: pa.Table) -> pa.Table:
    """Ten times as many carriers without a recorded delay."""
    lost = np.arange(rows.num_rows) // FLIGHTS < CARRIERS // 5
    return with_delay(rows, pa.array(rows["delay"].to_numpy(), mask=lost | np.isnan(rows["delay"].to_numpy())))


def in_seconds(rows: pa.Table) -> pa.Table:
    """Minutes became seconds."""
    values = rows["delay"].to_numpy()
    return with_delay(rows, pa.array(values * 60, mask=np.isnan(values)))


def half_lost(rows: pa.Table) -> pa.Table:
    """The file was cut."""
    return rows.slice(0, rows.num_rows // 3)


YARD = Yard()
SOURCE = Source("raw/landings", time="landed_at", load=YARD.load)
CARRIER = Entity("carrier", key="carrier: string")
FEATURES = [Feature("flights", Int32()), Feature("delay_mean", Float32(step=0.01))]


@feature_view(entity=CARRIER, source=SOURCE, partitions=daily("2012-12-01", "2013-01-09"), online=Online(), features=FEATURES)
def delays(rows: pa.Table, window: Window) -> pa.Table:
    grouped = rows.group_by("carrier", use_threads=False).aggregate([([], "count_all"), ("delay", "mean")])
    return grouped.rename_columns(["carrier", "flights", "delay_mean"])


@feature_view(entity=CARRIER, source=SOURCE, partitions=daily("2012-12-01", "2013-01-09"), features=FEATURES)
def doubled(rows: pa.Table, window: Window) -> pa.Table:
    """Forgets to group on its last day."""
    found = rows.group_by("carrier", use_threads=False).aggregate([([], "count_all"), ("delay", "mean")])
    found = found.rename_columns(["carrier", "flights", "delay_mean"])
    return pa.concat_tables([found, found.slice(0, 3)]) if window.partition == DAY else found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Case, list[dg.AssetsDefinition]]]:
    assets = team_assets(TEAM, [SOURCE, delays, doubled])
    with started(tmp_path_factory.mktemp("checks")) as case:
        YARD.spoil = lambda last: last
        case.materialise(assets, "raw/landings")
        case.materialise(assets, "yard/delays", "yard/doubled", days=RANGE)
        case.materialise(assets, "yard/delays_online")
        yield case, assets


@pytest.mark.parametrize(
    ("spoil", "check", "feature"),
    [
        pytest.param(nulls_up, "null_rate", "delay_mean", id="nulls up ten times"),
        pytest.param(in_seconds, "value_size", "delay_mean", id="shifted unit"),
        pytest.param(half_lost, "row_count", "", id="rows lost"),
    ],
)
def test_a_bad_day_is_stopped_before_anything_is_written_or_published(
    house: tuple[Case, list[dg.AssetsDefinition]], spoil: Callable[[pa.Table], pa.Table], check: str, feature: str
) -> None:
    case, assets = house
    YARD.spoil = spoil
    case.materialise(assets, "raw/landings")
    version, published = case.tables.version("yard/delays"), case.metadata("yard/delays_online")

    result = case.materialise(assets, "yard/delays", "yard/delays_online", days=(DAY, DAY), check=False)

    assert not result.success
    assert "yard__delays_online" not in {event.step_key for event in result.all_events if event.is_step_start}
    assert case.tables.version("yard/delays") == version
    assert case.metadata("yard/delays_online") == published
    evaluations = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert [name for name, one in evaluations.items() if not one.passed] == [check]
    told = {name: value.value for name, value in evaluations[check].metadata.items()}
    (figure,) = told["figures"]
    assert (figure["partition"], figure["feature"]) == (DAY, feature)
    assert not figure["low"] <= figure["found"] <= figure["high"]
    assert "](data:image/png;base64," in told["picture"]
    assert f"tiffin/accept={check}" in told["fix"]
    failure = failures(result)[0]
    assert failure.metadata["partition"].value == DAY
    assert check in failure.metadata["checks"].value


def test_a_repeated_key_is_stopped_with_its_check(house: tuple[Case, list[dg.AssetsDefinition]]) -> None:
    case, assets = house
    version = case.tables.version("yard/doubled")

    result = case.materialise(assets, "yard/doubled", days=(DAY, DAY), check=False)

    (told,) = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert told.check_name == "keys_unique"
    assert told.metadata["duplicates"].value == 3
    assert told.metadata["partitions"].value == DAY
    assert "group by carrier" in str(told.metadata["fix"].value)
    assert case.tables.version("yard/doubled") == version


def test_a_bad_day_within_a_range_is_named_so_that_the_range_can_be_cut_there(house: tuple[Case, list[dg.AssetsDefinition]]) -> None:
    case, assets = house
    YARD.spoil = in_seconds
    case.materialise(assets, "raw/landings")

    result = case.materialise(assets, "yard/delays", days=("2012-12-20", DAY), check=False)

    assert failures(result)[0].metadata["partition"].value == DAY


def test_a_finding_that_was_waved_through_is_a_warning_and_the_day_is_written(house: tuple[Case, list[dg.AssetsDefinition]]) -> None:
    case, assets = house
    YARD.spoil = in_seconds
    case.materialise(assets, "raw/landings")

    result = dg.materialize(
        assets,
        selection=[dg.AssetKey(["yard", "delays"])],
        resources=case.resources(),
        instance=case.instance,
        partition_key=DAY,
        tags={"tiffin/accept": "value_size"},
    )

    told = next(one for one in result.get_asset_check_evaluations() if one.check_name == "value_size")
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert case.tables.read("yard/delays", partitions=[DAY]).num_rows == CARRIERS


def test_a_tag_that_names_no_check_is_refused_before_anything_runs(house: tuple[Case, list[dg.AssetsDefinition]]) -> None:
    case, assets = house

    result = dg.materialize(
        assets,
        selection=[dg.AssetKey(["yard", "delays"])],
        resources=case.resources(),
        instance=case.instance,
        partition_key="2013-01-05",
        tags={"tiffin/accept": "value_sise"},
        raise_on_error=False,
    )

    assert "did you mean 'value_size'?" in str(failures(result)[0].metadata["fix"].value)


def test_a_feature_that_is_the_label_in_other_words_stops_the_training_table(house: tuple[Case, list[dg.AssetsDefinition]]) -> None:
    case, _ = house
    YARD.spoil = lambda last: last

    def with_hours(rows: pa.Table) -> pa.Table:
        return rows.append_column("hours_late", pa.chunked_array([pa.array(rows["delay"].to_numpy() / 60, from_pandas=True)]))

    spine = Spine(
        "landed",
        source=SOURCE,
        keys="carrier: string",
        time="landed_at",
        fields=(Feature("hours_late", Float32()),),
        label=Feature("delay", Float32()),
        rows=with_hours,
    )
    assets = team_assets(TEAM, [SOURCE, delays, doubled, TrainingTable("leaky", spine=spine, features=(delays,))])

    result = case.materialise(assets, "yard/leaky", check=False)

    (told,) = result.get_asset_check_evaluations()
    assert (told.check_name, told.passed) == ("label_leakage", False)
    assert told.metadata["explained"].value["hours_late"] > 0.9
    assert "tiffin/accept=label_leakage" in str(told.metadata["fix"].value)
    assert case.tables.version("yard/leaky") is None
