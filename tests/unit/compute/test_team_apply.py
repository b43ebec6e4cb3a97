"""Objects against a cluster: what differs is changed, what is gone is deleted, a namespace only when that is said."""

from __future__ import annotations

import pytest

from tests.team_cluster_fake import MemoryCluster
from tests.team_files import make_platform, make_team
from tiffin.compute.apply import Change, apply_changes, compare
from tiffin.compute.render_team import render_all
from tiffin.core.errors import Conflict, Invalid

NETWORK, FLEET = make_team("network"), make_team("fleet")


def everything(*teams, **platform) -> list:
    return render_all(list(teams), make_platform(**platform))


def brought(door: MemoryCluster, items: list, *, yes: bool = False, name: str = "house") -> list[Change]:
    return list(apply_changes(compare(items, door, installation=name, delete_namespaces=yes), door))


def test_the_first_apply_makes_everything_and_the_second_nothing() -> None:
    door, items = MemoryCluster(), everything(NETWORK, FLEET)

    first = brought(door, items)

    assert {change.action for change in first} == {"create"}
    assert len(first) == len(items) == len(door.objects)
    assert brought(door, items) == []


def test_comparing_changes_nothing() -> None:
    door = MemoryCluster()

    compare(everything(NETWORK), door, installation="house")

    assert door.writes == []


def test_a_change_is_told_by_its_path_and_nothing_else_is_written() -> None:
    door = MemoryCluster()
    brought(door, everything(NETWORK))
    door.writes.clear()

    changes = brought(door, everything(make_team("network", weight=2)))

    assert [change.words for change in changes] == ["change ClusterQueue team-network", "change ClusterQueue backfill-network"]
    assert changes[0].lines == ("spec.fairSharing.weight: '1' -> '2'",)
    assert door.writes == ["apply ClusterQueue team-network", "apply ClusterQueue backfill-network"]


def test_what_a_team_no_longer_has_is_deleted() -> None:
    door = MemoryCluster()
    brought(door, everything(NETWORK))
    fewer = everything(make_team("network", groups={"on_call": ["on-call"]}))

    assert sorted(change.words for change in brought(door, fewer)) == [
        *(f"delete Role team-network/people-{role}" for role in ("developer", "viewer")),
        *(f"delete RoleBinding team-network/people-{role}" for role in ("developer", "viewer")),
    ]
    assert brought(door, fewer) == []


def test_a_team_that_is_gone_is_kept_as_it_is_without_yes() -> None:
    door = MemoryCluster()
    brought(door, everything(NETWORK, FLEET))
    before = {key for key in door.objects if "fleet" in "".join(key)}

    changes = brought(door, everything(NETWORK))

    kept = [change for change in changes if change.action == "keep"]
    assert [change.words for change in kept] == ["keep Namespace team-fleet"]
    assert "--yes deletes" in kept[0].lines[0]
    assert {key for key in door.objects if "fleet" in "".join(key)} == before
    assert [change.words for change in changes if change.action != "keep"] == ["change ClusterRoleBinding house-queues"]


def test_a_team_that_is_gone_is_deleted_with_its_namespace_with_yes() -> None:
    door = MemoryCluster()
    brought(door, everything(NETWORK, FLEET))

    brought(door, everything(NETWORK), yes=True)

    assert not [key for key in door.objects if "fleet" in "".join(key)]
    assert ("v1", "Namespace", "", "team-network") in door.objects


def test_another_installations_objects_are_left_alone() -> None:
    door = MemoryCluster()
    brought(door, everything(FLEET, name="second", prefix="second-"), name="second")
    before = dict(door.objects)

    brought(door, everything(NETWORK), yes=True)

    assert before.items() <= door.objects.items()


@pytest.mark.parametrize("owner", [None, "somebody"])
def test_what_somebody_else_made_is_not_adopted(owner: str | None) -> None:
    door = MemoryCluster()
    labels = {} if owner is None else {"app.kubernetes.io/managed-by": owner}
    door.objects["v1", "Namespace", "", "team-network"] = {"metadata": {"name": "team-network", "labels": labels}}

    with pytest.raises(Conflict, match="Namespace team-network exists and is managed by") as caught:
        compare(everything(NETWORK), door, installation="house")

    assert "tiffin.dev/installation=house" in caught.value.fix


def test_a_refusal_of_the_api_server_names_the_object() -> None:
    door = MemoryCluster()
    door.refuses = "team-network"

    with pytest.raises(Invalid, match="Namespace team-network: the webhook does not like it"):
        compare(everything(NETWORK), door, installation="house")


def test_namespaces_come_before_what_lies_in_them_and_leave_last() -> None:
    door = MemoryCluster()
    made = [change.who for change in brought(door, everything(NETWORK, FLEET))]
    gone = [change.who for change in brought(door, everything(NETWORK), yes=True) if change.action == "delete"]

    for place, (_, _, namespace, _) in enumerate(made):
        assert not namespace or ("v1", "Namespace", "", namespace) in made[:place]
    assert gone[-1] == ("v1", "Namespace", "", "team-fleet")
