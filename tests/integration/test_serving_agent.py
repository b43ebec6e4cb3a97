"""The agent takes up only signed, exact bytes, heals what dies, and serves on when everything else is down."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.serving_case import TEAM, Case, make_case
from tests.serving_golden import ship_rendered, with_file, with_golden
from tests.serving_other import double
from tests.serving_stage import Stage, open_stage
from tiffin.core.errors import Corrupt, Denied
from tiffin.manifests.records import DeploymentRecord, Pointer
from tiffin.manifests.signing import generate_key
from tiffin.serving.render import Rendered
from tiffin.serving.repository import RepositoryFolder
from tiffin.storage.layout import manifest_key, pointer_key, signature_key


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("agent")) as stage:
        yield stage


@pytest.fixture(scope="module")
def first() -> Case:
    return make_case(seed=0)


@pytest.fixture(scope="module")
def second() -> Case:
    """Another model, other postprocess: every kind of file differs from `first`."""
    return make_case(seed=1, postprocess=double)


@pytest.fixture(scope="module")
def shipped(servers: Stage, first: Case) -> str:
    """The first edition's manifest, published and promoted once."""
    servers.publish_views(1, first.views)
    return servers.ship(first)


@pytest.fixture
def stage(servers: Stage, first: Case, shipped: str) -> Stage:
    """The first edition is live, and prod is whole."""
    servers.reset(first, shipped)
    return servers


@pytest.fixture
def rows(stage: Stage, first: Case) -> pa.Table:
    return stage.rows(21, 20, stage.publish_views(1, first.views))


def record_of(stage: Stage, digest: str) -> DeploymentRecord:
    return DeploymentRecord.from_bytes(stage.prod.get(manifest_key("deployment", digest)).data, name=digest)


def refusal(stage: Stage) -> str:
    """What the status says of the edition that may not go live."""
    refused = stage.until(lambda status: status["deployments"]["eta/eta"]["refused"] is not None)["deployments"]["eta/eta"]["refused"]
    return str(refused["reason"])


@pytest.mark.parametrize("ending", ["1/model.txt", "1/team/serving_other.py", "config.pbtxt", "1/step.json", "golden.json"])
def test_a_changed_byte_of_a_file_is_refused_by_name_and_the_live_edition_goes_on(
    stage: Stage, first: Case, second: Case, rows: pa.Table, ending: str
) -> None:
    live = {file.digest for file in stage.agent.live()[0].record.files}
    digest = stage.ship(second)
    record = record_of(stage, digest)
    file = next(file for file in (*record.files, record.golden) if file.path.endswith(ending) and file.digest not in live)
    stage.damage(file.digest)

    reason = refusal(stage)

    assert f"file '{file.path}' of deployment 'eta/eta' has changed" in reason
    assert stage.agent.status()["ready"]
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_changed_manifest_is_refused_by_name(stage: Stage, first: Case, second: Case, rows: pa.Table) -> None:
    digest = stage.ship(second)
    path = stage.prod.path / manifest_key("deployment", digest)
    path.write_bytes(path.read_bytes().replace(b'"max_rows":5000', b'"max_rows":5001'))

    assert "the manifest of deployment 'eta/eta' has changed" in refusal(stage)
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_manifest_signed_by_somebody_else_is_refused(stage: Stage, first: Case, second: Case, rows: pa.Table) -> None:
    digest = stage.ship(second)
    stage.prod.put(signature_key("deployment", digest), generate_key().sign("deployment", digest))

    assert "signature" in refusal(stage)
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_manifest_without_signature_is_refused(stage: Stage, first: Case, second: Case, rows: pa.Table) -> None:
    stage.prod.delete(signature_key("deployment", stage.ship(second)))

    assert "is not signed" in refusal(stage)
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_damaged_pointer_is_named_and_the_live_edition_goes_on(stage: Stage, first: Case, rows: pa.Table) -> None:
    stage.prod.put(pointer_key("deployment", TEAM, "eta"), b"{")

    assert "the pointer of deployment 'eta/eta' is damaged" in refusal(stage)
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_refused_edition_goes_live_once_it_is_mended(stage: Stage, second: Case, rows: pa.Table) -> None:
    digest = stage.ship(second)
    model = next(file for file in record_of(stage, digest).files if file.path.endswith("model.txt"))
    stage.damage(model.digest)
    refusal(stage)

    stage.promote("deployment", digest)
    status = stage.until(lambda status: status["deployments"]["eta/eta"]["manifest"] == digest)

    assert status["deployments"]["eta/eta"]["refused"] is None
    assert stage.ask(rows) == stage.expect(second, rows)


def test_golden_rows_that_are_answered_otherwise_keep_an_edition_out(stage: Stage, first: Case, rows: pa.Table) -> None:
    wrong = make_case(seed=0, golden_rows=3)
    rendered = wrong.render()
    recorded = rendered.blobs[rendered.record.golden.digest]
    place = recorded.index(b'"expected"') + len(b'"expected":{"delay":{"dtype":"<f8","hex":"')
    changed = recorded[:place] + (b"1" if recorded[place : place + 1] == b"0" else b"0") + recorded[place + 1 :]

    ship_rendered(stage, wrong, with_golden(rendered, changed))

    assert "answers 1 of its 3 golden rows differently: output 'delay', row 0" in refusal(stage)
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_model_that_does_not_load_is_refused_with_its_reason(stage: Stage, first: Case, rows: pa.Table) -> None:
    broken = make_case(seed=3)
    rendered = broken.render()

    ship_rendered(stage, broken, with_file(rendered, "1/model.txt", b"tree\nnot a model"))

    assert "eta_model--" in refusal(stage)
    assert stage.agent.status()["ready"]
    assert stage.ask(rows) == stage.expect(first, rows)


@pytest.mark.parametrize("step", ["features", "preprocess", "eta_model", "postprocess"])
def test_a_killed_step_is_noticed_by_inference_and_healed_without_a_restart_of_the_server(
    stage: Stage, first: Case, rows: pa.Table, step: str
) -> None:
    steps = first.render().record.steps  # an edition that was just retired may still be ending its own
    others = {one.pid for name in steps if not name.startswith(f"{step}--") for one in stage.stubs(name)}
    for stub in stage.stubs(step):
        stub.kill()
    assert all(stage.agent.loader.triton.index().values())

    status = stage.round()

    assert status["ready"]
    assert [name.partition("--")[0] for name in status["healed"]] == [step]
    assert stage.triton.alive()
    assert len(others) == len(steps) - 1
    assert others <= {one.pid for name in steps for one in stage.stubs(name)}
    assert stage.ask(rows) == stage.expect(first, rows)


def test_agent_and_server_restarted_with_the_object_store_down_serve_the_last_edition(
    stage: Stage, first: Case, second: Case, rows: pa.Table
) -> None:
    stage.ship(second)
    stage.until(lambda status: status["deployments"]["eta/eta"]["previous"] is not None)
    stage.remote.down = True
    stage.restart_triton()
    stage.start_agent()

    status = stage.until_ready()

    assert stage.ask(rows) == stage.expect(second, rows)
    assert status["object_store"]["error"] == "the object store does not answer"


def test_a_restarted_server_gets_its_models_back_from_the_running_agent(stage: Stage, first: Case, rows: pa.Table) -> None:
    stage.remote.down = True
    stage.restart_triton()

    status = stage.until_ready()

    assert status["ready"]
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_server_that_is_gone_makes_the_agent_not_ready(stage: Stage) -> None:
    stage.triton.stop(grace_s=1)

    status = stage.round()

    assert not status["ready"]
    assert "Triton at" in status["reasons"][0]
    stage.restart_triton()
    stage.until_ready()


def test_a_damaged_local_copy_is_not_served_after_a_restart_but_fetched_again(stage: Stage, first: Case, rows: pa.Table) -> None:
    model = next(file for file in stage.agent.live()[0].record.files if file.path.endswith("model.txt"))
    copy = stage.folder / "serving" / "cache" / "blobs" / model.digest[:2] / model.digest
    copy.write_bytes(copy.read_bytes().replace(b"tree", b"eert", 1))
    installed = stage.folder / "serving" / "repository" / model.path
    installed.write_bytes(b"changed behind the agent's back")
    stage.remote.down = True
    stage.restart_triton()
    stage.start_agent()

    assert not stage.round()["ready"]
    stage.remote.down = False
    stage.until_ready()

    assert stage.ask(rows) == stage.expect(first, rows)


def test_an_emptied_online_store_is_refilled_from_segments_bit_for_bit(stage: Stage, first: Case, rows: pa.Table) -> None:
    before = stage.ask(rows)
    stage.flush()

    told: list[bool] = []
    fill = stage.agent.online.fill

    def listening(view: object) -> None:
        told.append(stage.agent.status()["ready"])
        fill(view)  # type: ignore[arg-type]  # passed through

    stage.agent.online.fill = listening  # type: ignore[method-assign]
    status = stage.round()

    assert status["reasons"] == []
    assert told == [False, False]
    assert stage.ask(rows) == before


def test_a_changed_segment_is_refused_by_name_and_nothing_is_served_in_its_place(stage: Stage, first: Case) -> None:
    pointer = Pointer.from_bytes(stage.prod.get(pointer_key("generation", TEAM, "delays")).data, name="delays")
    record = stage.prod.get(manifest_key("generation", pointer.manifest)).data.decode()
    segment = record.split('"base":{"digest":"')[1][:64]
    copy = stage.folder / "serving" / "cache" / "blobs" / segment[:2] / segment
    copy.unlink(missing_ok=True)
    stage.damage(segment)
    stage.flush()

    status = stage.round()

    assert not status["ready"]
    assert "segment" in status["reasons"][0]
    assert "has changed" in status["reasons"][0]


def test_the_audit_names_what_was_damaged_in_prod_behind_the_live_edition(stage: Stage) -> None:
    record = stage.agent.live()[0].record
    model = next(file for file in record.files if file.path.endswith("model.txt"))
    assert stage.watch.audit() == ()
    stage.damage(model.digest)

    findings = stage.watch.audit()

    assert len(findings) == 1
    assert f"file '{model.path}' of deployment 'eta/eta' has changed" in findings[0]
    assert stage.round()["ready"]


def test_a_second_team_cannot_take_a_public_name(stage: Stage, first: Case, rows: pa.Table) -> None:
    rendered = first.render()
    rival = rendered.record.model_copy(update={"team": "rival"})
    ship_rendered(stage, first, Rendered(rival, rendered.blobs))

    status = stage.until(lambda status: status["deployments"].get("rival/eta", {}).get("refused") is not None)

    assert "'eta/eta' has it" in status["deployments"]["rival/eta"]["refused"]["reason"]
    assert status["ready"]
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_planted_pickle_is_not_loaded(stage: Stage, first: Case, tmp_path: Path, rows: pa.Table) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(trap),))

    edition = stage.agent.live()[0]
    step = edition.record.steps[2]
    planted = stage.folder / "serving" / "repository" / step / "1" / "model.pkl"
    planted.write_bytes(pickle.dumps(Trap()))
    stage.start_agent()
    stage.until_ready()
    folder = RepositoryFolder(tmp_path / "repository")
    files = {file.path: stage.prod.get(f"blobs/{file.digest[:2]}/{file.digest}").data for file in edition.record.files}

    with pytest.raises(Denied, match=r"model\.pkl"):
        folder.write(edition.record, {**files, f"{step}/1/model.pkl": pickle.dumps(Trap())})

    assert not planted.exists()
    assert not trap.exists()
    assert stage.ask(rows) == stage.expect(first, rows)


def test_a_file_outside_the_steps_is_refused(stage: Stage, tmp_path: Path) -> None:
    record = stage.agent.live()[0].record
    folder = RepositoryFolder(tmp_path / "repository")

    with pytest.raises(Corrupt, match="disagree about 'eta'"):
        folder.write(record, {f"{name}/1/model.py": b"" for name in (*record.steps, record.ensemble, record.golden_ensemble, "eta")})
