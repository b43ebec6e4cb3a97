"""The agent as its own process beside Triton, on a real bucket with a read-only key: asked over HTTP, killed, started again."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving_case import make_case
from tests.serving_stage import Stage, open_stage
from tiffin.embedded.processes import free_port
from tiffin.embedded.seaweed import Seaweed, start_seaweed
from tiffin.serving.agent import main
from tiffin.storage.s3 import S3Store


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("process")) as stage:
        yield stage


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    server = start_seaweed(tmp_path_factory.mktemp("seaweed"))
    yield server
    server.stop()


class Process:
    """`python -m tiffin.serving.agent`."""

    def __init__(self, stage: Stage, seaweed: Seaweed, folder: Path) -> None:
        self.port = free_port()
        keys = seaweed.keys.prod_read
        self.log = folder / "agent.log"
        command = [sys.executable, "-m", "tiffin.serving.agent", "--folder", str(stage.folder / "serving")]
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [*command, "--triton-grpc", stage.triton.grpc, "--http-port", str(self.port), "--every-s", "0.2"],
                stdout=log,
                stderr=log,
                env={
                    "TIFFIN_S3_ENDPOINT": seaweed.endpoint,
                    "TIFFIN_PROD_READ_ACCESS_KEY": keys.access_key,
                    "TIFFIN_PROD_READ_SECRET_KEY": keys.secret_key,
                    "TIFFIN_SIGNING_PUBLIC_KEY": stage.signer.public_hex,
                    "TIFFIN_ONLINE_URL": stage.valkey.publisher,
                    "TIFFIN_ONLINE_READER_URL": stage.valkey.reader,
                },
            )

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def until(self, path: str, done: Callable[[int, dict[str, Any]], bool], *, limit_s: float = 90) -> dict[str, Any]:
        end, found = time.monotonic() + limit_s, (0, {"error": "no answer"})
        while time.monotonic() < end:
            try:
                found = self.get(path)
            except OSError:
                assert self.child.poll() is None, self.log.read_text()
            if done(*found):
                return found[1]
            time.sleep(0.1)
        raise AssertionError(f"{path}: {found}; {self.log.read_text()[-3000:]}")

    def end(self, *, kill: bool = False) -> int:
        self.child.kill() if kill else self.child.terminate()
        return self.child.wait(20)


def copy_to_bucket(stage: Stage, bucket: S3Store) -> None:
    """All of the folder bucket, pointers last."""
    for key in sorted(stage.prod.list(""), key=lambda key: key.startswith("pointers/")):
        bucket.put(key, stage.prod.get(key).data)


def test_the_process_follows_a_bucket_and_survives_the_bucket_and_itself(stage: Stage, seaweed: Seaweed, tmp_path: Path) -> None:
    case = make_case()
    write = seaweed.keys.prod_write
    bucket = S3Store("prod", seaweed.endpoint, write.access_key, write.secret_key)
    agent = Process(stage, seaweed, tmp_path)
    try:
        agent.until("/ready", lambda code, body: code == 200 and body["ready"])
        tables = stage.publish_views(1, case.views)
        digest = stage.ship(case)
        copy_to_bucket(stage, bucket)
        status = agent.until("/status", lambda code, body: body.get("deployments", {}).get("eta/eta", {}).get("manifest") == digest)
        rows = stage.rows(41, 5, tables)
        assert status["deployments"]["eta/eta"]["reason"] is None
        assert stage.ask(rows) == stage.expect(case, rows)

        assert agent.get("/nonsense")[0] == 404
        assert agent.end() == 0
        seaweed.stop()
        stage.restart_triton()
        agent = Process(stage, seaweed, tmp_path)
        agent.until("/ready", lambda code, body: code == 200)
        assert stage.ask(rows) == stage.expect(case, rows)

        stage.triton.stop(grace_s=1)
        found = agent.until("/ready", lambda code, body: code == 503)
        assert "eta/eta" in found["reasons"][0]
    finally:
        agent.end(kill=True)

    log = agent.log.read_text()
    assert "the object store cannot be read" in log
    assert "redis://" not in log


def test_settings_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIFFIN_S3_ENDPOINT", raising=False)

    with pytest.raises(ValueError, match="setting TIFFIN_S3_ENDPOINT is not set"):
        main(["--folder", str(tmp_path), "--triton-grpc", "127.0.0.1:1", "--http-port", "0"])
