"""A gang's Job: one Workload, ranks that are told, and no half of it."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.compute.gang import as_gang, gang_service
from tiffin.core.errors import Invalid
from tiffin.core.gang import Gang
from tiffin.core.settings import Settings
from tiffin.orchestration.gang_entry import member_of, run_beside

SEEN: list[Gang] = []


def member(gang: Gang) -> None:
    SEEN.append(gang)


def job(name: str = "train", **container: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "main", "command": ["true"], **container}]}
    return {"metadata": {"name": name, "namespace": "team-eta"}, "spec": {"backoffLimit": 6, "template": {"spec": pod}}}


def environment(found: dict[str, Any]) -> dict[str, Any]:
    env = found["spec"]["template"]["spec"]["containers"][0]["env"]
    assert len({one["name"] for one in env}) == len(env)
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in env}


def test_a_gang_is_one_indexed_job_that_fails_as_a_whole() -> None:
    before = job()

    found = as_gang(before, 3, member="a.b:c")

    assert {key: found["spec"][key] for key in ("completionMode", "completions", "parallelism", "backoffLimit")} == {
        "completionMode": "Indexed",
        "completions": 3,
        "parallelism": 3,
        "backoffLimit": 0,
    }
    assert before == job()


def test_every_pod_is_told_its_rank_and_where_the_gang_meets() -> None:
    env = environment(as_gang(job(), 2, member="a.b:c"))

    assert env["RANK"] == env["TIFFIN_GANG_RANK"]
    assert "job-completion-index" in env["RANK"]["fieldRef"]["fieldPath"]
    assert (env["MASTER_ADDR"], env["MASTER_PORT"], env["WORLD_SIZE"]) == ("train-0.gang.team-eta.svc", "29400", "2")
    assert env["TIFFIN_GANG_MASTER"] == "train-0.gang.team-eta.svc:29400"


def test_the_address_is_one_that_the_service_answers_for() -> None:
    pod, service = as_gang(job(), 2)["spec"]["template"], gang_service("team-eta")

    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize(
    ("body", "size", "message"),
    [
        pytest.param(job(), 1, "a gang of 1", id="alone"),
        pytest.param(job("x" * 62), 2, "too long", id="name"),
        pytest.param(job(env=[{"name": "RANK", "value": "0"}]), 2, "sets RANK by itself", id="own rank"),
    ],
)
def test_what_can_be_no_gang_is_refused(body: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        as_gang(body, size)


def settings(**over: Any) -> Settings:
    return Settings.model_validate({"gang_size": 2, "gang_master": "h:7", **over})


def test_rank_0_runs_the_step_and_the_others_the_teams_function() -> None:
    name = f"{__name__}:member"

    assert run_beside(settings(gang_rank=0, gang_member=name)) is None
    assert run_beside(Settings()) is None
    assert SEEN == []
    assert run_beside(settings(gang_rank=1, gang_member=name)) == 0
    assert [Gang(1, 2, "h", 7)] == SEEN


def test_a_pod_that_nobody_told_what_to_do_says_so() -> None:
    with pytest.raises(Invalid, match="nothing says what"):
        run_beside(settings(gang_rank=1))
    with pytest.raises(Invalid, match="cannot be imported"):
        member_of("no.such.module:at_all")
    with pytest.raises(Invalid, match="is a list"):
        member_of(f"{__name__}:SEEN")
    with pytest.raises(Invalid, match="not a pod of a gang"):
        Gang.here(Settings())
