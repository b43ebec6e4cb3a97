"""A code version changes with what an asset's content depends on, and with nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from assets.eta.departures import eta_table
from assets.eta.endpoints import eta, eta_model
from tiffin.compute import Team
from tiffin.features import Source
from tiffin.manifests.records import ViewRecord
from tiffin.orchestration.catalog import read_catalog, resolve_views
from tiffin.orchestration.plot import importance_markdown, importance_png
from tiffin.orchestration.versions import deployment_version, model_version, source_version, table_version
from tiffin.orchestration.view_assets import run_version
from tiffin.storage.tables import Replaced
from tiffin.training import Metric

CATALOG = read_catalog(Path(__file__).parents[3] / "assets" / "catalog.json")
VIEWS = resolve_views(eta_table, team=Team("eta", owner="team:eta"), catalog=CATALOG)


def changed_views() -> dict[str, ViewRecord]:
    ref = "fleet/carrier_delays"
    return {**VIEWS, ref: VIEWS[ref].model_copy(update={"definition": "0" * 64})}


def test_a_changed_view_changes_everything_downstream_of_it() -> None:
    assert table_version(eta_table, VIEWS) != table_version(eta_table, changed_views())
    assert model_version(eta_model, VIEWS) != model_version(eta_model, changed_views())
    assert deployment_version(eta, VIEWS) != deployment_version(eta, changed_views())


def test_a_changed_period_changes_the_table() -> None:
    assert table_version(eta_table.with_changes(start=date(2013, 6, 1)), VIEWS) != table_version(eta_table, VIEWS)


def test_a_changed_parameter_or_gate_changes_the_model_but_not_the_table() -> None:
    shallow = eta_model.with_changes(params={**eta_model.params, "num_leaves": 7})
    strict = eta_model.with_changes(gates=(Metric("mae").below(1),))

    assert len({model_version(one, VIEWS) for one in (eta_model, shallow, strict)}) == 3
    assert table_version(shallow.table, VIEWS) == table_version(eta_table, VIEWS)


def test_a_changed_limit_changes_the_deployment_but_not_the_model() -> None:
    small = eta.with_changes(max_rows=10)

    assert deployment_version(small, VIEWS) != deployment_version(eta, VIEWS)
    assert model_version(small.model, VIEWS) == model_version(eta_model, VIEWS)


def test_a_description_changes_no_version() -> None:
    assert table_version(eta_table.with_changes(description="other words"), VIEWS) == table_version(eta_table, VIEWS)


def test_what_a_landing_function_calls_counts_too() -> None:
    here, nowhere = Source("raw/a", time="t", load=changed_views), Source("raw/a", time="t")

    assert source_version(here) != source_version(nowhere)
    assert source_version(here) == source_version(Source("raw/a", time="t", load=test_a_description_changes_no_version))


def make_replaced(**digests: str) -> Replaced:
    return Replaced(version=1, digests={key.replace("_", "-"): value for key, value in digests.items()}, changed=(), rows={}, size_bytes=0)


def test_a_days_data_version_is_its_digest_and_a_ranges_covers_all_days() -> None:
    one, two = {"d1": "a"}, {"d1": "a", "d2": "b"}

    assert run_version(make_replaced(**one), ["d1"]) == "a"
    assert run_version(make_replaced(**two), ["d1", "d2"]) == run_version(make_replaced(**two), ["d1", "d2"])
    assert run_version(make_replaced(**two), ["d1", "d2"]) != run_version(make_replaced(d1="a", d2="c"), ["d1", "d2"])


@pytest.mark.parametrize("inputs", [pytest.param(1, id="one input"), pytest.param(40, id="more than are shown")])
def test_importance_is_a_png(inputs: int) -> None:
    assert importance_png({f"x{i}": float(i) for i in range(inputs)}).startswith(b"\x89PNG")


def test_a_trainer_without_importance_is_said_to_have_none() -> None:
    assert importance_markdown({}) == "no importance was reported"
