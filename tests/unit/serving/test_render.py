"""A deployment rendered: complete, deterministic, content-hashed, and refused where its parts do not fit."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.serving_case import Case, make_case, view_records
from tests.serving_other import double
from tests.serving_prepare import clip
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Invalid, NotFound, PlatformError
from tiffin.serving.golden import Golden
from tiffin.serving.render import Rendered
from tiffin.serving.repository import check_shape


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def rendered(case: Case) -> Rendered:
    return case.render()


def titles(rendered: Rendered) -> dict[str, str]:
    """Hash by step title."""
    return {step.partition("--")[0]: step.partition("--")[2] for step in rendered.record.steps}


def test_every_file_of_the_record_is_there_under_its_digest(rendered: Rendered) -> None:
    for file in (*rendered.record.files, rendered.record.golden):
        assert digest_bytes(rendered.blobs[file.digest]) == file.digest
        assert len(rendered.blobs[file.digest]) == file.size_bytes
    assert len(rendered.blobs) == len({file.digest for file in (*rendered.record.files, rendered.record.golden)})


def test_the_record_has_a_shape_that_the_agent_accepts(rendered: Rendered) -> None:
    folders: dict[str, dict[str, bytes]] = {}
    for file in rendered.record.files:
        model, _, inside = file.path.partition("/")
        folders.setdefault(model, {})[inside] = rendered.blobs[file.digest]

    check_shape(rendered.record, folders, of="deployment 'eta/eta'")


def test_steps_are_the_four_of_the_design_and_an_ensemble_leaves_out_the_features_step_for_golden_rows(rendered: Rendered) -> None:
    record = rendered.record
    texts = {file.path: rendered.blobs[file.digest].decode() for file in record.files if file.path.endswith("config.pbtxt")}

    assert list(titles(rendered)) == ["features", "preprocess", "eta_model", "postprocess"]
    assert record.golden_ensemble == f"{record.ensemble}--golden"
    assert all(f'model_name: "{step}"' in texts[f"{record.ensemble}/config.pbtxt"] for step in record.steps)
    assert record.steps[0] not in texts[f"{record.golden_ensemble}/config.pbtxt"]
    assert [(field.name, field.role) for field in record.request] == [
        ("carrier", "key"),
        ("origin", "key"),
        ("distance", "field"),
        ("wind", "field"),
        ("note", "field"),
    ]
    assert record.outputs == ("delay", "risk")


def test_rendering_twice_gives_the_same_bytes(case: Case, rendered: Rendered) -> None:
    again = case.render()

    assert again.record == rendered.record
    assert again.blobs == rendered.blobs


def test_only_the_steps_that_changed_get_another_name(case: Case, rendered: Rendered) -> None:
    other = case.render(deployment=case.deployment.with_changes(postprocess=double))
    before, after = titles(rendered), titles(other)

    assert {title for title in before if before[title] != after[title]} == {"postprocess"}
    assert other.record.ensemble != rendered.record.ensemble


def test_limits_are_part_of_the_content(case: Case, rendered: Rendered) -> None:
    fewer = case.render(deployment=case.deployment.with_changes(max_rows=10))
    smaller = case.render(deployment=case.deployment.with_changes(max_bytes=2000))

    assert all(titles(fewer)[title] != titles(rendered)[title] for title in titles(rendered))
    assert {title for title, name in titles(smaller).items() if name != titles(rendered)[title]} == {"features"}


def test_golden_rows_hold_what_the_offline_code_answers(case: Case, rendered: Rendered) -> None:
    golden = Golden.from_bytes(rendered.blobs[rendered.record.golden.digest], name="golden.json")
    places = np.unique(np.linspace(0, len(case.rows) - 1, 16).astype(np.int64))
    answers = {name: values.reshape(-1, 1) for name, values in case.offline(case.rows.take(places)).items()}

    golden.check(answers, of="deployment 'eta/eta'")
    assert golden.rows == 16


def test_golden_rows_are_never_more_than_a_request_may_hold(case: Case) -> None:
    rendered = case.render(deployment=case.deployment.with_changes(max_rows=3))

    assert Golden.from_bytes(rendered.blobs[rendered.record.golden.digest], name="golden.json").rows == 3


def test_without_postprocess_the_endpoint_answers_the_score_under_the_labels_name(case: Case) -> None:
    rendered = case.render(deployment=case.deployment.with_changes(postprocess=None))
    step = next(file for file in rendered.record.files if file.path.endswith("step.json") and file.path.startswith("postprocess--"))

    assert rendered.record.outputs == ("arr_delay",)
    assert json.loads(rendered.blobs[step.digest]) == {"function": None, "module": None, "outputs": ["arr_delay"]}


def test_rows_that_no_client_could_send_are_not_taken_as_golden(case: Case) -> None:
    distance = case.rows["distance"].to_pylist()
    holes = pa.array([None if place % 2 else value for place, value in enumerate(distance)], pa.int16())
    sample = case.rows.set_column(case.rows.column_names.index("distance"), "distance", holes)

    golden = case.render(sample=sample)
    nothing = case.rows.set_column(case.rows.column_names.index("distance"), "distance", pa.nulls(len(case.rows), pa.int16()))

    assert Golden.from_bytes(golden.blobs[golden.record.golden.digest], name="g").rows == 16
    with pytest.raises(PlatformError, match=r"distance|no row of the training table"):
        case.render(sample=nothing)


def output_named_like_a_field(scores: np.ndarray) -> dict[str, np.ndarray]:
    return {"distance": scores}


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        pytest.param({"views": view_records()[:1]}, "'eta/places' is not in the catalog", "", id="a view is missing"),
        pytest.param(
            {"views": (view_records()[0].model_copy(update={"definition": "f" * 64}), view_records()[1])},
            "view 'eta/delays' was changed after model 'eta_model' was trained",
            "train 'eta_model' again",
            id="a view changed since training",
        ),
    ],
)
def test_views_that_are_not_those_of_training_are_refused(case: Case, changes: dict[str, object], message: str, fix: str) -> None:
    with pytest.raises(PlatformError) as refused:
        case.render(**changes)

    assert message in refused.value.message
    assert fix in refused.value.fix


def test_another_models_version_is_refused(case: Case) -> None:
    with pytest.raises(Invalid, match="serves model 'eta_model', and was given a version of 'other'"):
        case.render(model=case.model.model_copy(update={"name": "other"}))


def test_a_preprocess_that_changed_since_training_is_refused(case: Case) -> None:
    with pytest.raises(Invalid, match=r"module of preprocess 'prepare' \(.*serving_prepare\.py:\d+\) was changed") as refused:
        case.render(model=case.model.model_copy(update={"preprocess": "f" * 64}))

    assert "train 'eta_model' again" in refused.value.fix


def test_a_trainer_without_a_program_is_refused(case: Case) -> None:
    with pytest.raises(NotFound, match="no trainer 'xgboost'"):
        case.render(model=case.model.model_copy(update={"trainer": "xgboost"}))


def test_a_sample_without_a_column_is_refused_by_name(case: Case) -> None:
    with pytest.raises(Invalid, match="the sample of training rows has no column 'delays__flights'"):
        case.render(sample=case.rows.drop_columns(["delays__flights"]))


def test_team_code_that_the_server_does_not_allow_is_refused_with_the_deployments_name(case: Case) -> None:
    with pytest.raises(Invalid, match=r"deployment 'eta': postprocess .*test_render.py") as refused:
        case.render(deployment=case.deployment.with_changes(postprocess=output_named_like_a_field))

    assert "fix" not in refused.value.message


def test_the_team_module_travels_byte_for_byte(rendered: Rendered) -> None:
    with open(clip.__code__.co_filename, "rb") as file:
        source = file.read()

    shipped = {file.path.rpartition("/")[2]: rendered.blobs[file.digest] for file in rendered.record.files if "/team/" in file.path}

    assert shipped == {"serving_prepare.py": source}
