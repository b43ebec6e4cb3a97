"""A pod on the process node, before anything runs: what an agent that starts anew concludes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.devcluster.certificates import make_certificates
from deploy.devcluster.home import Home
from deploy.devcluster.node_api import Api
from deploy.devcluster.node_pods import Pod


def found(tmp_path: Path, *, phase: str, policy: str, log: bool) -> Pod:
    make_certificates(tmp_path / "pki")
    metadata = {"name": "p", "namespace": "n", "uid": "u"}
    given: dict[str, Any] = {
        "metadata": metadata,
        "spec": {"restartPolicy": policy, "containers": [{"name": "main"}]},
        "status": {"phase": phase},
    }
    made = Pod(given, Api(Home(tmp_path), 1), tmp_path / "pods", {})
    if log:
        made.folder.mkdir(parents=True)
        (made.folder / "main.log").touch()
    return made


@pytest.mark.parametrize(
    ("phase", "policy", "log", "lost"),
    [
        pytest.param("Running", "Never", True, True, id="it ran"),
        # the agent died between starting it and telling so
        pytest.param("Pending", "Never", True, True, id="it ran and nobody was told"),
        pytest.param("Pending", "Never", False, False, id="it is new"),
        pytest.param("Running", "OnFailure", True, False, id="it restarts"),
    ],
)
def test_a_pod_that_never_restarts_does_not_run_twice(tmp_path: Path, phase: str, policy: str, log: bool, lost: bool) -> None:
    assert found(tmp_path, phase=phase, policy=policy, log=log).ran_before() is lost
