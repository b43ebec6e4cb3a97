"""Other teams' views come from one reviewed file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.compute import Team
from tiffin.core.errors import Invalid, NotFound
from tiffin.features import Entity, Feature, FeatureView, Int32, Source, daily
from tiffin.orchestration.catalog import compile_catalog, read_catalog, resolve_views, view_records
from tiffin.training import Spine, TrainingTable

ROOT = Path(__file__).parents[3]
TEAM = Team("network", owner="team:network")
FLIGHTS = Source("raw/flights", time="landed_at")


def make_view(name: str = "carrier_delays") -> FeatureView:
    return FeatureView(
        name,
        entity=Entity("carrier", key="carrier: string"),
        source=FLIGHTS,
        features=(Feature("flights_7d", Int32()),),
        partitions=daily("2013-01-01"),
        sql="select carrier, count(*)::int as flights_7d from flights group by carrier",
    )


def make_table(*features: FeatureView | str) -> TrainingTable:
    spine = Spine("rides", source=FLIGHTS, keys="carrier: string", time="at", label=Feature("late", Int32()))
    return TrainingTable("late_table", spine=spine, features=features)


def test_the_catalog_in_the_repository_is_what_the_specs_compile_to() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "compile_catalog.py"), "--check"], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert done.returncode == 0, done.stderr


def test_a_record_survives_the_catalog(tmp_path: Path) -> None:
    records = view_records(TEAM, [FLIGHTS, make_view()])
    path = tmp_path / "catalog.json"

    path.write_bytes(compile_catalog(records))

    assert read_catalog(path) == {"network/carrier_delays": records[0]}


def test_the_order_of_records_does_not_change_the_catalog() -> None:
    records = view_records(TEAM, [make_view("a"), make_view("b")])

    assert compile_catalog(records) == compile_catalog(reversed(records))


def test_two_records_of_one_reference_are_refused() -> None:
    with pytest.raises(Invalid, match="'network/a' is declared twice"):
        compile_catalog(view_records(TEAM, [make_view("a"), make_view("a")]))


def test_a_missing_catalog_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"compile_catalog\.py"):
        read_catalog(tmp_path / "catalog.json")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="not json"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"format": "tiffin.catalog.v0", "views": {}}', id="another format"),
        pytest.param(b'{"format": "tiffin.catalog.v1", "views": {"a/b": {"team": "a"}}}', id="half a record"),
    ],
)
def test_a_file_that_is_no_catalog_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "catalog.json"
    path.write_bytes(content)

    with pytest.raises(Invalid, match=r"catalog\.json"):
        read_catalog(path)


def test_another_teams_view_resolves_from_the_catalog_and_ones_own_from_its_spec() -> None:
    eta = Team("eta", owner="team:eta")
    catalog = {"network/carrier_delays": view_records(TEAM, [make_view()])[0]}

    found = resolve_views(make_table("network/carrier_delays", make_view("own_view")), team=eta, catalog=catalog)

    assert list(found) == ["network/carrier_delays", "eta/own_view"]
    assert found["network/carrier_delays"].team == "network"
    assert found["eta/own_view"].owner == "team:eta"


def test_a_view_that_is_not_in_the_catalog_is_named_with_the_nearest_one() -> None:
    catalog = {"network/carrier_delays": view_records(TEAM, [make_view()])[0]}

    with pytest.raises(NotFound, match=r"no feature view 'network/carrier_delay'(.|\n)*did you mean 'network/carrier_delays'"):
        resolve_views(make_table("network/carrier_delay"), team=TEAM, catalog=catalog)


def test_the_catalog_reads_well_in_a_review() -> None:
    content = compile_catalog(view_records(TEAM, [make_view()])).decode()

    assert content.endswith("}\n")
    assert json.loads(content)["views"]["network/carrier_delays"]["entity"]["name"] == "carrier"
    assert max(map(len, content.splitlines())) < 120
