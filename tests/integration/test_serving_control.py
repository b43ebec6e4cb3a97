"""What Triton serves is changed by the holder of its key alone: asked of a real server, over both of its protocols."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as vendor
from tritonclient.utils import InferenceServerException

from tests.serving_stage import environment
from tiffin.core.errors import Denied, NotFound
from tiffin.embedded.secret_files import write_private
from tiffin.embedded.triton import PROBE_CONFIG, PROBE_MODEL, TritonServer, start_triton
from tiffin.serving.client import predict
from tiffin.serving.triton import CONTROL_HEADER, Triton

NAME = "served"
CONFIG = {**PROBE_CONFIG, "name": NAME}
# the question comes back a thousandfold instead of twofold
REPLACEMENT = PROBE_MODEL.replace(b"x * 2", b"x * 1000")
QUESTION = {"x": np.array([1.5, -2.0])}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    server = start_triton(tmp_path_factory.mktemp("control") / "serving", environment())
    try:
        agent = Triton(server.grpc, control_key=server.control_key)
        agent.load(NAME, config=CONFIG, files={"1/model.py": PROBE_MODEL})
        agent.close()
        yield server
    finally:
        server.stop()


def answer(server: TritonServer) -> list[float]:
    client = Triton(server.grpc)
    found: list[float] = client.infer(NAME, QUESTION)["y"].tolist()
    client.close()
    return found


def post(server: TritonServer, path: str, body: dict[str, Any], **headers: str) -> int:
    """The status of a request to the HTTP endpoint."""
    url = f"http://127.0.0.1:{server.http_port}/v2/{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as err:
        return err.code


@pytest.mark.parametrize("known", [None, "", "x" * 43], ids=["no key", "an empty key", "a wrong key"])
def test_without_the_key_nobody_loads_or_unloads_and_the_served_model_answers_on(
    server: TritonServer, tmp_path: Path, known: str | None
) -> None:
    key = None if known is None else write_private(tmp_path / "control.key", known)
    stranger = Triton(server.grpc, control_key=key)

    for attempt in (
        lambda: stranger.load(NAME, config=CONFIG, files={"1/model.py": REPLACEMENT}),
        lambda: stranger.load("new", config={**CONFIG, "name": "new"}, files={"1/model.py": REPLACEMENT}),
        lambda: stranger.unload(NAME),
        stranger.index,
    ):
        with pytest.raises(Denied, match="restricted") as refused:
            attempt()
        assert "serving agent" in refused.value.fix

    assert answer(server) == [3.0, -4.0]
    assert stranger.answering() == [NAME]


@pytest.mark.parametrize("known", [{}, {CONTROL_HEADER: "x" * 43}], ids=["no key", "a wrong key"])
def test_the_http_endpoint_answers_questions_and_changes_nothing(server: TritonServer, known: dict[str, str]) -> None:
    override = {"config": json.dumps(CONFIG), "file:1/model.py": base64.b64encode(REPLACEMENT).decode()}
    asked = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [2], "data": [1.5, -2.0]}]}

    assert post(server, f"repository/models/{NAME}/load", {"parameters": override}, **known) == 403
    assert post(server, f"repository/models/{NAME}/unload", {}, **known) == 403
    assert post(server, "repository/index", {}, **known) == 403
    assert post(server, "systemsharedmemory/region/mine/register", {"key": "/mine", "offset": 0, "byte_size": 8}, **known) == 403
    assert post(server, "trace/setting", {"trace_level": ["TIMESTAMPS"]}, **known) == 403
    assert post(server, "logging", {"log_verbose_level": 1}, **known) == 403

    assert post(server, f"models/{NAME}/infer", asked) == 200
    assert answer(server) == [3.0, -4.0]


def test_nobody_registers_shared_memory_or_redirects_traces_and_logs_over_grpc(server: TritonServer) -> None:
    with vendor.InferenceServerClient(server.grpc) as client:
        for attempt in (
            lambda: client.register_system_shared_memory("mine", "/mine", 8),
            lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
            lambda: client.update_log_settings({"log_verbose_level": 1}),
        ):
            with pytest.raises(InferenceServerException, match="restricted"):
                attempt()


def test_the_key_is_in_a_private_file_and_nowhere_else_that_a_step_could_look(server: TritonServer) -> None:
    key = server.control_key.read_text()
    process = psutil.Process(server.pid)
    stubs = process.children(recursive=True)

    assert len(key) > 40
    assert server.control_key.stat().st_mode & 0o077 == 0
    assert stubs
    assert key not in " ".join(word for one in (process, *stubs) for word in one.cmdline())
    assert not any(key in str(stub.environ()) for stub in stubs)
    assert key not in json.dumps(server.to_json())
    assert key not in Path(server.log).read_text()


def test_a_server_that_starts_again_has_another_key_and_its_agent_finds_it(tmp_path: Path) -> None:
    first = start_triton(tmp_path / "serving", environment())
    before = first.control_key.read_text()
    agent = Triton(first.grpc, control_key=first.control_key)
    first.stop(grace_s=1)

    second = start_triton(tmp_path / "serving", environment(), ports=first.ports)
    try:
        agent.load(NAME, config=CONFIG, files={"1/model.py": PROBE_MODEL})

        assert second.control_key.read_text() != before
        assert answer(second) == [3.0, -4.0]
    finally:
        agent.close()
        second.stop()


def test_a_client_without_the_key_is_told_the_nearest_endpoint(server: TritonServer) -> None:
    with pytest.raises(NotFound, match="no endpoint 'servd'") as refused:
        predict(server.grpc, "servd", {})

    assert refused.value.fix == f"did you mean {NAME!r}?"
