"""A model's versions by its pointer, and two of them side by side."""

from __future__ import annotations

import pytest

from tests.object_store_fake import MemoryStore
from tests.registry_records import make_code, write_deployment, write_model
from tiffin.core.errors import Invalid, NotFound
from tiffin.manifests.records import FeatureRef
from tiffin.registry.model_history import compare, model_versions, passed
from tiffin.registry.models import publish_record
from tiffin.registry.promoted import deployed_team, pointed
from tiffin.storage.layout import manifest_key


def test_versions_come_newest_first() -> None:
    dev = MemoryStore()
    digests = [write_model(dev, number)[0] for number in (1, 2, 3)]

    found = model_versions(dev, "eta", "eta")

    assert [one.digest for one in found] == digests[::-1]
    assert all(one.record is not None and passed(one.record) for one in found)


def test_a_damaged_version_says_so_and_hides_no_other() -> None:
    dev = MemoryStore()
    first, second = (write_model(dev, number)[0] for number in (1, 2))
    dev.put(manifest_key("model", first), b"{}")

    found = model_versions(dev, "eta", "eta")

    assert [one.digest for one in found] == [second, first]
    assert found[1].record is None
    assert first in str(found[1].trouble)


def test_a_model_that_was_never_trained_is_named() -> None:
    with pytest.raises(NotFound, match="'eta/nothing'"):
        model_versions(MemoryStore(), "eta", "nothing")


def test_a_version_with_a_failed_gate_has_not_passed() -> None:
    _, record = write_model(MemoryStore(), gates=({"gate": "mae < 1", "passed": False, "evidence": {}},))

    assert not passed(record)


def test_a_comparison_shows_all_metrics_and_of_the_rest_what_differs() -> None:
    dev = MemoryStore()
    _, first = write_model(dev)
    other = FeatureRef(view="network/weather", column="wind", view_record="0" * 64)
    _, second = write_model(
        dev,
        2,
        metrics={"mae": 11.0, "rmse": 20.0},
        params={"leaves": 31, "rate": 0.1},
        inputs=("wind",),
        features=(*first.features, other),
        code=make_code(b"other code"),
    )

    found = compare(first, second)

    assert found.metrics == {"mae": (12.5, 11.0), "rmse": (None, 20.0)}
    assert found.params == {"rate": (None, 0.1)}
    assert found.features == {"network/weather.wind": (None, "0" * 64)}
    assert found.inputs == (("late",), ("wind",))
    assert found.same == ("table", "preprocess")


def test_a_version_equals_itself() -> None:
    _, record = write_model(MemoryStore())

    found = compare(record, record)

    assert (found.params, found.features, found.inputs) == ({}, {}, ((), ()))
    assert found.same == ("files", "code", "table", "preprocess")


def test_the_team_of_a_name_is_found_and_a_misspelt_name_gets_the_nearest() -> None:
    dev = MemoryStore()
    publish_record(dev, write_deployment(dev).record)

    assert deployed_team(dev, "eta") == "eta"
    assert pointed(dev, "deployment") == [("eta", "eta")]
    with pytest.raises(NotFound, match=r"no deployment 'etta' in the prod bucket(.|\n)*did you mean 'eta'"):
        deployed_team(dev, "etta")


def test_a_name_that_two_teams_have_needs_its_team() -> None:
    dev = MemoryStore()
    write_model(dev)
    write_model(dev, team="other")

    with pytest.raises(Invalid, match=r"teams eta, other(.|\n)*--team eta"):
        deployed_team(dev, "eta", kind="model")
