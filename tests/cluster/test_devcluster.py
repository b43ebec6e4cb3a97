"""The test cluster itself: what a node does, and that it survives the death of any part and leaves nothing behind."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.devcluster import cluster as devcluster
from deploy.devcluster.smoke import smoke
from tests.cluster_case import Cluster, TeamsSpace, own_cluster
from tiffin.embedded.processes import birth

Spaces = Callable[..., TeamsSpace]
# of the shell, in a pod's command: Kubernetes makes one $ of two
PID = "$$$$"


@pytest.fixture
def space(teams_space: Spaces) -> TeamsSpace:
    return teams_space({"a": {"cpu": 8}})


def pod(space: TeamsSpace, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A plain pod without a queue."""
    metadata = {"name": name, "namespace": space.namespace["a"], **spec.pop("metadata", {})}
    given = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, **spec, "containers": list(containers)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": given}


def shell(script: str, name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "none", "command": ["sh", "-c", script], **more}


def phase(cluster: Cluster, space: TeamsSpace, name: str) -> str:
    return str(cluster.json("get", "pod", name, "-n", space.namespace["a"])["status"].get("phase"))


def ended(cluster: Cluster, space: TeamsSpace, name: str) -> dict[str, Any]:
    """The pod's status once it has ended."""
    cluster.until(f"{name} ends", lambda: phase(cluster, space, name) in ("Succeeded", "Failed"), namespaces=[space.namespace["a"]])
    return dict(cluster.json("get", "pod", name, "-n", space.namespace["a"])["status"])


def logs(cluster: Cluster, space: TeamsSpace, *arguments: str) -> str:
    return cluster.kubectl("logs", "-n", space.namespace["a"], *arguments)


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected by init does not."""
    return birth(pid) is not None


def test_a_container_gets_its_variables_from_everywhere(cluster: Cluster, space: TeamsSpace) -> None:
    namespace = {"namespace": space.namespace["a"]}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys", **namespace},
        "data": {"KEY": base64.b64encode(b"s3cret").decode()},
    }
    words = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words", **namespace}, "data": {"WORD": "lunch"}}
    env = [
        {"name": "PLAIN", "value": "one"},
        {"name": "DERIVED", "value": "$(PLAIN)-two $$(PLAIN) $(NOBODY)"},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
        {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "WORD"}}},
        {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "NO", "optional": True}}},
        {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['colour']"}}},
        {"name": "CORES", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
    ]
    wanted = ["PLAIN", "DERIVED", "FROM_SECRET", "FROM_MAP", "UID", "LABEL", "CORES", "all_KEY", "HOSTNAME"]
    script = (
        'import json, os, sys; print(json.dumps({name: os.environ[name] for name in sys.argv[1:]} | {"absent": "ABSENT" in os.environ}))'
    )
    container = {
        "name": "main",
        "image": "none",
        "command": ["python", "-c", script],
        "args": [*wanted[:-1], "$(NAME_OF_LAST)"],
        "env": [{"name": "NAME_OF_LAST", "value": "HOSTNAME"}, *env],
        "envFrom": [{"prefix": "all_", "secretRef": {"name": "keys"}}],
        "resources": {"requests": {"cpu": "1500m"}},
    }
    cluster.create(secret, words, pod(space, "reads", container, metadata={"labels": {"colour": "red"}}))

    status = ended(cluster, space, "reads")

    told = json.loads(logs(cluster, space, "reads"))
    uid = cluster.json("get", "pod", "reads", "-n", space.namespace["a"])["metadata"]["uid"]
    assert status["phase"] == "Succeeded"
    assert told == {
        "PLAIN": "one",
        "DERIVED": "one-two $(PLAIN) $(NOBODY)",
        "FROM_SECRET": "s3cret",
        "FROM_MAP": "lunch",
        "UID": uid,
        "LABEL": "red",
        "CORES": "1500",
        "all_KEY": "s3cret",
        "HOSTNAME": "reads",
        "absent": False,
    }


def test_a_pod_waits_for_a_secret_that_comes_later(cluster: Cluster, space: TeamsSpace) -> None:
    reference = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "KEY"}}}
    cluster.create(pod(space, "waits", shell('echo "$KEY"', env=[reference])))

    def why() -> str:
        states = cluster.json("get", "pod", "waits", "-n", space.namespace["a"])["status"].get("containerStatuses") or [{}]
        return str(states[0].get("state", {}).get("waiting", {}).get("message", ""))

    cluster.until("the pod says what it waits for", lambda: 'secret "late"' in why())
    metadata = {"name": "late", "namespace": space.namespace["a"]}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"KEY": "here"}})

    assert ended(cluster, space, "waits")["phase"] == "Succeeded"
    assert logs(cluster, space, "waits") == "here\n"


def test_init_containers_run_in_turn_and_containers_side_by_side(cluster: Cluster, space: TeamsSpace) -> None:
    first = [shell('touch "$NODE_VOLUMES/shared/one"', "first"), shell('test -e "$NODE_VOLUMES/shared/one" && echo saw it', "second")]
    # each of the two waits for the other: one after the other they would never end
    meet = 'touch "$NODE_VOLUMES/shared/$ME"; until [ -e "$NODE_VOLUMES/shared/$OTHER" ]; do sleep 0.05; done; exit $CODE'
    left = shell(meet, "left", env=[{"name": "ME", "value": "l"}, {"name": "OTHER", "value": "r"}, {"name": "CODE", "value": "0"}])
    right = shell(meet, "right", env=[{"name": "ME", "value": "r"}, {"name": "OTHER", "value": "l"}, {"name": "CODE", "value": "7"}])
    cluster.create(pod(space, "several", left, right, initContainers=first, volumes=[{"name": "shared", "emptyDir": {}}]))

    status = ended(cluster, space, "several")

    assert status["phase"] == "Failed"
    assert {one["name"]: one["state"]["terminated"]["exitCode"] for one in status["containerStatuses"]} == {"left": 0, "right": 7}
    assert logs(cluster, space, "several", "-c", "second") == "saw it\n"


def test_a_deleted_pod_gets_sigterm_its_grace_and_then_sigkill(cluster: Cluster, space: TeamsSpace, tmp_path: Path) -> None:
    polite = shell(f"trap 'echo bye > {tmp_path}/polite; exit 0' TERM; touch {tmp_path}/polite.up; sleep 600 & wait")
    deaf = shell(f"trap '' TERM; echo {PID} > {tmp_path}/deaf.up; while :; do sleep 0.1; done")
    cluster.create(pod(space, "polite", polite), pod(space, "deaf", deaf, terminationGracePeriodSeconds=1))
    cluster.until("both run", lambda: all((tmp_path / f"{name}.up").exists() for name in ("polite", "deaf")))
    pid = int((tmp_path / "deaf.up").read_text())

    cluster.kubectl("delete", "pod", "polite", "deaf", "-n", space.namespace["a"])

    assert (tmp_path / "polite").read_text() == "bye\n"
    assert not lives(pid)


def test_a_pod_deleted_by_force_leaves_no_process(cluster: Cluster, space: TeamsSpace, tmp_path: Path) -> None:
    cluster.create(pod(space, "forced", shell(f"trap '' TERM; echo {PID} > {tmp_path}/pid; while :; do sleep 0.1; done")))
    cluster.until("it runs", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    pid = int((tmp_path / "pid").read_text())

    cluster.kubectl("delete", "pod", "forced", "-n", space.namespace["a"], "--force", "--grace-period=0")

    cluster.until("its process is gone", lambda: not lives(pid))


def test_a_process_killed_from_outside_fails_its_job_with_137(cluster: Cluster, space: TeamsSpace) -> None:
    cluster.create(space.job("a", "killed", "sleep 600 & wait"))
    namespace = space.namespace["a"]

    def names() -> list[str]:
        return [str(pod["metadata"]["name"]) for pod in cluster.items("pods", "-n", namespace, "-l", "job-name=killed")]

    cluster.until("it runs", lambda: [phase(cluster, space, name) for name in names()] == ["Running"], namespaces=[namespace])
    (name,) = names()
    cluster.kill_pod(namespace, name, signal.SIGKILL)

    assert ended(cluster, space, name)["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    cluster.until("the Job failed", lambda: cluster.json("get", "job", "killed", "-n", namespace)["status"].get("failed") == 1)


def test_a_pod_acts_as_its_service_account(cluster: Cluster, space: TeamsSpace) -> None:
    kubectl = cluster.program
    asks = (
        f"{kubectl} auth whoami -o jsonpath='{{.status.userInfo.username}}'; test -z \"$KUBECONFIG\" || {kubectl} get pods 2>&1 | head -1"
    )
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker", "namespace": space.namespace["a"]}}
    cluster.create(account)
    cluster.until("the namespace is ready", lambda: bool(cluster.kubectl("get", "serviceaccount", "default", "-n", space.namespace["a"])))
    silent = shell('echo "${KUBECONFIG:-none}"')
    cluster.create(
        pod(space, "asks", shell(asks), serviceAccountName="worker"), pod(space, "silent", silent, automountServiceAccountToken=False)
    )

    ended(cluster, space, "asks")
    ended(cluster, space, "silent")

    told = logs(cluster, space, "asks")
    assert f"system:serviceaccount:{space.namespace['a']}:worker" in told
    assert "forbidden" in told.lower()
    assert logs(cluster, space, "silent") == "none\n"


def test_logs_follow_a_pod_to_its_end_and_can_be_cut(cluster: Cluster, space: TeamsSpace) -> None:
    cluster.create(pod(space, "talks", shell("for i in 1 2 3 4 5; do echo $i; sleep 0.2; done")))
    cluster.until("it runs", lambda: phase(cluster, space, "talks") != "Pending")

    followed = logs(cluster, space, "talks", "--follow")

    assert followed == "1\n2\n3\n4\n5\n"
    assert logs(cluster, space, "talks", "--tail=2") == "4\n5\n"
    assert logs(cluster, space, "talks", "--tail=0") == ""


def test_a_failing_container_restarts_where_the_pod_says_so(cluster: Cluster, space: TeamsSpace) -> None:
    script = 'test -e "$NODE_VOLUMES/memory/been" || { touch "$NODE_VOLUMES/memory/been"; exit 3; }'
    cluster.create(pod(space, "again", shell(script), restartPolicy="OnFailure", volumes=[{"name": "memory", "emptyDir": {}}]))

    status = ended(cluster, space, "again")

    assert status["phase"] == "Succeeded"
    assert status["containerStatuses"][0]["restartCount"] == 1


def test_the_node_tells_who_asked_for_and_uses_how_much(cluster: Cluster, space: TeamsSpace) -> None:
    spin = shell("while :; do :; done", resources={"requests": {"cpu": "500m"}})
    cluster.create(pod(space, "spins", spin, terminationGracePeriodSeconds=0))

    def mine() -> dict[str, Any]:
        found = [one for one in cluster.usage()["pods"] if one["podRef"]["name"] == "spins"]
        return dict(found[0]["containers"][0]) if found and found[0]["containers"] else {}

    cluster.until("it has used CPU", lambda: mine().get("cpu", {}).get("usageCoreNanoSeconds", 0) > 0)
    assert mine()["requests"] == {"cpu": "500m"}
    assert mine()["memory"]["workingSetBytes"] > 0


def test_the_story_of_borrowing_preemption_and_resume(cluster: Cluster) -> None:
    told: list[str] = []

    smoke(cluster.need_home(), say=told.append)

    assert len(told) == 4


def test_jobs_survive_the_death_of_every_part(new_cluster: Callable[..., Cluster], teams_space: Spaces, tmp_path: Path) -> None:
    """Each part is killed while pods run, end and wait; all Jobs end once, and nothing is left after `down`."""
    cluster = new_cluster()
    space = teams_space({"a": {"cpu": 2}}, on=cluster)
    namespace = space.namespace["a"]
    gate = tmp_path / "gate"
    # the node is not among them: its death is the death of its pods (the next test)
    for part in devcluster.CONTROL:
        script = f"echo run >> {tmp_path}/{part}.$HOSTNAME; until [ -e {gate} ]; do sleep 0.05; done"
        cluster.create(*(space.job("a", f"{part}-{number}", script) for number in range(4)))
        cluster.until("two run", lambda part=part: len(list(tmp_path.glob(f"{part}.*"))) == 2, namespaces=[namespace])  # type: ignore[misc]
        cluster.kill(part)
        # two processes end while the part is away
        gate.touch()
        cluster.start()
        jobs = [f"{part}-{number}" for number in range(4)]
        cluster.until(
            f"all Jobs end after the death of {part}",
            lambda jobs=jobs: all(cluster.json("get", "job", job, "-n", namespace)["status"].get("succeeded") == 1 for job in jobs),  # type: ignore[misc]
            namespaces=[namespace],
        )
        gate.unlink()
        runs = list(tmp_path.glob(f"{part}.*"))
        assert len(runs) == 4
        assert all(path.read_text() == "run\n" for path in runs)


def test_a_killed_node_reports_its_pods_as_lost_and_leaves_no_process(
    new_cluster: Callable[..., Cluster], teams_space: Spaces, tmp_path: Path
) -> None:
    cluster = new_cluster()
    space = teams_space({"a": {"cpu": 2}}, on=cluster)
    # the child outlives its parent's death signal: only the next agent can find it
    cluster.create(space.job("a", "lost", f"sleep 600 & echo $! > {tmp_path}/child; wait"))
    cluster.until("it runs", lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text() != "")
    child = int((tmp_path / "child").read_text())

    cluster.kill("node")
    cluster.start()

    cluster.until("the Job failed", lambda: cluster.json("get", "job", "lost", "-n", space.namespace["a"])["status"].get("failed") == 1)
    assert not lives(child)


def test_down_leaves_nothing(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with own_cluster(tmp_path / "short") as cluster:
        home = cluster.need_home()
        space_pod = {"name": "stays", "namespace": "default"}
        spec = {"containers": [shell(f"echo {PID} > {tmp_path}/pid; sleep 600 & wait")], "restartPolicy": "Never"}
        cluster.until("accounts are there", lambda: bool(cluster.kubectl("get", "serviceaccount", "default", "-n", "default")))
        cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": space_pod, "spec": spec})
        cluster.until("it runs", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        recorded = home.read()
        pids = [process.pid for process in recorded.processes.values()] + [int((tmp_path / "pid").read_text())]
        assert all(lives(pid) for pid in pids)
    (tmp_path / "pid").unlink()

    assert set(tmp_path.iterdir()) == before
    assert not [pid for pid in pids if lives(pid)]
    named = [
        process.pid
        for process in psutil.process_iter()
        if str(home.folder) in " ".join(os.fsdecode(part) for part in safe_cmdline(process))
    ]
    assert named == []


def safe_cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
