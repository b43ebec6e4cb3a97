from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tiffin.core.errors import Denied, Invalid, NotFound, NotReady
from tiffin.embedded.stack import load, renew, with_needs
from tiffin.embedded.state import PartState, StackState, locked, read_state, state_path, write_state

PART = PartState(pid=7, born="boot:1", started_at="2030-01-01T00:00:00+00:00", ports={"http": 20001})


def damaged(home: Path, text: str) -> Path:
    home.mkdir(exist_ok=True)
    path = state_path(home)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_state_comes_back_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    state = StackState(as_of="2013-12-31T00:00:00Z", settings={"TIFFIN_HOME": "/x"}).with_part("agent", PART)

    write_state(tmp_path, state)

    assert read_state(tmp_path) == state
    assert stat.S_IMODE(state_path(tmp_path).stat().st_mode) == 0o600


def test_a_home_without_a_stack_has_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    with pytest.raises(NotFound, match="no stack"):
        load(tmp_path)


def test_a_part_that_stops_leaves_its_ports_to_its_successor() -> None:
    state = StackState().with_part("agent", PART).with_part("agent", None)

    assert state.parts == {}
    assert state.ports == {"agent": {"http": 20001}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", "damaged", id="empty"),
        pytest.param('{"format": "tiffin.stack.v1", "parts"', "damaged", id="cut off"),
        pytest.param("[]", "format None", id="not an object"),
        pytest.param('{"format": "tiffin.stack.v9"}', "format 'tiffin.stack.v9', expected 'tiffin.stack.v1'", id="another version"),
        pytest.param('{"format": "tiffin.stack.v1", "parts": {"agent": {"pid": "x"}}}', "field 'parts.agent.pid'", id="wrong type"),
        pytest.param('{"format": "tiffin.stack.v1", "partz": {}}', "field 'partz'", id="unknown field"),
    ],
)
def test_a_damaged_state_file_gives_one_error_with_the_way_out(tmp_path: Path, text: str, found: str) -> None:
    path = damaged(tmp_path, text)

    with pytest.raises(Invalid, match="state file") as caught:
        load(tmp_path)

    assert found in caught.value.message
    assert str(path) in caught.value.message
    assert "tiffin down --force" in caught.value.fix


def test_a_state_file_that_the_group_can_read_is_refused(tmp_path: Path) -> None:
    write_state(tmp_path, StackState())
    state_path(tmp_path).chmod(0o640)

    with pytest.raises(Denied, match="mode 0640, expected 0600"):
        load(tmp_path)


def test_the_state_file_holds_no_secret_of_the_promoter(tmp_path: Path) -> None:
    from tiffin.embedded.identities import make_secrets, user_settings

    folder = make_secrets(tmp_path)
    ports = {"seaweed": {"s3": 1}, "valkey": {"valkey": 2}, "triton": {"grpc": 3}, "agent": {"http": 4}}
    settings = user_settings(tmp_path, ports, cache=tmp_path, as_of=None, isolation="namespace")
    write_state(tmp_path, StackState(settings=settings.to_environment()))

    text = state_path(tmp_path).read_text()
    identities = {one["name"]: one["credentials"][0] for one in json.loads((folder / "weed.json").read_text())["identities"]}
    for name in ("prod_write", "admin"):
        assert identities[name]["secretKey"] not in text
        assert identities[name]["accessKey"] not in text
    assert json.loads((folder / "signing_key.json").read_text())["private_hex"] not in text
    assert json.loads((folder / "valkey.json").read_text())["admin"] not in text
    assert identities["dev"]["secretKey"] in text


def test_one_command_at_a_time_works_on_a_home(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(NotReady, match="another `tiffin up` or `down`"), locked(tmp_path, wait=False):
        pass

    with locked(tmp_path, wait=False):
        pass


def test_the_replay_instant_is_kept_until_another_is_given(tmp_path: Path) -> None:
    first = renew(tmp_path, StackState(), as_of="2013-12-31T00:00:00Z", workspace=None, isolation="namespace")
    kept = renew(tmp_path, first, as_of=None, workspace=None, isolation="namespace")
    changed = renew(tmp_path, kept, as_of="2013-06-01", workspace=None, isolation="namespace")

    assert (first.as_of, kept.as_of, changed.as_of) == ("2013-12-31T00:00:00Z", "2013-12-31T00:00:00Z", "2013-06-01")


def test_an_instant_that_cannot_be_read_and_an_unknown_isolation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not ISO 8601"):
        renew(tmp_path, StackState(), as_of="yesterday", workspace=None, isolation="namespace")
    with pytest.raises(Invalid, match="isolation 'nome'") as caught:
        renew(tmp_path, StackState(), as_of=None, workspace=None, isolation="nome")
    assert "'none'" in caught.value.fix


def test_the_workspace_is_remembered_from_where_the_stack_was_started(tmp_path: Path) -> None:
    first = renew(tmp_path, StackState(), as_of=None, workspace=tmp_path / "workspace.yaml", isolation="namespace")

    assert renew(tmp_path, first, as_of=None, workspace=None, isolation="namespace").workspace == str(tmp_path / "workspace.yaml")


def test_a_part_brings_what_it_needs() -> None:
    assert with_needs(["agent"]) == ["valkey", "seaweed", "triton", "agent"]
    assert with_needs(["promoter", "valkey"]) == ["valkey", "seaweed", "promoter"]


def test_an_unknown_part_is_refused_with_the_nearest() -> None:
    with pytest.raises(Invalid, match="no part 'valky'") as caught:
        with_needs(["valky"])
    assert "'valkey'" in caught.value.fix
