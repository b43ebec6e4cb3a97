"""A deployment spec and a model version become one deployment record and the files it names. Pure: nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Invalid, NotFound
from tiffin.manifests.records import CodeRef, DeploymentRecord, FileRef, Limits, ModelRecord, RequestField, ViewRecord
from tiffin.serving.config_text import request_tensor
from tiffin.serving.deployment import Deployment
from tiffin.serving.golden import Golden
from tiffin.serving.repository_files import Plan, Repository, lay_out
from tiffin.serving.request import encode_column
from tiffin.serving.steps.postprocess import check_outputs
from tiffin.serving.steps.tensors import FeatureColumn, encode_features
from tiffin.serving.team_code import team_code
from tiffin.training.batch import called, to_batch, to_matrix
from tiffin.training.columns import batch_columns, joined_views, key_columns
from tiffin.training.table import feature_column
from tiffin.training.trainer import find_trainer
from tiffin.wire.schema import Column, RowSchema

__all__ = ["Rendered", "render"]

GOLDEN_PATH = "golden.json"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A deployment, complete.

    Args:
        record: names every file by digest.
        blobs: bytes by digest: the Triton repository and the golden rows.
    """

    record: DeploymentRecord
    blobs: dict[str, bytes]


def render(
    deployment: Deployment,
    *,
    team: str,
    owner: str,
    model: ModelRecord,
    model_digest: str,
    model_files: Mapping[str, bytes],
    views: Sequence[ViewRecord],
    sample: pa.Table,
    code: CodeRef,
    run_id: str | None,
) -> Rendered:
    """Render the Triton repository, ask the golden rows offline, and write down both.

    Args:
        model: the model version to serve; `model_files` are its files by path.
        views: at least those that the training table joins.
        sample: rows of the training table: ids, fields and features; golden rows are taken from it.

    Raises:
        Invalid: the model, the views or the team's code do not fit together; says which and what to do.
    """
    of = f"deployment {deployment.name!r}"
    records = {f"{view.team}/{view.name}": view for view in views}
    joined = joined_views(deployment.model.table, team=team, views=records)
    features = feature_columns(joined)
    check_model(deployment, model, joined, of=of)
    preprocess = team_code(deployment.model.preprocess, role=f"{of}: preprocess")
    if preprocess.digest != model.preprocess:
        where = f"preprocess {preprocess.function!r} ({preprocess.declared_at})"
        raise Invalid(
            f"{of}: the module of {where} was changed after {model.name!r} was trained",
            fix=f"train {model.name!r} again, then materialise the deployment",
        )
    postprocess = None if deployment.postprocess is None else team_code(deployment.postprocess, role=f"{of}: postprocess")

    columns = batch_columns(deployment.model.table, records)
    request = request_fields(deployment)
    rows = golden_rows(sample, columns, request, count=min(deployment.golden_rows, deployment.max_rows), of=of)
    golden = ask_offline(deployment, model, model_files, rows, columns, request, features)
    for name in golden.expected:
        if name in golden.request:
            raise Invalid(f"{of}: output {name!r} is also a request field", fix="rename the output in postprocess")

    limits = Limits(max_rows=deployment.max_rows, max_bytes=deployment.max_bytes)
    plan = Plan(
        name=deployment.name,
        model_name=model.name,
        trainer=model.trainer,
        views=joined,
        request=request,
        features=features,
        inputs=model.inputs,
        outputs=tuple(golden.expected),
        limits=limits,
        model_files=dict(model_files),
        preprocess=preprocess,
        postprocess=postprocess,
    )
    return assemble(
        deployment,
        plan,
        lay_out(plan),
        golden,
        team=team,
        owner=owner,
        model_digest=model_digest,
        code=code,
        run_id=run_id,
        image=model.image,
    )


def assemble(
    deployment: Deployment,
    plan: Plan,
    repository: Repository,
    golden: Golden,
    *,
    team: str,
    owner: str,
    model_digest: str,
    code: CodeRef,
    run_id: str | None,
    image: str | None,
) -> Rendered:
    """The record over the files."""
    golden_bytes = golden.to_bytes()
    blobs = {digest_bytes(data): data for data in (*repository.files.values(), golden_bytes)}
    record = DeploymentRecord(
        team=team,
        name=deployment.name,
        owner=owner,
        model=model_digest,
        model_name=plan.model_name,
        views=tuple(plan.views),
        request=tuple(plan.request),
        outputs=tuple(plan.outputs),
        limits=plan.limits,
        ensemble=repository.ensemble,
        golden_ensemble=repository.golden_ensemble,
        steps=repository.steps,
        files=tuple(file_ref(path, data) for path, data in sorted(repository.files.items())),
        golden=file_ref(GOLDEN_PATH, golden_bytes),
        code=code,
        image=image,
        run_id=run_id,
    )
    return Rendered(record, blobs)


def file_ref(path: str, data: bytes) -> FileRef:
    return FileRef(path=path, digest=digest_bytes(data), size_bytes=len(data))


def feature_columns(views: Sequence[ViewRecord]) -> tuple[FeatureColumn, ...]:
    """Every column of every joined view, in the order of a training batch."""
    return tuple(
        FeatureColumn(feature_column(view.name, column.name), f"{view.team}/{view.name}", column.name, column.encoding)
        for view in views
        for column in RowSchema.from_json(view.row_schema).columns
    )


def request_fields(deployment: Deployment) -> tuple[RequestField, ...]:
    """What a client sends: ids, then request-time fields. Raises Unsupported for what has no tensor."""
    spine = deployment.model.table.spine
    fields = [RequestField(name=key.name, role="key", encoding=key.encoding, nullable=True) for key in key_columns(spine)]
    fields += [RequestField(name=field.name, role="field", encoding=field.type.encoding, nullable=field.nullable) for field in spine.fields]
    for field in fields:
        request_tensor(field.name, field.encoding)
    return tuple(fields)


def check_model(deployment: Deployment, model: ModelRecord, views: Sequence[ViewRecord], *, of: str) -> None:
    """Refuse a model version that was not made from what would serve it."""
    if model.name != deployment.model.name:
        raise Invalid(
            f"{of} serves model {deployment.model.name!r}, and was given a version of {model.name!r}", fix="give that model's record"
        )
    by_ref = {f"{view.team}/{view.name}": view for view in views}
    for feature in model.features:
        view = by_ref.get(feature.view)
        if view is None:
            raise Invalid(f"{of}: the model was trained on view {feature.view!r}, which its table no longer joins", fix="train it again")
        if feature.column not in [column.name for column in RowSchema.from_json(view.row_schema).columns]:
            raise Invalid(f"{of}: the model was trained on {feature.view!r} column {feature.column!r}, which is gone", fix="train it again")
        if feature.view_record != view.address:
            raise Invalid(
                f"{of}: view {feature.view!r} was changed after model {model.name!r} was trained "
                f"(definition now {view.definition[:12]}, record then {feature.view_record[:12]})",
                fix=f"train {model.name!r} again on the changed view, then materialise the deployment",
            )


def golden_rows(sample: pa.Table, columns: Sequence[Column], request: Sequence[RequestField], *, count: int, of: str) -> pa.Table:
    """Rows spread evenly over the sample, without those that no client could send.

    A whole number, a boolean or an instant has no null in a request.
    """
    wanted = sample.select([column.name for column in columns if column.name in sample.column_names])
    for column in columns:
        if column.name not in wanted.column_names:
            raise Invalid(
                f"{of}: the sample of training rows has no column {column.name!r}", fix="pass rows of the model's own training table"
            )
    kinds = {field.name: request_tensor(field.name, field.encoding).type for field in request}
    sendable = np.ones(len(wanted), dtype=bool)
    for name, kind in kinds.items():
        if kind not in ("TYPE_STRING", "TYPE_FP32"):
            sendable &= wanted[name].is_valid().to_numpy(zero_copy_only=False)
    places = np.flatnonzero(sendable)
    if not places.size:
        raise NotFound(
            f"{of}: no row of the training table can be asked: each lacks an id or a field", fix="widen the table, or fill the field"
        )
    return wanted.take(places[np.unique(np.linspace(0, places.size - 1, count).astype(np.int64))])


def ask_offline(
    deployment: Deployment,
    model: ModelRecord,
    model_files: Mapping[str, bytes],
    rows: pa.Table,
    columns: Sequence[Column],
    request: Sequence[RequestField],
    features: Sequence[FeatureColumn],
) -> Golden:
    """The answers that the same code gives in training's environment."""
    batch = to_batch(rows, columns)
    tensors = {field.name: encode_column(request_tensor(field.name, field.encoding), rows[field.name].to_pylist()) for field in request}
    # before the team's function, which may write into the batch
    sent = encode_features(features, {name: values.copy() for name, values in batch.items()}, len(rows))
    _, matrix = to_matrix(deployment.model.preprocess, batch, inputs=model.inputs)
    score = find_trainer(model.trainer).predict(model_files, matrix)
    name = getattr(deployment.postprocess, "__name__", "identity")
    made = {model.output: score} if deployment.postprocess is None else called(deployment.postprocess, "postprocess", score.copy())
    outputs = check_outputs(made, rows=len(rows), function=name)
    return Golden(tensors, sent, {output: values.reshape(-1, 1) for output, values in outputs.items()})
