"""Editions change under traffic: no failed request, no answer that is partly one and partly the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from tests.serving_case import TEAM, Case, make_case
from tests.serving_other import double
from tests.serving_stage import Stage, bits, open_stage, request_of
from tiffin.serving.client import request_tensors
from tiffin.serving.request import encode_request
from tiffin.serving.triton import Triton


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("switch")) as stage:
        yield stage


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(seed=0), make_case(seed=1, postprocess=double)]


class Traffic:
    """Clients that ask the same rows again and again, and keep every answer and every error."""

    def __init__(self, stage: Stage, rows: pa.Table, clients: int = 2) -> None:
        self.answers: list[dict[str, list[int]]] = []
        self.errors: list[Exception] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(stage.triton.grpc, request_of(rows))) for _ in range(clients)]

    def ask(self, address: str, request: dict[str, list[object]]) -> None:
        client = Triton(address)
        tensors, max_rows = request_tensors(client, "eta")
        encoded = encode_request(tensors, request, of="eta", max_rows=max_rows)
        while not self.stop.is_set():
            try:
                self.answers.append({name: bits(array.reshape(-1)) for name, array in client.infer("eta", encoded).items()})
            except Exception as err:  # noqa: BLE001  the test counts them
                self.errors.append(err)
        client.close()

    def __enter__(self) -> Traffic:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_switches_and_a_rollback_under_traffic_lose_and_mix_nothing(stage: Stage, cases: list[Case]) -> None:
    tables = stage.publish_views(1, cases[0].views)
    digests = [stage.ship(cases[0])]
    stage.until_ready()
    rows = stage.rows(31, 30, tables)
    expected = [stage.expect(case, rows) for case in cases]
    before = stage.ask(rows)

    with Traffic(stage, rows) as traffic:
        digests.append(stage.ship(cases[1]))
        stage.until(lambda status: status["deployments"]["eta/eta"]["manifest"] == digests[1])
        switched = stage.ask(rows)
        stubs = {stub.pid for stub in stage.stubs("eta_model")}
        stage.roll_back("eta")
        stage.until(lambda status: status["deployments"]["eta/eta"]["manifest"] == digests[0])
        after = stage.ask(rows)
        stubs_after = {stub.pid for stub in stage.stubs("eta_model")}
        stage.promote("deployment", digests[1])
        stage.until(lambda status: status["deployments"]["eta/eta"]["manifest"] == digests[1])

    assert traffic.errors == []
    assert [answer for answer in traffic.answers if answer not in expected] == []
    assert all(answer in traffic.answers for answer in expected)
    assert switched == expected[1] != expected[0]
    assert after == before == expected[0]
    assert stubs_after == stubs, "the edition before was kept loaded: going back starts nothing"


def test_a_third_edition_lets_the_first_go_and_shares_equal_steps(stage: Stage, cases: list[Case]) -> None:
    third = make_case(seed=2)
    stage.publish_views(1, third.views)
    digests = [stage.ship(case) for case in cases[:1]]
    stage.until(lambda status: status["ready"] and status["deployments"].get("eta/eta", {}).get("manifest") == digests[0])
    features = {stub.pid for stub in stage.stubs("features")}
    for case in (cases[1], third):
        digests.append(stage.ship(case))
        stage.until(lambda status: status["deployments"]["eta/eta"]["manifest"] == digests[-1])

    served = stage.agent.served[TEAM, "eta"]
    assert served.live is not None
    assert served.previous is not None
    kept = {name for edition in (served.live, served.previous) for name in (*edition.record.steps, edition.record.ensemble)}
    loaded = {name for name, ready in stage.agent.loader.triton.index().items() if ready}

    assert [served.live.digest, served.previous.digest] == [digests[2], digests[1]]
    assert {name for name in loaded if name.startswith("eta_model--")} == {name for name in kept if name.startswith("eta_model--")}
    assert {name for name in loaded if "--" in name and not name.endswith("--golden")} == kept
    assert {stub.pid for stub in stage.stubs("features")} == features, "one generic features step serves all three"
