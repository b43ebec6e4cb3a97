"""Triton and its environment: built once, started for certain, gone without a trace."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.serving_case import make_case
from tests.serving_stage import environment
from tiffin.core.errors import NotFound, NotReady
from tiffin.embedded.serving_env import checkout, serving_python
from tiffin.embedded.triton import SHM, TritonServer, start_triton
from tiffin.serving.triton import Triton

HEAVY = {"pandas", "pyarrow", "pydantic", "dagster", "boto3", "botocore", "sklearn", "scipy", "lightgbm", "tritonclient", "deltalake"}
# what the stub gives to a step, as far as importing goes
STUB = "import sys, types; sys.modules['triton_python_backend_utils'] = types.ModuleType('triton_python_backend_utils')"


def imported(folder: Path, step: str) -> set[str]:
    """Top-level modules after a step's `model.py` was imported in the serving environment."""
    rendered = make_case().render()
    name = next(one for one in rendered.record.steps if one.startswith(f"{step}--"))
    for file in rendered.record.files:
        if file.path.startswith(name):
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rendered.blobs[file.digest])
    code = f"{STUB}; sys.path.insert(0, {str(folder / name / '1')!r}); import model, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([environment(), "-I", "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return {module.partition(".")[0] for module in json.loads(done.stdout)}


@pytest.mark.parametrize("step", ["features", "preprocess", "postprocess"])
def test_a_step_loads_nothing_heavier_than_numpy_and_the_redis_client(tmp_path: Path, step: str) -> None:
    assert imported(tmp_path, step) & HEAVY == set()


def test_the_model_step_loads_no_scikit_learn(tmp_path: Path) -> None:
    modules = imported(tmp_path, "eta_model")

    assert "lightgbm" in modules
    assert modules & {"sklearn", "pandas", "pyarrow", "pydantic", "dagster", "redis"} == set()


def test_the_environment_is_built_once_per_lock_file_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []

    first = serving_python(tmp_path, say=said.append)
    again = serving_python(tmp_path, say=said.append)

    assert first == again
    assert len(said) == 1
    assert "filling the cache" in said[0]
    versions = subprocess.run(
        [first, "-c", "import numpy, lightgbm, redis, hiredis; print(numpy.__version__)"], capture_output=True, text=True, check=True
    )
    assert versions.stdout.startswith("1.")


def test_an_abandoned_build_is_done_again(tmp_path: Path) -> None:
    python = serving_python(tmp_path)
    (python.parent.parent / "complete").unlink()
    python.unlink()

    assert serving_python(tmp_path).exists()


def test_a_build_that_fails_says_what_uv_said(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "uv.lock").write_text("not a lock file")
    (project / "pyproject.toml").write_bytes((checkout() / "pyproject.toml").read_bytes())

    with pytest.raises(NotReady, match=r"uv\.lock"):
        serving_python(tmp_path / "cache", project=project)


def test_a_folder_that_is_no_serving_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no nvidia-pytriton"):
        start_triton(tmp_path / "serving", tmp_path)


@pytest.mark.parametrize("killed", [False, True], ids=["asked to stop", "killed before"])
def test_a_stopped_server_leaves_no_process_and_no_shared_memory(tmp_path: Path, killed: bool) -> None:
    server = start_triton(tmp_path / "serving", environment())
    rebuilt = TritonServer(**json.loads(json.dumps(server.to_json())))
    assert rebuilt.alive()
    if killed:
        os.kill(server.pid, 9)

    rebuilt.stop()
    rebuilt.stop()

    assert not server.alive()
    assert list(SHM.glob(f"{server.shm_prefix}*")) == []
    assert not Triton(server.grpc, timeout_s=1).live()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = start_triton(tmp_path / "one", environment())
    try:
        with pytest.raises(NotReady, match=r"tritonserver ended at once; it said: .*in use"):
            start_triton(tmp_path / "two", environment(), ports=server.ports, timeout_s=20)
    finally:
        server.stop()
