"""Who may do what, asked of a real API server as each of them: a team's accounts, Dagster's parts, people by their groups."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests import canary_jobs
from tests.cluster_case import Cluster, Refused
from tests.kueue_case import failure_of, make_instance, messages, run_job
from tests.teams_house import RESTRICTED, House, teams_house
from tiffin.cli.app import app
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.core.errors import Denied

ACCOUNTS = ("run-worker", "step", "code-location")
PARTS = ("dagster-daemon", "dagster-webserver", "dagster-platform")
FOUR = {"cpu": {"cpu": 4, "memory": "8Gi"}}


@pytest.fixture(scope="module")
def house(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with teams_house(cluster, tmp_path_factory.mktemp("house")) as found:
        found.write_team("network", quotas=FOUR)
        found.write_team("fleet", quotas=FOUR)
        found.apply()
        for team in ("network", "fleet"):
            cluster.kubectl("create", "secret", "generic", "stack", "-n", found.namespace(team), f"--from-literal=KEY=key-of-{team}")
        yield found


def user_of(house: House, account: str, team: str = "network") -> str:
    home = f"{house.prefix}dagster" if account in PARTS else house.namespace(team)
    return f"system:serviceaccount:{home}:{account}"


def as_(house: House, account: str, *arguments: str, stdin: str = "") -> str:
    """kubectl as an account of the network team, or as one of Dagster's parts."""
    return house.cluster.kubectl(*arguments, f"--as={user_of(house, account)}", stdin=stdin)


def forbidden(house: House, account: str, *arguments: str, stdin: str = "") -> bool:
    """Whether the API server refuses it because of who asks, and for no other reason."""
    try:
        as_(house, account, *arguments, stdin=stdin)
    except Refused as no:
        return "is forbidden: User" in str(no)
    return False


def rules(house: House, user: str, namespace: str) -> set[str]:
    """Everything a user may do in a namespace, as the API server lists it: `verb group/resource`."""
    with KubernetesCluster.connect(house.cluster.kubeconfig, impersonate=user) as door:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
        answer = door.api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body=body)
    return {
        f"{verb} {group}/{resource}"
        for rule in answer["status"]["resourceRules"]
        for verb in rule["verbs"]
        for group in rule.get("apiGroups") or [""]
        for resource in rule.get("resources") or ()
        # everybody who is known may ask who he is and what he may do
        if not group.startswith(("authorization.k8s.io", "authentication.k8s.io"))
    }


def group_may(house: House, group: str, right: str, namespace: str) -> bool:
    """Whether somebody of a group may, as the API server decides it."""
    verb, _, place = right.partition(" ")
    api, _, resource = place.partition("/")
    name, _, sub = resource.partition("/")
    about = {"namespace": namespace, "verb": verb, "group": api, "resource": name, "subresource": sub}
    spec = {"user": "somebody", "groups": [group, "system:authenticated"], "resourceAttributes": about}
    with KubernetesCluster.connect(house.cluster.kubeconfig) as door:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        return bool(door.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=body)["status"]["allowed"])


def spelled(*lines: str) -> set[str]:
    """`"get list: batch/jobs /pods"` as single rights."""
    found = set()
    for line in lines:
        verbs, _, places = line.partition(":")
        found |= {f"{verb} {place}" for verb in verbs.split() for place in places.split()}
    return found


SEEING = spelled(
    "get list watch: batch/jobs batch/jobs/status /pods /pods/log /events events.k8s.io/events",
    "get list watch: kueue.x-k8s.io/workloads kueue.x-k8s.io/workloads/status",
    "get list watch: kueue.x-k8s.io/localqueues kueue.x-k8s.io/localqueues/status",
    "get: visibility.kueue.x-k8s.io/localqueues/pendingworkloads",
)
QUEUES = spelled(
    "get list watch: kueue.x-k8s.io/clusterqueues kueue.x-k8s.io/cohorts",
    "get list watch: kueue.x-k8s.io/resourceflavors kueue.x-k8s.io/workloadpriorityclasses",
)
STEERING = spelled("delete patch: batch/jobs", "patch: kueue.x-k8s.io/workloads")
EXPECTED = {
    "run-worker": SEEING | QUEUES | STEERING | spelled("create: batch/jobs", "get: /namespaces"),
    "step": set(),
    "code-location": set(),
    "dagster-daemon": QUEUES
    | spelled(
        "get list watch: batch/jobs batch/jobs/status /pods /pods/log /events kueue.x-k8s.io/workloads kueue.x-k8s.io/localqueues",
        "create delete deletecollection: batch/jobs",
    ),
    "dagster-webserver": spelled(
        "get list: batch/jobs batch/jobs/status /pods kueue.x-k8s.io/workloads", "delete deletecollection: batch/jobs"
    ),
    "dagster-platform": QUEUES
    | spelled(
        "get list watch: batch/jobs kueue.x-k8s.io/workloads kueue.x-k8s.io/localqueues",
        "delete: batch/jobs",
        "patch: kueue.x-k8s.io/localqueues",
    ),
}


@pytest.mark.parametrize("account", [*ACCOUNTS, *PARTS])
def test_an_account_has_just_the_rights_that_its_work_needs(house: House, account: str) -> None:
    assert rules(house, user_of(house, account), house.namespace("network")) == EXPECTED[account]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_teams_account_has_no_right_in_another_namespace_but_to_see_queues(house: House, account: str) -> None:
    elsewhere = [house.namespace("fleet"), f"{house.prefix}dagster", "kube-system", "kueue-system", "default"]

    for namespace in elsewhere:
        assert rules(house, user_of(house, account), namespace) == (QUEUES if account == "run-worker" else set())


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_teams_account_makes_no_job_in_another_teams_namespace(house: House, account: str) -> None:
    job = json.dumps(house.job("fleet", "foreign", "true", queue="prod", cpu="1"))

    assert forbidden(house, account, "create", "-f", "-", stdin=job)
    assert not house.cluster.items("jobs", "-n", house.namespace("fleet"))


@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("team", ["fleet", "network"])
def test_a_teams_account_reads_no_secret_not_even_its_own(house: House, account: str, team: str) -> None:
    assert forbidden(house, account, "get", "secret", "stack", "-n", house.namespace(team))
    assert forbidden(house, account, "get", "secrets", "-n", house.namespace(team))


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_teams_account_cannot_name_another_teams_namespace(house: House, account: str) -> None:
    assert forbidden(house, account, "get", "namespace", house.namespace("fleet"))
    assert forbidden(house, account, "get", "namespaces")
    assert forbidden(house, account, "get", "jobs", "-A")


def test_only_a_run_worker_makes_jobs_in_its_own_namespace(house: House) -> None:
    job = json.dumps(house.job("network", "own", "true", queue="prod", cpu="1"))

    assert [forbidden(house, account, "create", "--dry-run=server", "-f", "-", stdin=job) for account in ACCOUNTS] == [False, True, True]


def test_a_teams_account_widens_no_right(house: House) -> None:
    metadata = {"name": "more", "namespace": house.namespace("network")}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": []}

    for account in ACCOUNTS:
        assert forbidden(house, account, "create", "-f", "-", stdin=json.dumps(role))
        assert forbidden(house, account, "create", "token", "run-worker", "-n", house.namespace("network"))
        assert forbidden(house, account, "patch", "localqueue", "backfill", "-n", house.namespace("network"), "-p", "{}", "--type=merge")


def test_the_door_says_who_may_not_and_what_to_ask_for(house: House) -> None:
    foreign = house.job("fleet", "foreign", "true", queue="prod", cpu="1")

    with (
        KubernetesCluster.connect(house.cluster.kubeconfig, impersonate=user_of(house, "run-worker")) as door,
        pytest.raises(Denied) as caught,
    ):
        door.submit(foreign)

    assert house.namespace("fleet") in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize(
    ("group", "may", "may_not"),
    [
        pytest.param("network-viewers", SEEING, STEERING, id="viewer"),
        pytest.param("network-developers", SEEING | STEERING, spelled("create: batch/jobs", "delete: /pods"), id="developer"),
        pytest.param(
            "on-call",
            SEEING | STEERING | spelled("delete: /pods", "patch: kueue.x-k8s.io/localqueues apps/deployments"),
            spelled("create: batch/jobs", "get: /secrets", "create: /pods/exec"),
            id="on-call",
        ),
    ],
)
def test_people_may_do_what_their_group_says_and_only_in_its_teams(house: House, group: str, may: set[str], may_not: set[str]) -> None:
    def allowed(namespace: str) -> set[str]:
        return {right for right in may | may_not if group_may(house, group, right, namespace)}

    assert allowed(house.namespace("network")) == may
    assert allowed(house.namespace("fleet")) == (may if group == "on-call" else set())


# -- pods ------------------------------------------------------------------------------------------------------------
def pod(house: House, **changes: Any) -> str:
    """A pod that the standard lets through, with `changes` in its spec."""
    container = {"name": "main", "image": "none", "command": ["true"], "securityContext": RESTRICTED["container"]}
    spec = {"restartPolicy": "Never", "securityContext": RESTRICTED["pod"], "containers": [container], **changes}
    metadata = {"name": "asked", "namespace": house.namespace("network")}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def holding(**security: Any) -> list[dict[str, Any]]:
    """One container with another security context."""
    context = {**RESTRICTED["container"], **security}
    return [{"name": "main", "image": "none", "command": ["true"], "securityContext": context}]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"containers": holding(privileged=True, allowPrivilegeEscalation=True)}, "privileged", id="privileged"),
        pytest.param({"containers": holding(allowPrivilegeEscalation=True)}, "allowPrivilegeEscalation", id="escalation"),
        pytest.param({"containers": holding(capabilities={"add": ["SYS_ADMIN"]})}, "capabilities", id="capabilities"),
        pytest.param({"containers": holding(runAsUser=0)}, "runAsUser=0", id="root"),
        pytest.param({"securityContext": {"runAsNonRoot": True}}, "seccompProfile", id="no seccomp"),
        pytest.param({"hostNetwork": True}, "host namespaces", id="host network"),
        pytest.param({"volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}]}, "hostPath", id="host path"),
    ],
)
def test_a_pod_that_could_leave_its_box_is_refused(house: House, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match="violates PodSecurity") as caught:
        house.cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=pod(house, **changes))

    assert told in str(caught.value)


def test_an_honest_pod_is_let_through(house: House) -> None:
    house.cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=pod(house))


# -- a run with a run worker's own token, and a planted secret ------------------------------------------------------------
def with_token(house: House, folder: Path, account: str) -> Cluster:
    """The cluster as an account meets it: with its token, and without the administrator's certificate."""
    token = house.cluster.kubectl("create", "token", account, "-n", house.namespace("network")).strip()
    config = yaml.safe_load(house.cluster.kubeconfig.read_text())
    config["users"] = [{"name": account, "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"]["user"] = account
    path = folder / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return dataclasses.replace(house.cluster, kubeconfig=path)


def test_a_run_workers_rights_suffice_and_a_secret_that_its_step_used_is_nowhere_to_be_read(house: House, tmp_path: Path) -> None:
    canary, namespace = f"canary-{secrets.token_hex(16)}", house.namespace("network")
    house.cluster.kubectl("create", "secret", "generic", "canary", "-n", namespace, f"--from-literal={canary_jobs.VARIABLE}={canary}")
    worker = with_token(house, tmp_path, "run-worker")
    home = tmp_path / "home"

    with make_instance(home, worker, namespace, env_secrets=["canary"]) as instance:
        config = {"execution": {"config": {"priority": f"{house.prefix}default", "queue": "default"}}}
        run_id = run_job(canary_jobs.canary_job, instance, config=config).run_id
        told = json.dumps([entry.to_json() for entry in instance.all_logs(run_id)])
        story, failure = "\n".join(messages(instance, run_id)), failure_of(instance, run_id)

    # it ran on the cluster, had the secret, and what failed says what it should
    assert f"digest {hashlib.sha256(canary.encode()).hexdigest()}" in story
    assert f"did not open with ${canary_jobs.VARIABLE}" in failure
    objects = house.cluster.kubectl("get", "jobs,pods,workloads,events,localqueues,configmaps", "-n", namespace, "-o", "json")
    pods = [item["metadata"]["name"] for item in house.cluster.items("pods", "-n", namespace)]
    logs = "".join(house.cluster.kubectl("logs", name, "-n", namespace) for name in pods)
    assert len(pods) == 2
    assert "printed: digest" in logs
    queue = CliRunner().invoke(app, ["queue", "--json", "--kubeconfig", str(house.cluster.kubeconfig)])
    assert queue.exit_code == 0
    shown = house.teams("diff", "--json").stdout + house.teams("list", "--json").stdout + queue.stdout
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert files
    for place, text in {"events of Dagster": told, "objects": objects, "logs": logs, "--json": shown, "failure": failure}.items():
        assert canary not in text, place
    assert [path for path, content in files.items() if canary.encode() in content] == []
