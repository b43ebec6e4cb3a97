"""The stack as a whole, with the parts that start fast: up, up again, broken, down."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tiffin.core.clock import wall_clock
from tiffin.core.errors import Denied, Invalid, NotReady, PlatformError
from tiffin.core.settings import Settings
from tiffin.embedded import leftovers
from tiffin.embedded.probes import promoter_trouble
from tiffin.embedded.processes import alive, wait_until
from tiffin.embedded.sigv4 import KeyPair, signed_request
from tiffin.embedded.stack import Stack, Step, down, load, up
from tiffin.embedded.state import read_state, state_path, write_state
from tiffin.embedded.status import report

PARTS = ["valkey", "seaweed"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    if state_path(folder).exists():
        state_path(folder).chmod(0o600)
    down(folder, force=True)


def bring_up(home: Path, *parts: str, as_of: str | None = None) -> tuple[Stack, dict[str, Step]]:
    steps: dict[str, Step] = {}
    settings = Settings(cache=home.parent / "cache")
    return up(home, parts=list(parts) or PARTS, as_of=as_of, settings=settings, progress=steps.__setitem__), steps


def pids(stack: Stack) -> dict[str, int]:
    return {name: part.pid for name, part in stack.state.parts.items()}


def dev_keys(stack: Stack) -> KeyPair:
    settings = stack.settings()
    return KeyPair(settings.need("dev_access_key"), settings.need("dev_secret_key"))


def test_up_twice_keeps_every_process_and_down_leaves_none_but_all_data(home: Path) -> None:
    first, steps = bring_up(home)
    port = first.state.ports["seaweed"]["s3"]
    assert signed_request("PUT", "/dev/kept", b"data", port=port, keys=dev_keys(first))[0] == 200
    assert steps == {"valkey": "up", "seaweed": "up"}

    second, steps = bring_up(home)
    assert steps == {"valkey": "kept", "seaweed": "kept"}
    assert pids(second) == pids(first)

    assert down(home) == ["seaweed", "valkey"]
    assert not any(alive(part.process) for part in first.state.parts.values())
    assert leftovers.find(home) == {}
    assert load(home).running() == {}
    assert down(home) == []

    third, _ = bring_up(home)
    assert third.state.ports == first.state.ports
    assert signed_request("GET", "/dev/kept", port=port, keys=dev_keys(third)) == (200, b"data")
    assert (home / "logs" / "seaweed.log.1").exists()


def test_a_killed_part_is_started_again_and_the_others_are_left_alone(home: Path) -> None:
    first, _ = bring_up(home)
    os.kill(first.state.parts["valkey"].pid, signal.SIGKILL)

    healed, steps = bring_up(home)

    assert steps == {"valkey": "up", "seaweed": "kept"}
    assert pids(healed)["seaweed"] == pids(first)["seaweed"]
    assert pids(healed)["valkey"] != pids(first)["valkey"]
    assert healed.state.ports == first.state.ports


def test_a_part_that_lives_but_does_not_work_is_ended_and_started_again(home: Path) -> None:
    first, _ = bring_up(home)
    os.kill(first.state.parts["valkey"].pid, signal.SIGSTOP)

    healed, steps = bring_up(home)

    assert steps["valkey"] == "up"
    assert not alive(first.state.parts["valkey"].process)
    assert report(home, now=wall_clock()).parts[0].trouble is None
    assert pids(healed)["seaweed"] == pids(first)["seaweed"]


def test_a_port_that_somebody_took_meanwhile_is_given_up_for_another(home: Path) -> None:
    first, _ = bring_up(home)
    down(home)
    old = first.state.ports["valkey"]["valkey"]

    with socket.create_server(("127.0.0.1", old)):
        second, steps = bring_up(home)

    assert steps == {"valkey": "up", "seaweed": "up"}
    assert second.state.ports["valkey"]["valkey"] != old
    assert second.state.ports["seaweed"] == first.state.ports["seaweed"]
    assert str(second.state.ports["valkey"]["valkey"]) in second.settings().need("online_url")


def test_the_promoter_is_started_again_when_the_stack_replays_another_instant(home: Path) -> None:
    first, _ = bring_up(home, "promoter", as_of="2013-12-31T00:00:00Z")
    assert promoter_trouble(first.settings()) is None

    same, steps = bring_up(home, "promoter")
    assert steps["promoter"] == "kept"
    assert same.state.as_of == "2013-12-31T00:00:00Z"
    assert same.settings().as_of == "2013-12-31T00:00:00Z"

    other, steps = bring_up(home, "promoter", as_of="2013-06-30T00:00:00Z")
    assert steps == {"valkey": "kept", "seaweed": "kept", "promoter": "up"} or steps == {"seaweed": "kept", "promoter": "up"}
    assert other.settings().as_of == "2013-06-30T00:00:00Z"
    assert pids(other)["promoter"] != pids(first)["promoter"]


def test_the_promoters_keys_are_in_nobodys_environment_command_line_or_log(home: Path) -> None:
    stack, _ = bring_up(home, "promoter", "valkey")
    identities = {one["name"]: one["credentials"][0] for one in json.loads((home / "secrets" / "weed.json").read_text())["identities"]}
    signing = json.loads((home / "secrets" / "signing_key.json").read_text())["private_hex"]
    secrets = [identities["prod_write"]["secretKey"], identities["admin"]["secretKey"], signing]

    seen = state_path(home).read_text() + "".join(log.read_text(errors="replace") for log in (home / "logs").iterdir())
    for part in stack.state.parts.values():
        for process in [psutil.Process(part.pid), *psutil.Process(part.pid).children(recursive=True)]:
            seen += " ".join(process.cmdline()) + str(process.environ())

    assert not any(secret in seen for secret in secrets)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home / "secrets").iterdir() if path.is_file())
    assert (home / "secrets").stat().st_mode & 0o077 == 0


def test_two_ups_at_once_start_every_part_once(home: Path) -> None:
    found: list[dict[str, int]] = []
    errors: list[BaseException] = []

    def one() -> None:
        try:
            found.append(pids(bring_up(home)[0]))
        except BaseException as err:  # noqa: BLE001  shown by the assertion below
            errors.append(err)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert found[0] == found[1] == found[2]
    assert sorted(leftovers.find(home)) == ["seaweed", "valkey"]


def test_what_an_interrupted_up_left_behind_is_ended_by_down(home: Path) -> None:
    first, _ = bring_up(home)
    state = read_state(home)
    assert state is not None
    write_state(home, state.model_copy(update={"parts": {}}))  # as if it was killed before it wrote that down

    assert down(home) == ["seaweed", "valkey"]

    assert not any(alive(part.process) for part in first.state.parts.values())


def test_what_an_interrupted_up_left_behind_is_replaced_by_the_next_up(home: Path) -> None:
    first, _ = bring_up(home)
    state = read_state(home)
    assert state is not None
    write_state(home, state.model_copy(update={"parts": {}}))

    second, steps = bring_up(home)

    assert steps == {"valkey": "up", "seaweed": "up"}
    assert not any(alive(part.process) for part in first.state.parts.values())
    assert {len(processes) for processes in leftovers.find(home).values()} == {1}
    assert second.state.ports == first.state.ports


def test_a_damaged_state_file_stops_every_command_and_force_finds_the_processes(home: Path) -> None:
    first, _ = bring_up(home)
    state_path(home).write_text('{"format": "tiffin.sta')

    for command in (lambda: bring_up(home), lambda: down(home), lambda: load(home), lambda: report(home, now=wall_clock())):
        with pytest.raises(Invalid, match="is damaged") as caught:
            command()
        assert "tiffin down --force" in caught.value.fix
    assert all(alive(part.process) for part in first.state.parts.values())

    assert down(home, force=True) == ["seaweed", "valkey"]
    assert not any(alive(part.process) for part in first.state.parts.values())
    bring_up(home)


def test_a_state_file_that_others_can_read_stops_up(home: Path) -> None:
    bring_up(home)
    state_path(home).chmod(0o640)

    with pytest.raises(Denied, match="mode 0640") as caught:
        bring_up(home)

    assert caught.value.fix == f"chmod 600 {state_path(home)}"


def test_a_part_that_cannot_start_is_named_with_its_log_and_the_others_stay_up(home: Path) -> None:
    (home / "seaweed").mkdir(parents=True)
    (home / "seaweed" / "data").write_text("a file where a folder belongs")

    with pytest.raises((NotReady, PlatformError, OSError)):
        bring_up(home)

    assert sorted(load(home).running()) == ["valkey"]


def test_without_a_workspace_file_up_says_where_to_run(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="workspace file") as caught:
        up(home, parts=["webserver"], workspace=tmp_path / "workspace.yaml", settings=Settings(cache=tmp_path / "cache"))

    assert "workspace.yaml" in caught.value.fix
    assert leftovers.find(home) == {}


def test_up_and_down_work_as_commands_with_one_json_object(home: Path) -> None:
    tiffin = [str(Path(sys.executable).parent / "tiffin")]

    started = subprocess.run([*tiffin, "up", "--home", str(home), "--only", "valkey", "--json"], capture_output=True, text=True)
    status = subprocess.run([*tiffin, "status", "--home", str(home), "--json"], capture_output=True, text=True)
    stopped = subprocess.run([*tiffin, "down", "--home", str(home), "--json"], capture_output=True, text=True)

    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["parts"] == {"valkey": "up"}
    assert started.stderr == ""
    assert status.returncode == 3  # the parts that were not started do not work
    assert {part["name"]: part["trouble"] for part in json.loads(status.stdout)["parts"]}["valkey"] is None
    assert json.loads(stopped.stdout)["stopped"] == ["valkey"]
    assert wait_until(lambda: leftovers.find(home) == {}, timeout_s=5)
