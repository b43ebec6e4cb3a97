"""`config.pbtxt` files as Triton gets them: small golden files, one per kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.core.errors import Unsupported
from tiffin.serving.config_text import Part, Tensor, ensemble_config, renamed, request_tensor, step_config

GOLDEN = Path(__file__).parents[2] / "golden" / "serving"


def test_a_step_renders_as_its_golden_file() -> None:
    text = step_config(
        "preprocess--00112233aabb",
        max_rows=5000,
        inputs=[Tensor("carrier", "TYPE_STRING"), Tensor("_features", "TYPE_FP64", 14)],
        outputs=[Tensor("_inputs", "TYPE_FP64", 3)],
    )

    assert text == (GOLDEN / "step.pbtxt").read_text()


def test_an_ensemble_renders_as_its_golden_file() -> None:
    text = ensemble_config(
        "eta--00112233aabb",
        max_rows=5000,
        inputs=[Tensor("carrier", "TYPE_STRING"), Tensor("distance", "TYPE_INT16")],
        outputs=[Tensor("arr_delay", "TYPE_FP64")],
        parts=[
            Part("features--0a", ["carrier", "distance"], ["_features"]),
            Part("preprocess--0b", ["carrier", "distance", "_features"], ["_inputs"]),
            Part("eta_model--0c", ["_inputs"], ["_score"]),
            Part("postprocess--0d", ["_score"], ["arr_delay"]),
        ],
    )

    assert text == (GOLDEN / "ensemble.pbtxt").read_text()


def test_a_public_name_is_the_same_model_under_another_name() -> None:
    text = (GOLDEN / "ensemble.pbtxt").read_text()

    assert renamed(text, "eta").splitlines()[1:] == text.splitlines()[1:]
    assert renamed(text, "eta").startswith('name: "eta"\n')


@pytest.mark.parametrize(
    ("encoding", "kind", "width"),
    [
        ("i8", "TYPE_INT8", 1),
        ("i16", "TYPE_INT16", 1),
        ("i32", "TYPE_INT32", 1),
        ("i64", "TYPE_INT64", 1),
        ("ts", "TYPE_INT64", 1),
        ("bool", "TYPE_BOOL", 1),
        ("f16", "TYPE_FP32", 1),
        ("f32", "TYPE_FP32", 1),
        ("step:0.01:i32", "TYPE_FP32", 1),
        ("str:20", "TYPE_STRING", 1),
        ("vec:3:i8", "TYPE_FP32", 3),
    ],
)
def test_an_encoding_has_one_tensor_type(encoding: str, kind: str, width: int) -> None:
    assert request_tensor("x", encoding) == Tensor("x", kind, width)


def test_a_list_of_differing_length_cannot_be_sent() -> None:
    with pytest.raises(Unsupported, match="request field 'tags'"):
        request_tensor("tags", "ints:9")
