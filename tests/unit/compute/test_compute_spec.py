"""`Compute`: what a step asks for, and what is refused where it is written."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute import Compute
from tiffin.compute.quantities import milli
from tiffin.core.errors import Invalid
from tiffin.features.entity import Entity
from tiffin.features.feature_types import Int32
from tiffin.features.partitions import daily
from tiffin.features.view import Feature, FeatureView, Source


def test_the_default_asks_for_something() -> None:
    assert Compute().requests() == {"cpu": 1000, "memory": 2**30 * 1000}


def test_accelerators_are_asked_for_by_name() -> None:
    asked = Compute(gpus=2, gpu_resource="amd.com/gpu")

    assert asked.requests()["amd.com/gpu"] == 2000
    assert asked.resource_list() == {"cpu": "1", "memory": "1Gi", "amd.com/gpu": "2"}


def test_equal_amounts_are_equal_specs_however_written() -> None:
    assert Compute(cpu="500m", memory="1024Mi") == Compute(cpu=0.5, memory="1Gi")


@given(
    cpu=st.integers(1, 10**6).map(lambda n: f"{n}m"),
    memory=st.integers(2**20, 2**45),
    gpus=st.integers(0, 64),
    hours=st.none() | st.integers(1, 1000),
    priority=st.none() | st.sampled_from(["prod", "backfill"]),
)
def test_a_spec_survives_the_way_to_the_run_worker(cpu: str, memory: int, gpus: int, hours: int | None, priority: str | None) -> None:
    wait = None if hours is None else timedelta(hours=hours)
    spec = Compute(cpu=cpu, memory=memory, gpus=gpus, max_run=wait, max_queue=wait, priority=priority)

    assert Compute.model_validate_json(spec.model_dump_json(exclude_defaults=True)) == spec
    assert milli(spec.memory) == memory * 1000


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"cpu": 0}, "asks for nothing", id="no cores"),
        pytest.param({"cpu": "0m"}, "asks for nothing", id="no cores in text"),
        pytest.param({"memory": "512"}, "less than a mebibyte", id="bytes meant as mebibytes"),
        pytest.param({"memory": "512m"}, "less than a mebibyte", id="thousandths of a byte"),
        pytest.param({"cpus": 1}, "did you mean 'cpu'", id="a misspelt field"),
        pytest.param({"gpus": -1}, "gpus", id="a negative count"),
        pytest.param({"gpu_resource": "gpu"}, "has no vendor", id="no vendor"),
        pytest.param({"flavor": "A100 80GB"}, "not one that Kubernetes takes", id="a name with a blank"),
        pytest.param({"queue": "../prod"}, "not one that Kubernetes takes", id="a path"),
        pytest.param({"image": "ours; rm"}, "not an image reference", id="no image"),
        pytest.param({"max_run": "0s"}, "no time at all", id="no time"),
        pytest.param({"max_queue": "soon"}, "not readable", id="no duration"),
        pytest.param({"parallelism": 0}, "parallelism", id="no pods"),
    ],
)
def test_a_mistake_is_refused_where_it_is_written(fields: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        Compute(**fields)

    assert "test_compute_spec.py" in str(refused.value)


def test_what_a_view_asks_for_is_no_part_of_its_definition() -> None:
    view = FeatureView(
        "load",
        entity=Entity("carrier", key="carrier: string"),
        source=Source("raw/flights", time="landed_at"),
        features=(Feature("flights_1d", Int32()),),
        partitions=daily("2013-01-01"),
        sql="select carrier, count(*)::int as flights_1d from flights group by carrier",
    )

    larger = view.with_changes(compute=Compute(cpu=8, memory="32Gi"))

    assert larger.definition == view.definition
    assert larger.record(team="network", owner="a@b") == view.record(team="network", owner="a@b")
