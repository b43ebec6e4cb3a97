"""What a cluster holds for its teams: committed, complete, and closed where it must be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings

from tests.team_files import ROOT, make_platform, make_team, named, of_kind, some_teams
from tiffin.cli.teams_files import instance_text, load, rendered, stale
from tiffin.compute.admission_tree import Tree
from tiffin.compute.allotment import allot_all
from tiffin.compute.apply import KINDS
from tiffin.compute.quantities import milli
from tiffin.compute.render_location import workspace
from tiffin.compute.render_network import RUN_WORKER_PODS, STEP_PODS
from tiffin.compute.render_team import identity, render, render_all, yaml_text
from tiffin.compute.team_file import TeamFile
from tiffin.compute.world import World

NETWORK = make_team("network", quotas={"cpu": {"cpu": {"nominal": 20, "borrow": 30, "lend": 15}}})


def test_the_committed_rendering_is_what_the_files_say() -> None:
    texts = rendered(*load(ROOT / "deploy" / "platform.yaml", ROOT / "assets"))

    assert stale(texts, ROOT / "deploy" / "teams") == {}, "run `tiffin teams render` and commit deploy/teams"


def test_a_teams_quota_is_its_cluster_queues() -> None:
    queue = named(render(NETWORK, make_platform()), "ClusterQueue", "team-network")["spec"]
    cpu, *_ = queue["resourceGroups"][0]["flavors"]

    assert queue["cohortName"] == "house"
    assert cpu["resources"][0] == {"name": "cpu", "nominalQuota": "20", "borrowingLimit": "30", "lendingLimit": "15"}
    assert queue["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "team-network"}}


def test_what_is_lent_comes_back_and_prod_goes_before_its_own_teams_rest() -> None:
    queue = named(render(NETWORK, make_platform()), "ClusterQueue", "team-network")["spec"]

    assert queue["preemption"] == {"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "Any"}


def test_backfills_own_nothing_and_the_rest_shares_the_quota() -> None:
    found = render(NETWORK, make_platform())
    backfill = named(found, "ClusterQueue", "backfill-network")["spec"]
    amounts = [resource for group in backfill["resourceGroups"] for flavor in group["flavors"] for resource in flavor["resources"]]

    assert {one["nominalQuota"] for one in amounts} == {"0"}
    assert backfill["cohortName"] == "house"
    assert {queue["metadata"]["name"]: queue["spec"]["clusterQueue"] for queue in of_kind(found, "LocalQueue")} == {
        "prod": "team-network",
        "default": "team-network",
        "backfill": "backfill-network",
        "run-workers": "run-workers",
    }


def test_nothing_preempts_run_workers() -> None:
    shared = render_all([NETWORK], make_platform())
    workers = named(shared, "ClusterQueue", "run-workers")["spec"]
    classes = {item["metadata"]["name"]: item["value"] for item in of_kind(shared, "WorkloadPriorityClass")}

    assert workers["preemption"] == {"withinClusterQueue": "Never", "reclaimWithinCohort": "Never"}
    assert "cohortName" not in workers
    assert max(classes, key=lambda name: classes[name]) == "run-worker"


def test_pods_are_held_to_the_restricted_standard() -> None:
    labels = named(render(NETWORK, make_platform()), "Namespace", "team-network")["metadata"]["labels"]

    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_a_namespace_is_closed_but_for_what_its_pods_need() -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in of_kind(render(NETWORK, make_platform()), "NetworkPolicy")}

    assert policies["deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    api = {"ipBlock": {"cidr": "10.0.0.1/32"}}
    meets_the_api = [name for name, spec in policies.items() if any(api in rule.get("to", ()) for rule in spec.get("egress", ()))]
    assert meets_the_api == ["run-workers"]
    assert policies["run-workers"]["podSelector"] == {"matchLabels": RUN_WORKER_PODS}
    assert policies["steps"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": STEP_PODS}}]}]


def test_a_step_and_a_code_server_have_no_right_and_no_token() -> None:
    found = render_all([NETWORK], make_platform())
    holders = {
        subject["name"]
        for item in found
        for subject in item.get("subjects", ())
        if subject["kind"] == "ServiceAccount" and subject["namespace"] == "team-network"
    }
    tokens = {item["metadata"]["name"]: item["automountServiceAccountToken"] for item in of_kind(found, "ServiceAccount")}

    assert holders == {"run-worker"}
    assert tokens == {"run-worker": True, "step": False, "code-location": False}


def test_a_code_server_is_not_preempted_where_kueue_manages_pods() -> None:
    server = named(render(NETWORK, make_platform()), "Deployment", "code-location")
    priority = {"kueue.x-k8s.io/queue-name": "run-workers", "kueue.x-k8s.io/priority-class": "run-worker"}

    assert priority.items() <= server["metadata"]["labels"].items()
    assert priority.items() <= server["spec"]["template"]["metadata"]["labels"].items()


def test_no_container_gets_a_device_or_a_limit_by_default() -> None:
    (limits,) = named(render(NETWORK, make_platform()), "LimitRange", "containers")["spec"]["limits"]

    assert limits == {
        "type": "Container",
        "defaultRequest": {"cpu": "250m", "memory": "512Mi"},
        "max": {"cpu": "32", "memory": "256Gi"},
    }


def test_a_second_installation_shares_no_cluster_wide_name_with_the_first() -> None:
    one, other = (render_all([NETWORK], make_platform(**changes)) for changes in ({}, {"name": "second", "prefix": "second-"}))
    wide = [{identity(item)[:2] + identity(item)[3:] for item in items if not item["metadata"].get("namespace")} for items in (one, other)]
    namespaces = [{item["metadata"].get("namespace") for item in items} - {None} for items in (one, other)]

    assert not wide[0] & wide[1]
    assert not namespaces[0] & namespaces[1]


def test_dagster_finds_each_team_at_its_own_server() -> None:
    platform = make_platform()
    found = workspace(allot_all([make_team("last_mile"), NETWORK], platform), platform)["load_from"]
    own = {"host": "dagster-platform.dagster.svc.cluster.local", "port": 4000, "location_name": "platform"}

    assert [entry["grpc_server"] for entry in found] == [
        {"host": "code-location.team-last-mile.svc.cluster.local", "port": 4000, "location_name": "last_mile"},
        {"host": "code-location.team-network.svc.cluster.local", "port": 4000, "location_name": "network"},
        own,
    ]


# -- for any teams ---------------------------------------------------------------------------------------------------
PLATFORM = make_platform()
# an installation is large to make, and shrinking one takes minutes
FEWER = settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
FORBIDDEN = {"*", "escalate", "bind", "impersonate"}


@FEWER
@given(teams=some_teams())
def test_any_granted_teams_are_objects_that_parse_and_are_no_others(teams: list[TeamFile]) -> None:
    items = render_all(teams, PLATFORM)

    assert list(yaml.load_all(yaml_text(items), yaml.CSafeLoader)) == items
    assert len({identity(item) for item in items}) == len(items)
    known = {(api_version, kind): namespaced for api_version, kind, namespaced in KINDS}
    for item in items:
        assert bool(item["metadata"].get("namespace")) == known[item["apiVersion"], item["kind"]]
        assert item["metadata"]["labels"]["tiffin.dev/installation"] == "house"
    assert render_all(teams, PLATFORM) == items


@FEWER
@given(teams=some_teams())
def test_kueues_objects_refer_only_to_each_other(teams: list[TeamFile]) -> None:
    world = World.parse(render_all(teams, PLATFORM))

    assert {queue.cluster_queue for queue in world.local_queues.values()} <= set(world.cluster_queues)
    for queue in world.cluster_queues.values():
        assert {flavor for flavor, _ in queue.quotas} <= set(world.flavors)
        assert queue.cohort in {None, "house"}
    owned: dict[tuple[str, str], int] = {}
    for queue in world.cluster_queues.values():
        for place, quota in queue.quotas.items():
            owned[place] = owned.get(place, 0) + quota.nominal
    capacity = {name: flavor.capacity for name, flavor in PLATFORM.flavors.items()}
    assert all(amount <= milli(capacity[flavor].get(resource, "0")) for (flavor, resource), amount in owned.items())


@FEWER
@given(teams=some_teams())
def test_a_namespaces_limits_never_refuse_what_kueue_admitted(teams: list[TeamFile]) -> None:
    items = render_all(teams, PLATFORM)
    tree = Tree(World.parse(items))

    for team in teams:
        (hard,) = [item["spec"]["hard"] for item in of_kind(items, "ResourceQuota") if item["metadata"]["namespace"] == team.namespace]
        for resource in ("cpu", "memory", "nvidia.com/gpu"):
            reach = 0
            for flavor in ("cpu", "a100"):
                queues = [tree.queues[name] for name in (team.namespace, team.namespace.replace("team-", "backfill-", 1))]
                reach += max(queue.most((flavor, resource)) if (flavor, resource) in queue.quotas else 0 for queue in queues)
            # victims of a preemption in their grace, and their successors
            assert milli(hard[f"requests.{resource}"]) >= 2 * reach


@FEWER
@given(teams=some_teams())
def test_no_role_reads_secrets_and_no_subject_is_of_another_team(teams: list[TeamFile]) -> None:
    items = render_all(teams, PLATFORM)

    for role in itertools.chain(of_kind(items, "Role"), of_kind(items, "ClusterRole")):
        for rule in role["rules"]:
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not words & FORBIDDEN
            assert "deletecollection" not in words or role["metadata"]["name"] in {"dagster-daemon", "dagster-webserver"}
            assert not any(resource.partition("/")[0] in {"secrets", "configmaps", "serviceaccounts"} for resource in rule["resources"])
    for role in of_kind(items, "ClusterRole"):
        assert all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in role["rules"])
        assert {api for rule in role["rules"] for api in rule["apiGroups"]} == {"kueue.x-k8s.io"}
    for binding in of_kind(items, "RoleBinding"):
        home = binding["metadata"]["namespace"]
        for subject in binding["subjects"]:
            assert subject["kind"] == "Group" or subject["namespace"] in {home, "dagster"}
            assert not subject["name"].startswith("system:")


@pytest.mark.parametrize("name", ["network", "fleet", "eta"])
def test_every_pod_that_is_rendered_passes_the_restricted_standard(name: str) -> None:
    teams, platform = load(ROOT / "deploy" / "platform.yaml", ROOT / "assets")
    (team,) = [team for team in teams if team.team == name]

    pods: list[dict[str, Any]] = [item["spec"]["template"]["spec"] for item in of_kind(render(team, platform), "Deployment")]

    assert len(pods) == 1
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "value" not in str(container.get("envFrom"))


def test_the_instance_is_one_that_the_launcher_takes_and_sends_each_team_home() -> None:
    from dagster import Shape
    from dagster._config import process_config

    from tiffin.orchestration.kueue_launcher import KueueRunLauncher

    teams, platform = load(ROOT / "deploy" / "platform.yaml", ROOT / "assets")
    config = yaml.safe_load(instance_text(teams, platform))["run_launcher"]["config"]

    # the class that reads it says what it takes; a key that it does not know is an error there
    done = process_config(Shape(KueueRunLauncher.config_type()), config)

    assert done.success, done.errors
    assert config["namespaces"] == {"platform": "dagster", "eta": "team-eta", "fleet": "team-fleet", "network": "team-network"}


def test_every_namespace_of_a_run_has_the_instance_and_no_secret_in_it() -> None:
    teams, platform = load(ROOT / "deploy" / "platform.yaml", ROOT / "assets")
    text = instance_text(teams, platform)
    maps = of_kind(render_all(teams, platform, instance=text), "ConfigMap")

    assert {item["metadata"]["namespace"] for item in maps} == {"team-eta", "team-fleet", "team-network"}
    assert {item["data"]["dagster.yaml"] for item in maps} == {text}
    database = yaml.safe_load(text)["storage"]["postgres"]["postgres_db"]
    assert database["password"] == {"env": "DAGSTER_PG_PASSWORD"}
