"""The Triton repository of one deployment, as bytes by path. Step names carry a hash of all they hold.

Steps: `features--<h>`, `preprocess--<h>`, `<model>--<h>`, `postprocess--<h>`. Two ensembles over them:
`<name>--<h>` for clients, and `<name>--<h>--golden`, which leaves the features step out so that its
answers depend on nothing but the files. The public name is not among the files: the agent gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tiffin.core.digests import canonical_json, digest_bytes, digest_json
from tiffin.core.errors import Invalid, Unsupported, nearest
from tiffin.manifests.records import Limits, RequestField, ViewRecord
from tiffin.online.views import OnlineView
from tiffin.serving.config_text import Part, Tensor, ensemble_config, renamed, request_tensor, step_config
from tiffin.serving.runtime_files import library_files
from tiffin.serving.steps.program import INPUTS, SCORE, launcher
from tiffin.serving.steps.team_function import CODE_FOLDER
from tiffin.serving.steps.tensors import MATRIX, FeatureColumn, scalar
from tiffin.serving.team_code import TeamCode
from tiffin.wire.encodings import parse_encoding
from tiffin.wire.schema import RowSchema

__all__ = ["Plan", "Repository", "lay_out"]

HASH_LENGTH = 12
STEPS = "tiffin.serving.steps"
MODEL_STEPS: Mapping[str, tuple[str, str]] = {"lightgbm": (f"{STEPS}.model", "model.txt")}
# git and S3 keep no empty folders, and Triton wants a version folder in every ensemble
PLACEHOLDER = b"An ensemble has no files of its own; Triton wants this folder to exist.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that decides what the repository holds."""

    name: str
    model_name: str
    trainer: str
    views: Sequence[ViewRecord]
    request: Sequence[RequestField]
    features: Sequence[FeatureColumn]
    inputs: Sequence[str]
    outputs: Sequence[str]
    limits: Limits
    model_files: Mapping[str, bytes]
    preprocess: TeamCode
    postprocess: TeamCode | None


@dataclass(frozen=True, slots=True)
class Repository:
    """Files by path, and the names in it."""

    files: dict[str, bytes]
    steps: tuple[str, ...]
    ensemble: str
    golden_ensemble: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step before it has its name."""

    title: str
    config: object
    module: str
    files: Mapping[str, bytes]
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    def named(self, max_rows: int) -> tuple[str, dict[str, bytes]]:
        """Its content-hashed name, and its files below it."""
        version = {"model.py": launcher(self.module), "step.json": canonical_json(self.config), **library_files(self.module), **self.files}
        text = step_config("", max_rows=max_rows, inputs=self.inputs, outputs=self.outputs)
        content = {"config": text, "files": {path: digest_bytes(data) for path, data in version.items()}}
        name = f"{self.title}--{digest_json(content)[:HASH_LENGTH]}"
        files = {f"{name}/config.pbtxt": renamed(text, name).encode()}
        files.update({f"{name}/1/{path}": data for path, data in version.items()})
        return name, files


def lay_out(plan: Plan) -> Repository:
    """Every file of the repository."""
    request = [request_tensor(field.name, field.encoding) for field in plan.request]
    features = feature_tensors(plan.features)
    outputs = [Tensor(name, "TYPE_FP64") for name in plan.outputs]
    inputs, score = [Tensor(INPUTS, "TYPE_FP64", len(plan.inputs))], [Tensor(SCORE, "TYPE_FP64")]
    columns = [asdict(column) for column in plan.features]
    fields = [field.model_dump(mode="json") for field in plan.request]
    program, model_file = model_step(plan)
    steps = [
        Step(
            "features",
            {
                "views": [online_view(view).to_json() for view in plan.views],
                "request": fields,
                "features": columns,
                "max_bytes": plan.limits.max_bytes,
            },
            f"{STEPS}.features",
            {},
            request,
            features,
        ),
        Step(
            "preprocess",
            {"request": fields, "features": columns, "inputs": list(plan.inputs), **code_config(plan.preprocess)},
            f"{STEPS}.preprocess",
            code_files(plan.preprocess),
            [*request, *features],
            inputs,
        ),
        Step(
            plan.model_name,
            {"inputs": list(plan.inputs), "model_file": model_file},
            program,
            {model_file: plan.model_files[model_file]},
            inputs,
            score,
        ),
        Step(
            "postprocess",
            {"outputs": list(plan.outputs), **code_config(plan.postprocess)},
            f"{STEPS}.postprocess",
            code_files(plan.postprocess),
            score,
            outputs,
        ),
    ]
    files: dict[str, bytes] = {}
    parts: list[Part] = []
    for step in steps:
        name, its_files = step.named(plan.limits.max_rows)
        files.update(its_files)
        parts.append(Part(name, [tensor.name for tensor in step.inputs], [tensor.name for tensor in step.outputs]))

    whole = ensemble_config("", max_rows=plan.limits.max_rows, inputs=request, outputs=outputs, parts=parts)
    golden = ensemble_config("", max_rows=plan.limits.max_rows, inputs=[*request, *features], outputs=outputs, parts=parts[1:])
    ensemble = f"{plan.name}--{digest_json([whole, golden])[:HASH_LENGTH]}"
    for name, text in ((ensemble, whole), (f"{ensemble}--golden", golden)):
        files[f"{name}/config.pbtxt"] = renamed(text, name).encode()
        files[f"{name}/1/README"] = PLACEHOLDER
    return Repository(files, tuple(part.model for part in parts), ensemble, f"{ensemble}--golden")


def model_step(plan: Plan) -> tuple[str, str]:
    """The program that scores this trainer's files, and the file it reads."""
    if plan.trainer not in MODEL_STEPS:
        raise Unsupported(f"models of trainer {plan.trainer!r} cannot be served", fix=nearest(plan.trainer, MODEL_STEPS))
    program, model_file = MODEL_STEPS[plan.trainer]
    if model_file not in plan.model_files:
        raise Invalid(f"model {plan.model_name!r} has files {sorted(plan.model_files)}, and {model_file!r} is needed", fix="train it again")
    return program, model_file


def online_view(view: ViewRecord) -> OnlineView:
    """What the features step is told about a view."""
    keys = tuple((key.name, key.type) for key in view.entity.keys)
    return OnlineView(view.team, view.name, keys, RowSchema.from_json(view.row_schema), view.ttl_us)


def feature_tensors(features: Sequence[FeatureColumn]) -> list[Tensor]:
    """What travels from the features step to the preprocess step; see `steps.tensors`."""
    numbers = sum(scalar(column.encoding) for column in features)
    tensors = [Tensor(MATRIX, "TYPE_FP64", numbers)] if numbers else []
    for column in features:
        form = parse_encoding(column.encoding)
        if form.kind == "vec":
            tensors.append(Tensor(f"_{column.name}", "TYPE_FP32", form.size))
        elif form.ragged:
            tensors.append(Tensor(f"_{column.name}", "TYPE_STRING"))
    return tensors


def code_config(code: TeamCode | None) -> dict[str, str | None]:
    """Where a step finds the team's function."""
    return {"module": None, "function": None} if code is None else {"module": code.module, "function": code.function}


def code_files(code: TeamCode | None) -> dict[str, bytes]:
    """The team's module, byte for byte."""
    return {} if code is None else {f"{CODE_FOLDER}/{code.module}.py": code.source}
