"""What a step prints is in the object store while it runs, so that it outlives the step's pod, however that ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from tests import kueue_jobs
from tests.cluster_case import TeamsSpace
from tests.kueue_case import instance_config, prepare_run, work, workers
from tiffin.embedded.seaweed import Seaweed
from tiffin.orchestration.kueue_instance import log_manager


def logs_instance(home: Path, space: TeamsSpace, seaweed: Seaweed, keys: dict[str, str]) -> dg.DagsterInstance:
    """An instance as `cluster_instance` writes it, that uploads more often."""
    config = instance_config(home, space.cluster, space.namespace["a"])
    config["run_launcher"]["config"]["env_vars"] += [f"{name}={value}" for name, value in keys.items()]
    logs: dict[str, Any] = log_manager(bucket="dev", endpoint=seaweed.endpoint, region="us-east-1")
    logs["config"]["upload_interval"] = 1
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump({**config, "compute_logs": logs}))
    return dg.DagsterInstance.from_config(str(home))


def test_a_steps_log_outlives_its_pod(
    teams_space: Callable[..., TeamsSpace], seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, own = teams_space({"a": {"cpu": 1}}), seaweed.keys.dev
    keys = {"AWS_ACCESS_KEY_ID": own.access_key, "AWS_SECRET_ACCESS_KEY": own.secret_key, "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    config = {"execution": kueue_jobs.EXECUTION, "ops": {"gated_once": {"config": {"folder": str(tmp_path), "gate": "never"}}}}

    with logs_instance(tmp_path / "home", space, seaweed, keys) as instance, workers(1) as pool:
        made = prepare_run(kueue_jobs.one_gated_once, instance, config=config)
        run = pool.submit(work, "one_gated_once", str(tmp_path / "home"), made.run_id)
        space.cluster.until("the log is in the store", lambda: "standing at the gate" in printed(instance))
        space.cluster.kubectl("delete", "jobs", "--all", "-n", space.namespace["a"])
        space.cluster.until("the pod is gone", lambda: not space.cluster.items("pods", "-n", space.namespace["a"]))
        ended = run.result()

        assert not ended.success
        assert "standing at the gate" in printed(instance)


def printed(instance: dg.DagsterInstance) -> str:
    """Whatever steps of the newest run have printed, as the UI reads it."""
    runs = instance.get_runs(limit=1)
    found = []
    for entry in instance.all_logs(runs[0].run_id) if runs else ():
        event = entry.dagster_event
        if event is not None and event.event_type is dg.DagsterEventType.LOGS_CAPTURED:
            data: Any = event.event_specific_data
            key = [runs[0].run_id, "compute_logs", data.file_key]
            found.append(instance.compute_log_manager.get_log_data(key).stdout or b"")
    return b"".join(found).decode()
