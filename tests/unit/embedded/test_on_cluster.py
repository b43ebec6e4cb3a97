"""A stack whose runs go to a cluster: who is told what, and what is hidden from whom."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance

from tiffin.core.errors import Invalid, NotFound
from tiffin.core.settings import Settings
from tiffin.embedded import on_cluster
from tiffin.embedded.dagster_server import write_instance
from tiffin.embedded.stack import renew
from tiffin.embedded.state import StackState

SETTINGS = Settings.from_environment(
    {
        "TIFFIN_S3_ENDPOINT": "http://127.0.0.1:8333",
        "TIFFIN_DEV_ACCESS_KEY": "dev",
        "TIFFIN_DEV_SECRET_KEY": "dev-secret",
        "TIFFIN_CLUSTER": "/home/me/.kube/config",
    }
)


def test_a_pod_is_told_the_settings_and_the_dev_key_and_never_the_stacks_kubeconfig() -> None:
    told = on_cluster.pod_environment(SETTINGS)

    assert Settings.from_environment(told) == SETTINGS.model_copy(update={"cluster": "in-cluster"})
    assert told["AWS_ACCESS_KEY_ID"] == "dev"
    assert told["AWS_SECRET_ACCESS_KEY"] == "dev-secret"
    assert not [name for name, value in told.items() if "/home/me/.kube" in value]


def test_runs_go_to_their_teams_namespace_and_their_workers_to_a_queue_of_their_own() -> None:
    found = on_cluster.instance(SETTINGS, Path("/dagster"), ["network", "new_team"])

    launcher = found["run_launcher"]["config"]
    assert launcher["namespaces"] == {"network": "team-network", "new_team": "team-new-team"}
    assert launcher["run_worker_queue"] == "run-workers"
    assert launcher["env_secrets"] == [on_cluster.SECRET]
    # a pod finds its own account's file by KUBECONFIG
    assert launcher["load_incluster_config"] is False
    assert "kubeconfig_file" not in launcher
    assert found["compute_logs"]["config"]["endpoint_url"] == "http://127.0.0.1:8333"
    assert "dev-secret" not in str(found)


def test_the_instance_file_has_both_parts_and_fails_no_run_for_waiting(tmp_path: Path) -> None:
    write_instance(tmp_path, launching=on_cluster.as_text(on_cluster.instance(SETTINGS, tmp_path, ["eta"])))

    found = yaml.safe_load((tmp_path / "dagster.yaml").read_text())
    assert found["run_launcher"]["class"] == "KueueRunLauncher"
    assert found["run_coordinator"]["class"] == "QueuedRunCoordinator"
    assert "run_monitoring" not in found


def test_a_local_run_that_was_never_launched_is_failed_in_the_end(tmp_path: Path) -> None:
    write_instance(tmp_path)

    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_enabled
        assert 60 <= instance.run_monitoring_start_timeout_seconds <= 600


def test_the_folder_of_the_kubeconfig_is_hidden_unless_teams_code_needs_it(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "project").mkdir()

    assert on_cluster.hidden_folder(tmp_path / "keys" / "config", [tmp_path / "project"]) == tmp_path / "keys"
    with pytest.raises(Invalid, match="a folder of its own"):
        on_cluster.hidden_folder(tmp_path / "config", [tmp_path / "project"])


def test_a_kubeconfig_that_is_not_there_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no kubeconfig"):
        on_cluster.check(tmp_path / "nothing", ["eta"])


def test_a_cluster_is_kept_until_another_word(tmp_path: Path) -> None:
    def after(state: StackState, cluster: str | None) -> str | None:
        return renew(tmp_path, state, as_of=None, workspace=None, isolation="namespace", cluster=cluster).cluster

    attached = StackState(cluster="/keys/config")
    assert after(StackState(), None) is None
    assert after(StackState(), "/keys/config") == "/keys/config"
    assert after(attached, None) == "/keys/config"
    assert after(attached, "none") is None
