"""The door's manners: errors in our words, retries that end, no request that may not be sent twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes.client import ApiException

from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.kubernetes_api import Api, Expired, connect, translated
from tiffin.core.errors import Conflict, Denied, Invalid, NotFound, NotReady, PlatformError

Answer = dict[str, Any] | Exception


def failure(status: int, message: str = "no", reason: str = "", **headers: str) -> ApiException:
    error = ApiException(status=status, reason=reason)
    error.body = json.dumps({"kind": "Status", "message": message, "reason": reason})
    error.headers = headers
    return error


class Script:
    """Stands where the vendor's client stands: gives the answers of a script and keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []
        self.slept: list[float] = []
        self.now = 0.0

    def call_api(self, path: str, method: str, **given: Any) -> Any:
        self.asked.append((method, path, given.get("body")))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return urllib3.HTTPResponse(body=json.dumps(answer).encode(), preload_content=True)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def api(self, patience_s: float = 60.0) -> Api:
        return Api(self, patience_s=patience_s, sleep=self.sleep, monotonic=lambda: self.now, chance=lambda: 0.5)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, Invalid, False),
        (401, Denied, False),
        (403, Denied, False),
        (404, NotFound, False),
        (409, Conflict, True),
        (410, Expired, True),
        (422, Invalid, False),
        (429, NotReady, True),
        (500, NotReady, True),
        (503, NotReady, True),
        (0, NotReady, True),
    ],
)
def test_the_servers_answer_is_told_in_our_words(status: int, kind: type[PlatformError], *, retryable: bool) -> None:
    found = translated(failure(status, "jobs.batch is forbidden"), "POST /jobs")

    assert type(found) is kind
    assert found.retryable == retryable
    assert "POST /jobs: jobs.batch is forbidden" in found.message
    assert found.fix


def test_an_answer_that_is_no_json_is_told_as_it_stands() -> None:
    error = ApiException(status=502, reason="Bad Gateway")
    error.body = "<html>bad gateway</html>"

    assert "bad gateway" in translated(error, "GET /").message


def test_a_busy_server_is_asked_again_after_the_time_it_names() -> None:
    script = Script(failure(429, **{"Retry-After": "3"}), failure(503), {"ok": 1})

    assert script.api().call("GET", "/x") == {"ok": 1}
    assert script.slept == [3.1, pytest.approx(0.2)]


def test_a_server_that_asks_for_an_hour_is_not_obeyed() -> None:
    script = Script(failure(429, **{"Retry-After": "3600"}), {"ok": 1})

    script.api().call("GET", "/x")

    assert script.slept == [10.1]


def test_an_unreachable_server_is_asked_until_patience_ends() -> None:
    gone = urllib3.exceptions.ProtocolError("connection reset")
    script = Script(*[gone] * 1000)

    with pytest.raises(NotReady, match="does not answer"):
        script.api(patience_s=60).call("GET", "/x")

    assert 40 < sum(script.slept) <= 60
    assert len(script.asked) < 30


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_what_the_server_has_decided_is_not_asked_again(status: int) -> None:
    script = Script(failure(status), {"ok": 1})

    with pytest.raises(PlatformError):
        script.api().call("GET", "/x")

    assert len(script.asked) == 1


def job() -> dict[str, Any]:
    return {"metadata": {"name": "load", "namespace": "team-network"}, "spec": {"template": {}}}


def stored(script: Script, **meta: Any) -> dict[str, Any]:
    """The Job that the script's server got, as it would give it back."""
    body = next(body for method, _, body in script.asked if method == "POST")
    return {**body, "metadata": {**body["metadata"], "uid": "u1", **meta}}


def submit(*answers: Answer | Callable[[Script], Answer]) -> Any:
    """Submit; answers may depend on what was asked before."""
    script = Script()

    class Late(list[Any]):
        def pop(self, index: Any = -1) -> Any:
            found = super().pop(index)
            return found(script) if callable(found) else found

    script.answers = Late(answers)
    return KubernetesCluster(script.api()).submit(job())


def test_a_lost_answer_to_a_creation_finds_the_job_that_it_made() -> None:
    found = submit(urllib3.exceptions.ProtocolError("cut"), failure(409), lambda script: stored(script))

    assert found["metadata"]["uid"] == "u1"


def test_another_job_of_that_name_is_a_conflict() -> None:
    other = {"metadata": {"name": "load", "uid": "u2", "labels": {"tiffin.dev/submission": "something else"}}}

    with pytest.raises(Conflict, match="another Job has that name"):
        submit(failure(409), other)


def test_ones_own_job_on_its_way_out_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        submit(failure(409), lambda script: stored(script, deletionTimestamp="2030-01-01T00:00:00Z"))


def test_a_job_is_deleted_in_the_background_and_by_uid() -> None:
    script = Script({}, failure(404), failure(409))
    cluster = KubernetesCluster(script.api())

    assert cluster.stop("team-network", "load", uid="u1")
    assert not cluster.stop("team-network", "load", uid="u1")
    assert not cluster.stop("team-network", "load", uid="u1")
    assert script.asked[0][2]["propagationPolicy"] == "Background"
    assert script.asked[0][2]["preconditions"] == {"uid": "u1"}


def test_a_log_that_is_not_there_is_empty_and_a_forbidden_one_is_told() -> None:
    script = Script(failure(404), failure(400, "container is waiting to start"), failure(403))
    cluster = KubernetesCluster(script.api())

    assert cluster.tail("team-network", "pod") == ""
    assert cluster.tail("team-network", "pod") == ""
    with pytest.raises(Denied):
        cluster.tail("team-network", "pod")


def test_places_in_a_queue_are_asked_for_once() -> None:
    """Kueue serves them itself: while it restarts, whoever tells of a wait must not stand still."""
    script = Script(failure(503), {"items": []})

    with pytest.raises(NotReady):
        KubernetesCluster(script.api()).positions("team-network", "default")

    assert len(script.asked) == 1


def test_names_cannot_leave_their_place_in_the_path() -> None:
    script = Script(failure(404))

    assert KubernetesCluster(script.api()).get("batch/v1", "Job", "team-network", "../../secrets/x") is None
    assert script.asked[0][1] == "/apis/batch/v1/namespaces/team-network/jobs/..%2F..%2Fsecrets%2Fx"


def test_a_missing_kubeconfig_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="reading the Kubernetes configuration"):
        connect(tmp_path / "none")
    with pytest.raises(Invalid, match="in-cluster"):
        connect("in-cluster")
