"""A small deployment of every kind of column, made by hand: views, training rows, a model, the rendered bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tests.serving_prepare import clip, prepare
from tiffin.core.digests import digest_bytes
from tiffin.features import (
    Bool,
    Entity,
    Feature,
    FeatureView,
    Float16,
    Float32,
    Int16,
    Int32,
    IntList,
    Online,
    Source,
    String,
    Timestamp,
    Vector,
    daily,
    feature_view,
)
from tiffin.features.arrow_values import to_arrow, to_values
from tiffin.manifests.records import CodeRef, FeatureRef, FileRef, ModelRecord, TableRef, ViewRecord
from tiffin.registry.models import file_refs
from tiffin.serving.deployment import Deployment
from tiffin.serving.render import Rendered, render
from tiffin.serving.team_code import team_code
from tiffin.training import Model, Spine, TrainingTable
from tiffin.training.batch import to_batch, to_matrix
from tiffin.training.columns import batch_columns
from tiffin.training.lightgbm import LightGBMTrainer
from tiffin.wire.encodings import canonical

TEAM = "eta"
NOW_US = 1_700_000_000_000_000
CARRIERS = ["AA", "B6", "DL", "UA", "Zöe"]
ORIGINS = ["EWR", "JFK", "LGA"]

flights = Source("raw/flights", time="landed_at")


def view(name: str, entity: Entity, *features: Feature) -> FeatureView:
    made = feature_view(
        name=name,
        entity=entity,
        source=flights,
        partitions=daily("2013-01-01"),
        features=features,
        online=Online(ttl="30d"),
        sql="select * from flights",
    )
    assert isinstance(made, FeatureView)
    return made


delays = view(
    "delays",
    Entity("carrier", key="carrier: string"),
    Feature("late_mean", Float32(step=0.01)),
    Feature("flights", Int32(), nullable=False),
)
places = view(
    "places",
    Entity("carrier_origin", key="carrier: string, origin: string"),
    Feature("rainy", Bool()),
    Feature("seen_at", Timestamp()),
    Feature("taste", Vector(2, "float16")),
    Feature("tags", IntList(max_length=5)),
    Feature("city", String(max_bytes=32)),
    Feature("heat", Float16()),
)
spine = Spine(
    "departures",
    source=flights,
    keys="carrier: string, origin: string",
    time="dep_at",
    fields=(
        Feature("distance", Int16(), nullable=False),
        Feature("wind", Float32(step=0.5)),
        Feature("note", String(max_bytes=20)),
    ),
    label=Feature("arr_delay", Float32()),
)
table = TrainingTable("eta_table", spine=spine, features=(delays, places), start=date(2013, 1, 1))


def view_records() -> tuple[ViewRecord, ...]:
    return tuple(each.record(team=TEAM, owner="team:eta") for each in (delays, places))


def feature_values(rng: np.random.Generator, rows: int, *, nulls: bool = True) -> dict[str, pa.Array]:
    """Canonical feature columns by `view__feature`."""
    gone = rng.random((8, rows)) < (0.2 if nulls else 0.0)

    def some(place: int, values: list[Any]) -> list[Any]:
        return [None if gone[place, row] else value for row, value in enumerate(values)]

    raw = {
        "delays__late_mean": (delays.feature("late_mean"), some(0, (rng.random(rows) * 90 - 20).tolist())),
        "delays__flights": (delays.feature("flights"), rng.integers(0, 500, rows).tolist()),
        "places__rainy": (places.feature("rainy"), some(1, (rng.random(rows) < 0.5).tolist())),
        "places__seen_at": (
            places.feature("seen_at"),
            some(2, [datetime.fromtimestamp(1_357_000_000 + int(s), UTC) for s in rng.integers(0, 10**7, rows)]),
        ),
        "places__taste": (places.feature("taste"), some(3, rng.random((rows, 2)).tolist())),
        "places__tags": (places.feature("tags"), some(4, [rng.integers(-9, 9, int(n)).tolist() for n in rng.integers(0, 5, rows)])),
        "places__city": (places.feature("city"), some(5, rng.choice(["Zürich", "", "Bern", "x"], rows).tolist())),
        "places__heat": (places.feature("heat"), some(6, (rng.random(rows) * 40).tolist())),
    }
    columns: dict[str, pa.Array] = {}
    for name, (feature, values) in raw.items():
        kind = feature.type.arrow
        canonical_values = canonical(feature.column, to_values(pa.array(values, kind), feature.column))
        columns[name] = to_arrow(canonical_values, kind)
    return columns


def training_rows(seed: int = 0, rows: int = 400) -> pa.Table:
    """Rows as `training.build` would write them."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "carrier": pa.array(rng.choice(CARRIERS, rows).tolist()),
        "origin": pa.array(
            [None if gone else str(name) for name, gone in zip(rng.choice(ORIGINS, rows), rng.random(rows) < 0.1, strict=True)]
        ),
        "dep_at": pa.array([datetime.fromtimestamp(1_357_000_000 + row * 600, UTC) for row in range(rows)], pa.timestamp("us", tz="UTC")),
        "distance": pa.array(rng.integers(100, 3000, rows), pa.int16()),
        "wind": pa.array(
            [None if gone else float(w) / 2 for w, gone in zip(rng.integers(0, 80, rows), rng.random(rows) < 0.1, strict=True)],
            pa.float32(),
        ),
        "note": pa.array([[None, "", "näh", "abc"][int(pick)] for pick in rng.integers(0, 4, rows)]),
        **feature_values(rng, rows),
    }
    late = np.nan_to_num(columns["delays__late_mean"].to_numpy(zero_copy_only=False).astype(np.float64))
    columns["arr_delay"] = pa.array(late + rng.normal(0, 5, rows) + columns["distance"].to_numpy() / 200, pa.float32())
    return pa.table(columns)


@dataclass
class Case:
    """One deployment, all its parts at hand."""

    deployment: Deployment
    model: ModelRecord
    model_files: dict[str, bytes]
    views: tuple[ViewRecord, ...]
    rows: pa.Table
    code: CodeRef
    archive: bytes = field(default=b"an archive of the team's package")

    def render(self, **changes: Any) -> Rendered:
        given: dict[str, Any] = {
            "team": TEAM,
            "owner": "team:eta",
            "model": self.model,
            "model_digest": self.model.address,
            "model_files": self.model_files,
            "views": self.views,
            "sample": self.rows,
            "code": self.code,
            "run_id": None,
        }
        return render(changes.pop("deployment", self.deployment), **{**given, **changes})

    def offline(self, rows: pa.Table) -> dict[str, np.ndarray]:
        """The endpoint's answers, computed without a server."""
        columns = batch_columns(table, {f"{one.team}/{one.name}": one for one in self.views})
        _, matrix = to_matrix(self.deployment.model.preprocess, to_batch(rows, columns), inputs=self.model.inputs)
        score = LightGBMTrainer().predict(self.model_files, matrix)
        assert self.deployment.postprocess is not None
        return dict(self.deployment.postprocess(score))


def make_case(*, seed: int = 0, name: str = "eta", postprocess: Any = clip, **options: Any) -> Case:
    """A model trained on generated rows; another seed is another model version."""
    rows = training_rows(seed)
    views = view_records()
    model = Model("eta_model", table=table, preprocess=prepare)
    columns = batch_columns(table, {f"{one.team}/{one.name}": one for one in views})
    inputs, matrix = to_matrix(prepare, to_batch(rows, columns))
    artifact = LightGBMTrainer().fit(
        matrix,
        rows["arr_delay"].to_numpy().astype(np.float64),
        inputs=inputs,
        params={"objective": "regression", "num_iterations": 20, "num_leaves": 7},
        seed=seed,
    )
    archive = b"an archive of the team's package"
    code = CodeRef(
        archive=FileRef(path="eta.tar.gz", digest=digest_bytes(archive), size_bytes=len(archive)),
        package="assets.eta",
        library_version="0.1.0",
        library_digest="0" * 64,
        git_commit=None,
        git_dirty=None,
    )
    record = ModelRecord(
        team=TEAM,
        name="eta_model",
        owner="team:eta",
        trainer="lightgbm",
        files=file_refs(artifact.files),
        params=artifact.params,
        metrics={"mae": 5.0},
        gates=(),
        inputs=inputs,
        output="arr_delay",
        features=tuple(
            FeatureRef(view=f"{TEAM}/{each.name}", column=feature.name, view_record=record.address)
            for each, record in zip((delays, places), views, strict=True)
            for feature in each.features
        ),
        table=TableRef(ref="eta/eta_table", version=0, rows=len(rows), digest="0" * 64),
        code=code,
        preprocess=team_code(prepare, role="preprocess").digest,
        image=None,
        run_id=None,
        parent=None,
    )
    deployment = Deployment(name, model=model, postprocess=postprocess, **options)
    return Case(deployment, record, artifact.files, views, rows, code, archive)
