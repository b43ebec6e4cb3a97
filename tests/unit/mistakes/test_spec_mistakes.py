"""Mistakes people make in specs: each gives one error that names the file, the thing and the fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiffin.compute import Team
from tiffin.core.errors import Invalid, PlatformError
from tiffin.core.settings import Settings
from tiffin.features import Bool, Entity, Feature, Float32, Int32, Online, Source, Vector, daily, feature_view
from tiffin.serving.deployment import Deployment
from tiffin.training import Spine, TrainingTable, model

CARRIER = Entity("carrier", key="carrier: string")
FLIGHTS = Source("raw/flights", time="landed_at")


def make_view(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "name": "delays",
        "entity": CARRIER,
        "source": FLIGHTS,
        "partitions": daily("2013-01-01"),
        "features": [Feature("late", Int32())],
        "sql": "select 1",
    }
    return feature_view(**{**given, **changes})


def make_spine(**changes: Any) -> Spine:
    given: dict[str, Any] = {"source": FLIGHTS, "keys": "carrier: string", "time": "at", "label": Feature("delay", Float32())}
    return Spine("departures", **{**given, **changes})


def both_ways(rows: Any, window: Any) -> Any:
    return rows


MISTAKES: dict[str, tuple[Callable[[], Any], list[str], str]] = {
    "entity name with a capital": (lambda: Entity("Carrier", key="c: string"), ["Entity 'Carrier'", "lower-case"], "'carrier'"),
    "key type misspelt": (lambda: Entity("c", key="c: strnig"), ["Entity 'c'", "'strnig'"], "'string'"),
    "key part without a type": (lambda: Entity("c", key="c"), ["'c'", "no type"], "'c: string'"),
    "key part twice": (lambda: Entity("c", key="a: string, a: int64"), ["'a'", "twice"], "once"),
    "field misspelt": (lambda: make_view(lokback="7d"), ["FeatureView 'delays'", "'lokback'"], "'lookback'"),
    "duration without a unit": (lambda: make_view(lookback="7"), ["FeatureView 'delays'", "'7'"], "'7d'"),
    "lookback shorter than a partition": (lambda: make_view(lookback="2h"), ["'delays'", "2:00:00"], "lookback='1d'"),
    "no such ttl": (lambda: Online(ttl="forever"), ["Online", "'forever'"], "'7d'"),
    "no features": (lambda: make_view(features=[]), ["FeatureView 'delays'", "features"], "at least 1"),
    "feature twice": (lambda: make_view(features=[Feature("a", Bool()), Feature("a", Bool())]), ["'delays'", "'a'", "twice"], "rename"),
    "feature that is the key": (lambda: make_view(features=[Feature("carrier", Bool())]), ["'carrier'", "key"], "rename"),
    "reserved feature name": (lambda: Feature("event_time", Bool()), ["'event_time'", "reserved"], "'event_time_value'"),
    "feature type is a class of Python": (lambda: Feature("a", float), ["Feature 'a'", "type"], "FeatureType"),
    "step is negative": (lambda: Float32(step=-1), ["Float32", "'step'", "-1"], "greater than 0"),
    "bounds without a step": (lambda: Float32(low=0, high=1), ["Float32", "step"], "change"),
    "vector storage misspelt": (lambda: Vector(8, "int9"), ["Vector", "'int9'"], "'int8'"),
    "vector of size zero": (lambda: Vector(0), ["Vector", "'size'", "0"], "greater than or equal to 1"),
    "function and sql": (lambda: make_view(transform=both_ways), ["'delays'", "exactly one"], "decorate"),
    "source without a team": (lambda: Source("flights", time="t"), ["'flights'", "team/name"], "'team/flights'"),
    "date that does not exist": (lambda: daily("2013-02-30"), ["Daily", "'start'", "2013-02-30"], "set start"),
    "end before start": (lambda: daily("2013-02-02", "2013-02-01"), ["Daily", "before start"], "change"),
    "owner who cannot be reached": (lambda: Team("eta", owner="bob"), ["Team 'eta'", "'bob'"], "'team:bob'"),
    "column with two roles": (lambda: make_spine(fields=[Feature("carrier", Int32())]), ["'departures'", "'carrier'"], "distinct"),
    "view joined twice": (
        lambda: TrainingTable("t", spine=make_spine(), features=["network/a", "network/a"]),
        ["TrainingTable 't'", "'a'", "twice"],
        "once",
    ),
    "view reference without a team": (lambda: TrainingTable("t", spine=make_spine(), features=["a"]), ["'a'", "team/name"], "'team/a'"),
    "model name with a dash": (
        lambda: model(name="eta-2", table=TrainingTable("t", spine=make_spine(), features=["network/a"]))(lambda batch: batch),
        ["Model 'eta-2'", "lower-case"],
        "'eta_2'",
    ),
    "deployment of something else": (lambda: Deployment("eta", model="eta"), ["Deployment 'eta'", "'model'", "'eta'"], "Model"),
    "request limit of zero": (lambda: make_deployment(max_rows=0), ["Deployment 'eta'", "'max_rows'", "0"], "greater than or equal to 1"),
    "setting misspelt": (lambda: Settings.from_environment({"TIFFIN_S3_ENDPONT": "x"}), ["TIFFIN_S3_ENDPONT"], "'s3_endpoint'"),
    "instant not readable": (
        lambda: Settings.from_environment({"TIFFIN_AS_OF": "yesterday"}).clock,
        ["'yesterday'", "ISO 8601"],
        "2013-12-31",
    ),
}


def make_deployment(**changes: Any) -> Deployment:
    table = TrainingTable("t", spine=make_spine(), features=["network/a"])
    return Deployment("eta", model=model(name="m", table=table)(lambda batch: batch), **changes)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_spec_names_the_thing_and_the_fix(name: str) -> None:
    make, words, fix = MISTAKES[name]

    with pytest.raises(PlatformError) as caught:
        make()

    for word in words:
        assert word in caught.value.message
    assert fix in caught.value.fix
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", [name for name in MISTAKES if "setting" not in name and "instant" not in name])
def test_a_mistake_in_a_spec_names_the_file_that_declares_it(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        MISTAKES[name][0]()

    assert Path(__file__).name in caught.value.message
