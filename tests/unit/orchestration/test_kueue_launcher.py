"""The launcher in a process that has no key to the cluster: a code server, a step."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import kubernetes.client
import pytest
from dagster._core.launcher.base import LaunchRunContext
from kubernetes.config.config_exception import ConfigException

from tiffin.core.errors import Denied
from tiffin.orchestration.kueue_instance import run_monitoring
from tiffin.orchestration.kueue_launcher import KueueRunLauncher

CONFIG = {"service_account_name": "run-worker", "instance_config_map": "dagster-instance", "job_image": "none"}


@pytest.fixture(params=[True, False], ids=["in a pod", "by KUBECONFIG"])
def instance(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """As every process of a deployment builds it, run monitoring included."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "nothing"))
    launcher = {
        "module": "tiffin.orchestration.kueue_launcher",
        "class": "KueueRunLauncher",
        "config": {**CONFIG, "dagster_home": str(tmp_path), "load_incluster_config": request.param},
    }
    settings = {"telemetry": {"enabled": False}, "run_launcher": launcher, "run_monitoring": run_monitoring(poll_s=30)}
    (tmp_path / "dagster.yaml").write_text(json.dumps(settings))
    return dg.DagsterInstance.from_config(str(tmp_path))


def test_a_process_without_a_key_has_an_instance_and_launches_nothing(instance: dg.DagsterInstance) -> None:
    with instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, KueueRunLauncher)
        assert kubernetes.client.Configuration.get_default_copy().host != "https://no-key.invalid"
        run = instance.create_run_for_job(dg.GraphDefinition(name="j", node_defs=[]).to_job())

        with pytest.raises(Denied, match="no key to the cluster"):
            launcher.launch_run(LaunchRunContext(run, workspace=None))
        with pytest.raises(Denied, match="no key to the cluster"):
            launcher.terminate(run.run_id)
        with pytest.raises(Denied, match="no key to the cluster"):
            _ = launcher.cluster
        after = instance.get_run_by_id(run.run_id)
        assert after is not None
        assert after.status is dg.DagsterRunStatus.NOT_STARTED


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigException):
        KueueRunLauncher(**CONFIG, dagster_home=str(tmp_path), load_incluster_config=False, kubeconfig_file=str(tmp_path / "nothing"))
