"""Teams' files on a real API server with Kueue: applied twice, changed, taken away, and their quotas at work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cluster_case import Cluster, Refused
from tests.teams_house import House, teams_house
from tiffin.cli.teams_files import load
from tiffin.compute.allotment import allot_all
from tiffin.compute.budget import budget_of, settle
from tiffin.compute.kubernetes import KubernetesCluster

FOUR = {"cpu": {"cpu": 4, "memory": "8Gi"}}


@pytest.fixture
def house(cluster: Cluster, tmp_path: Path) -> Iterator[House]:
    with teams_house(cluster, tmp_path) as found:
        found.write_team("network", quotas=FOUR)
        found.write_team("fleet", quotas=FOUR)
        yield found


def versions(house: House) -> dict[str, str]:
    """What of every object changes when somebody writes its spec, labels or owner of a field."""
    found = {}
    kinds = "role,rolebinding,serviceaccount,networkpolicy,limitrange,resourcequota,localqueue,deployment,service,configmap"
    wide = "namespace,clusterqueue,cohort,resourceflavor,workloadpriorityclass,clusterrole,clusterrolebinding"
    for arguments in ([kinds, "-A"], [wide]):
        for item in house.cluster.items(*arguments, "-l", f"tiffin.dev/installation={house.name}"):
            metadata = item["metadata"]
            name = f"{item['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
            parts = [metadata.get("generation"), metadata["labels"], *(item.get(part) for part in ("spec", "rules", "data"))]
            found[name] = json.dumps(parts, sort_keys=True)
    return found


def test_the_first_apply_makes_everything_and_the_second_changes_nothing(house: House) -> None:
    made = house.apply()
    before = versions(house)

    again = house.apply()

    assert {change["action"] for change in made} == {"create"}
    assert len(before) == len(made)
    assert again == []
    assert versions(house) == before
    assert house.teams("diff").exit_code == 0


def test_a_dry_run_is_judged_by_the_api_server_and_changes_nothing(house: House) -> None:
    house.apply()
    before = versions(house)
    house.write_team("network", quotas={"cpu": {"cpu": 6, "memory": "8Gi"}})

    changes = house.changes("apply", "--dry-run")

    assert [(change["kind"], change["lines"]) for change in changes if change["kind"] == "ClusterQueue"] == [
        ("ClusterQueue", ["spec.resourceGroups[0].flavors[0].resources[0].nominalQuota: '4' -> '6'"])
    ]
    assert versions(house) == before


def test_every_committed_kind_of_file_is_one_that_kubectl_applies(house: House) -> None:
    house.apply()
    assert house.teams("render").exit_code == 0

    for path in sorted((house.folder / "rendered").rglob("*.yaml")):
        if path.name in ("objects.yaml", "shared.yaml"):
            house.cluster.kubectl("apply", "--server-side", "--field-manager=tiffin", "--dry-run=server", "-f", str(path))
            # kubectl diff exits with 1, and is refused here, when something would change
            house.cluster.kubectl("diff", "--server-side", "--field-manager=tiffin", "-f", str(path))


def test_what_somebody_changed_by_hand_is_shown_and_put_back(house: House) -> None:
    house.apply()
    queue = f"{house.prefix}team-network"
    patch = json.dumps([{"op": "replace", "path": "/spec/preemption/reclaimWithinCohort", "value": "Never"}])
    house.cluster.kubectl("patch", "clusterqueue", queue, "--type=json", "-p", patch)

    shown = house.teams("diff")
    done = house.apply()

    assert shown.exit_code == 1
    assert f"change ClusterQueue {queue}" in shown.stdout
    assert done[0]["lines"] == ["spec.preemption.reclaimWithinCohort: 'Never' -> 'Any'"]
    assert house.cluster.json("get", "clusterqueue", queue)["spec"]["preemption"]["reclaimWithinCohort"] == "Any"


def test_a_team_that_is_gone_keeps_its_namespace_until_somebody_says_yes(house: House) -> None:
    house.apply()
    gone = house.namespace("fleet")
    house.drop_team("fleet")

    kept = house.apply()
    policies = house.cluster.items("networkpolicy", "-n", gone)
    deleted = house.apply("--yes")

    assert [change["name"] for change in kept if change["action"] == "keep"] == [gone]
    assert len(policies) == 5
    assert gone in [change["name"] for change in deleted if change["action"] == "delete"]
    house.cluster.until("the namespace is gone", lambda: not house.cluster.kubectl("get", "ns", gone, "--ignore-not-found"))
    assert house.namespace("network") in house.cluster.kubectl("get", "ns")


def test_a_namespace_is_never_taken_from_somebody_else(house: House) -> None:
    """Server-side apply would adopt it silently, with all that runs in it."""
    foreign = house.namespace("network")
    house.cluster.kubectl("create", "namespace", foreign)
    house.cluster.kubectl("label", "namespace", foreign, "app.kubernetes.io/managed-by=somebody", f"tiffin.dev/installation={house.name}")

    done = house.teams("apply")

    assert done.exit_code != 0
    assert "managed by 'somebody'" in str(done.exception)
    assert house.cluster.json("get", "namespace", foreign)["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "somebody"


def test_a_pod_that_asks_for_nothing_still_costs_quota_and_runs(house: House) -> None:
    house.apply()
    house.cluster.create(house.job("network", "modest", "true", queue="prod"))

    house.until("network", "modest", "Finished")

    (assigned,) = house.workload("network", "modest")["status"]["admission"]["podSetAssignments"]
    assert assigned["resourceUsage"] == {"cpu": "250m", "memory": "512Mi"}


def test_a_job_without_a_queue_falls_into_default(house: House) -> None:
    house.apply()
    house.cluster.create(house.job("network", "stray", "true", queue=None))

    house.until("network", "stray", "Finished")

    assert house.workload("network", "stray")["spec"]["queueName"] == "default"


def test_backfills_take_what_is_idle_and_give_it_back_at_once(house: House) -> None:
    house.apply()
    # all that both teams own
    house.cluster.create(house.job("network", "past", "sleep 600", queue="backfill", cpu="8", memory="1Gi"))
    house.until("network", "past", "Admitted")
    house.cluster.create(house.job("network", "now", "true", queue="prod", cpu="4", memory="1Gi"))

    house.until("network", "now", "Finished")

    past = house.workload("network", "past")
    reasons = {one["type"]: one["reason"] for one in past["status"]["conditions"]}
    assert past["status"]["schedulingStats"]["evictions"][0]["reason"] == "Preempted"
    assert "Evicted" in reasons
    # the same Job comes back by itself
    house.until("network", "past", "Admitted")


def test_a_spent_budget_holds_backfills_alone_and_an_apply_does_not_lift_it(house: House) -> None:
    house.write_team("network", quotas=FOUR, budget_usd_per_month=100)
    house.apply()
    one = next(one for one in allot_all(*load(house.folder / "platform.yaml", house.folder / "assets")) if one.team == "network")
    platform = f"system:serviceaccount:{house.prefix}dagster:dagster-platform"
    # as the platform's own location does it, with no other right
    with KubernetesCluster.connect(house.cluster.kubeconfig, impersonate=platform) as door:
        assert settle(door, one.namespace, budget_of(one, Decimal(100), month="2026-11")) == "backfills are held from now on"
        assert house.apply() == []
        house.cluster.create(house.job("network", "past", "true", queue="backfill", cpu="1"))
        house.cluster.create(house.job("network", "now", "true", queue="prod", cpu="1"))
        house.cluster.create(house.job("network", "daily", "true", queue="default", cpu="1"))
        house.until("network", "now", "Finished")
        house.until("network", "daily", "Finished")
        held = house.cluster.json("get", "localqueue", "backfill", "-n", house.namespace("network"))
        assert held["spec"]["stopPolicy"] == "Hold"
        assert "100.00 of 100.00 USD" in held["metadata"]["annotations"]["tiffin.dev/budget"]
        assert not house.is_true("network", "past", "QuotaReserved")

        assert settle(door, one.namespace, budget_of(one, Decimal(1), month="2026-12")) == "backfills go on from now on"
        assert settle(door, one.namespace, budget_of(one, Decimal(1), month="2026-12")) == "nothing is held"

    house.until("network", "past", "Finished")
    freed = house.cluster.json("get", "localqueue", "backfill", "-n", house.namespace("network"))
    assert freed["spec"]["stopPolicy"] == "None"
    assert "tiffin.dev/budget" not in freed["metadata"].get("annotations", {})
    assert freed["spec"]["clusterQueue"] == f"{house.prefix}backfill-network"


def test_a_namespace_takes_no_more_objects_than_its_team_may_have(house: House) -> None:
    allowed = 4
    house.write_team("network", quotas=FOUR, objects={"configmaps": allowed})
    house.apply()
    counted = ("get", "resourcequota", "team", "-n", house.namespace("network"))

    def used() -> str | None:
        return (house.cluster.json(*counted).get("status") or {}).get("used", {}).get("count/configmaps")

    def there() -> int:
        return len(house.cluster.items("configmaps", "-n", house.namespace("network")))

    # the team's own, and kube-root-ca.crt, which every namespace gets
    house.cluster.until("the first are counted", lambda: 1 <= there() < allowed and used() == str(there()))
    for number in range(there(), allowed):
        house.cluster.kubectl("create", "configmap", f"number-{number}", "-n", house.namespace("network"))

    with pytest.raises(Refused, match="exceeded quota"):
        house.cluster.kubectl("create", "configmap", "one-too-many", "-n", house.namespace("network"))


def test_a_flavor_without_capacity_is_refused_before_anything_is_asked(house: House) -> None:
    house.write_team("fleet", quotas={"cpu": {"cpu": 41, "memory": "1Gi"}})

    done = house.teams("apply")

    assert "more than the platform's limit, 40" in str(done.exception)
    assert not house.cluster.kubectl("get", "ns", house.namespace("network"), "--ignore-not-found")
