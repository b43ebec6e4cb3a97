"""`config.pbtxt` as text: equal settings give equal bytes, so a step's name can be a hash of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiffin.core.errors import Unsupported
from tiffin.wire.encodings import parse_encoding

__all__ = ["Part", "Tensor", "ensemble_config", "renamed", "request_tensor", "step_config"]

TYPES = {"i8": "TYPE_INT8", "i16": "TYPE_INT16", "i32": "TYPE_INT32", "i64": "TYPE_INT64", "ts": "TYPE_INT64", "bool": "TYPE_BOOL"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a model; `width` is its second dimension, after the rows."""

    name: str
    type: str
    width: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """A step of an ensemble: which tensors it takes and makes. Names are the same inside and outside."""

    model: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def request_tensor(name: str, encoding: str) -> Tensor:
    """How a client sends an id or a request-time field.

    Raises:
        Unsupported: lists of differing length have no tensor.
    """
    form = parse_encoding(encoding)
    if form.kind == "ints":
        raise Unsupported(f"request field {name!r} is a list of whole numbers, which cannot be sent", fix="use a Vector or a String")
    if form.kind == "str":
        return Tensor(name, "TYPE_STRING")
    if form.kind == "vec":
        return Tensor(name, "TYPE_FP32", form.size)
    return Tensor(name, TYPES.get(encoding, "TYPE_FP32"))


def step_config(name: str, *, max_rows: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """A Python step on the CPU: one process, one request at a time."""
    lines = [f'name: "{name}"', 'backend: "python"', f"max_batch_size: {max_rows}"]
    lines += [tensor_text("input", tensor) for tensor in inputs]
    lines += [tensor_text("output", tensor) for tensor in outputs]
    lines.append("instance_group [ { kind: KIND_CPU count: 1 } ]")
    return "\n".join(lines) + "\n"


def ensemble_config(name: str, *, max_rows: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor], parts: Sequence[Part]) -> str:
    """Steps in a row, each pinned to version 1: a content-hashed name has no second version."""
    lines = [f'name: "{name}"', 'platform: "ensemble"', f"max_batch_size: {max_rows}"]
    lines += [tensor_text("input", tensor) for tensor in inputs]
    lines += [tensor_text("output", tensor) for tensor in outputs]
    lines.append("ensemble_scheduling {")
    for part in parts:
        lines += ["  step {", f'    model_name: "{part.model}"', "    model_version: 1"]
        lines += [f'    input_map {{ key: "{tensor}" value: "{tensor}" }}' for tensor in part.inputs]
        lines += [f'    output_map {{ key: "{tensor}" value: "{tensor}" }}' for tensor in part.outputs]
        lines.append("  }")
    lines.append("}")
    return "\n".join(lines) + "\n"


def renamed(config: str, name: str) -> str:
    """The same model under another name: what makes a public name of a checked ensemble."""
    first, newline, rest = config.partition("\n")
    assert first.startswith("name: ")
    return f'name: "{name}"{newline}{rest}'


def tensor_text(role: str, tensor: Tensor) -> str:
    """One `input` or `output` block."""
    return f'{role} [ {{ name: "{tensor.name}" data_type: {tensor.type} dims: [ {tensor.width} ] }} ]'
