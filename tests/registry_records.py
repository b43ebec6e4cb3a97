"""Builders of small, whole editions in a dev store; each test states only what it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tiffin.core.digests import digest_bytes
from tiffin.manifests.records import (
    CodeRef,
    DeploymentRecord,
    EntityRecord,
    FeatureRef,
    FileRef,
    GenerationRecord,
    KeyField,
    Limits,
    ModelRecord,
    RequestField,
    SegmentRef,
    TableRef,
    ViewRecord,
)
from tiffin.registry.models import file_refs, save_model, save_record
from tiffin.storage.objects import ObjectStore, put_blob

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
ENTITY = EntityRecord(name="carrier", keys=(KeyField(name="carrier", type="string"),))
SCHEMA = {"number": 1, "unit_us": 1_000_000, "epoch_us": 0, "columns": [{"name": "late", "encoding": "f32", "nullable": True}]}


def fixed_now() -> datetime:
    return NOW


def make_view(**changes: Any) -> ViewRecord:
    given: dict[str, Any] = {
        "team": "network",
        "name": "carrier_delays",
        "owner": "team:network",
        "description": "",
        "entity": ENTITY,
        "row_schema": SCHEMA,
        "partition_start": "2013-01-01",
        "delay_us": 0,
        "ttl_us": None,
        "definition": digest_bytes(b"transform"),
    }
    return ViewRecord(**{**given, **changes})


def make_code(archive: bytes = b"the code archive") -> CodeRef:
    return CodeRef(
        archive=FileRef(path="assets.eta.tar.gz", digest=digest_bytes(archive), size_bytes=len(archive)),
        package="assets.eta",
        library_version="0.1.0",
        library_digest=digest_bytes(b"library"),
        git_commit=None,
        git_dirty=None,
    )


def make_model(files: dict[str, bytes], **changes: Any) -> ModelRecord:
    given: dict[str, Any] = {
        "team": "eta",
        "name": "eta",
        "owner": "team:eta",
        "trainer": "lightgbm",
        "files": file_refs(files),
        "params": {"leaves": 31},
        "metrics": {"mae": 12.5},
        "gates": ({"gate": "mae < 15", "passed": True, "evidence": {"mae": 12.5, "limit": 15.0}},),
        "inputs": ("late",),
        "output": "arr_delay",
        "features": (FeatureRef(view="network/carrier_delays", column="late", view_record=make_view().address),),
        "table": TableRef(ref="eta/eta_table", version=3, rows=10, digest=digest_bytes(b"table")),
        "code": make_code(),
        "preprocess": digest_bytes(b"preprocess"),
        "image": None,
        "run_id": "run-1",
        "parent": None,
    }
    return ModelRecord(**{**given, **changes})


def make_deployment(model: str, files: dict[str, bytes], golden: bytes, **changes: Any) -> DeploymentRecord:
    given: dict[str, Any] = {
        "team": "eta",
        "name": "eta",
        "owner": "team:eta",
        "model": model,
        "model_name": "eta",
        "views": (make_view(),),
        "request": (RequestField(name="carrier", role="key", encoding="str:256", nullable=False),),
        "outputs": ("arr_delay",),
        "limits": Limits(max_rows=5000, max_bytes=4_000_000),
        "ensemble": "eta--1f2e3d4c",
        "golden_ensemble": "eta--1f2e3d4c--golden",
        "steps": ("features--11111111",),
        "files": file_refs(files),
        "golden": FileRef(path="golden.json", digest=digest_bytes(golden), size_bytes=len(golden)),
        "code": make_code(),
        "image": None,
        "run_id": "run-1",
    }
    return DeploymentRecord(**{**given, **changes})


def make_generation(base: bytes, deltas: tuple[bytes, ...] = (), **changes: Any) -> GenerationRecord:
    def ref(data: bytes) -> SegmentRef:
        return SegmentRef(digest=digest_bytes(data), size_bytes=len(data), rows=1, start_us=0, end_us=1)

    given: dict[str, Any] = {
        "team": "network",
        "view": "carrier_delays",
        "view_record": make_view().address,
        "entity": ENTITY,
        "row_schema": SCHEMA,
        "base": ref(base),
        "deltas": tuple(map(ref, deltas)),
        "watermark_us": 1,
        "as_of_us": None,
        "ttl_us": None,
    }
    return GenerationRecord(**{**given, **changes})


@dataclass(frozen=True)
class Edition:
    """A deployment in dev, with the things a test may want to break."""

    digest: str
    record: DeploymentRecord
    model_digest: str
    model: ModelRecord


def write_model(dev: ObjectStore, number: int = 1, *, files: dict[str, bytes] | None = None, **changes: Any) -> tuple[str, ModelRecord]:
    """A model version with everything it names."""
    files = {"model.txt": b"tree %d\n" % number} if files is None else files
    save_record(dev, make_view())
    put_blob(dev, b"the code archive")
    record = make_model(files, **changes)
    return save_model(dev, record, files, now=fixed_now), record


def write_deployment(
    dev: ObjectStore,
    number: int = 1,
    *,
    files: dict[str, bytes] | None = None,
    model: Callable[[], tuple[str, ModelRecord]] | None = None,
    **changes: Any,
) -> Edition:
    """A deployment with everything it names; another `number` is another edition."""
    model_digest, model_record = write_model(dev, number) if model is None else model()
    given = {
        "eta--1/1/model.txt": b"tree %d\n" % number,
        "preprocess--1/1/model.py": b"# preprocess %d\n" % number,
        "postprocess--1/1/model.py": b"# postprocess %d\n" % number,
    }
    files = given if files is None else {**given, **files}
    golden = b'{"golden": %d}' % number
    for data in (*files.values(), golden):
        put_blob(dev, data)
    record = make_deployment(model_digest, files, golden, **changes)
    return Edition(save_record(dev, record), record, model_digest, model_record)


def write_generation(dev: ObjectStore, number: int = 1) -> tuple[str, GenerationRecord]:
    """A generation of one base and one delta segment."""
    base, delta = b"base segment %d" % number, b"delta segment %d" % number
    put_blob(dev, base)
    put_blob(dev, delta)
    save_record(dev, make_view())
    record = make_generation(base, (delta,), watermark_us=number)
    return save_record(dev, record), record
