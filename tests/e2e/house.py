"""The whole house of the README, driven from outside: its CLI, Dagster's GraphQL, Triton's gRPC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tritonclient.grpc as grpc

from tiffin.core.settings import Settings
from tiffin.embedded import stack

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
AS_OF = "2013-12-31T00:00:00Z"
NUMBERS = {
    "distance": ("INT16", np.int16),
    "sched_dep_minute": ("INT16", np.int16),
    "month": ("INT8", np.int8),
    "weekday": ("INT8", np.int8),
}
KEYS = ("carrier", "origin", "dest", "tailnum")
OUTPUTS = {"eta": "arr_delay", "late": "late"}
VIEWS = {
    "network": ("airport_weather", "airport_traffic", "airport_hours", "route_delays", "route_carriers"),
    "fleet": ("carrier_delays", "carrier_profile", "plane_days", "planes"),
}
# of the daily views all partitions; of the hourly one as many hours, and those that a story asks about
LATEST = "365"
JUNE_HOURS = ("2013-06-09-12:00", "2013-06-12-12:00")


@dataclass(frozen=True)
class House:
    """A running stack in a home of its own."""

    home: Path

    @property
    def settings(self) -> Settings:
        return stack.load(self.home).settings()

    @property
    def dagster(self) -> str:
        return stack.load(self.home).urls()["dagster_ui"]

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of the checkout against this home; its output is shown when it fails."""
        env = {**os.environ, "TIFFIN_HOME": str(self.home)}
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        assert not check or done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def tiffin(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(BIN / "tiffin", *arguments, check=check)

    def graphql(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.dagster}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            reply = json.load(answer)
        assert "errors" not in reply, reply
        return reply["data"]

    def materialise(
        self,
        team: str,
        assets: list[str],
        *,
        config: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        patience_s: float = 240,
    ) -> str:
        """Launch one run over some assets of a team and wait for it; returns the run's id."""
        entry = next(node["repository"] for node in self.graphql(NODES)["assetNodes"] if node["assetKey"]["path"] == [team, assets[0]])
        params = {
            "selector": {
                "repositoryLocationName": entry["location"]["name"],
                "repositoryName": entry["name"],
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": [team, name]} for name in assets],
            },
            "runConfigData": config or {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        launched = self.graphql(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = str(launched["run"]["runId"])
        end = time.monotonic() + patience_s
        while (status := self.graphql(STATUS, run=run)["runOrError"]["status"]) not in ("SUCCESS", "FAILURE", "CANCELED"):
            assert time.monotonic() < end, f"run {run} is still {status}"
            time.sleep(0.3)
        assert status == "SUCCESS", f"run {run} ended as {status}"
        return run

    def publish_as_of(self, instant: str) -> None:
        """Publish every view as of an instant."""
        for team, views in VIEWS.items():
            names = [f"{view}_online" for view in views]
            ops = {f"{team}__{name}": {"config": {"as_of": instant}} for name in names}
            self.materialise(team, names, config={"ops": ops})


NODES = "{ assetNodes { assetKey { path } repository { name location { name } } } }"
LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
STATUS = "query Status($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


@contextmanager
def filled(home: Path) -> Iterator[House]:
    """A house that is up and holds the newest partitions of all teams; taken down by pid."""
    house = House(home)
    try:
        house.tiffin("up", "--as-of", AS_OF)
        house.run(BIN / "python", "scripts/materialise.py", "--home", house.home, "--latest", LATEST)
        yield house
    finally:
        house.tiffin("down", check=False)


def ask(client: grpc.InferenceServerClient, rows: pa.Table, endpoint: str = "eta") -> np.ndarray:
    """An endpoint's `(rows,)` float64 answer to ids and request-time fields alone."""
    inputs = []
    for name in (*KEYS, *NUMBERS):
        kind, dtype = NUMBERS.get(name, ("BYTES", object))
        values = rows[name].to_pylist()
        # an unknown plane has no tail number: the single byte 0 is null
        data = np.array([b"\x00" if value is None else value.encode() for value in values] if dtype is object else values, dtype)
        tensor = grpc.InferInput(name, [len(values), 1], kind)
        tensor.set_data_from_numpy(data.reshape(-1, 1))
        inputs.append(tensor)
    return np.asarray(client.infer(endpoint, inputs).as_numpy(OUTPUTS[endpoint])).reshape(-1)
