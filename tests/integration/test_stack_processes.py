"""Processes are known by pid and birth, and are gone when they were stopped."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tiffin.core.errors import NotFound
from tiffin.embedded import leftovers
from tiffin.embedded.processes import (
    Process,
    alive,
    birth,
    family,
    free_ports,
    identify,
    port_is_free,
    rotate,
    spawn,
    stop,
    tail,
    wait_until,
)

ENVIRONMENT = {"PATH": os.environ["PATH"]}
# a leader, a child, a grandchild with a process group of its own, and one that deserts the session and its parents
TREE = "sleep 600 & sh -c 'sleep 600 & wait' & exec setsid sh -c 'sleep 600' & wait"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def run(tmp_path: Path, script: str, **marks: str) -> Process:
    return spawn(["/bin/sh", "-c", script], log=tmp_path / "log", environ={**ENVIRONMENT, **marks})


def test_a_spawned_program_is_detached_and_its_output_is_in_a_private_log(tmp_path: Path) -> None:
    process = run(tmp_path, "echo hello; sleep 600")

    assert wait_until(lambda: "hello" in tail(tmp_path / "log"), timeout_s=10)
    assert os.getsid(process.pid) == process.pid
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
    stop(process)
    assert not alive(process)


def test_a_spawned_program_inherits_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "hush")

    process = run(tmp_path, "env; sleep 600")

    said = wait_until(lambda: "PATH=" in tail(tmp_path / "log"), timeout_s=10)
    stop(process)
    assert said
    assert "CANARY" not in tail(tmp_path / "log")


def test_a_recycled_pid_is_never_signalled(tmp_path: Path) -> None:
    stranger = run(tmp_path, "sleep 600")

    stop(Process(stranger.pid, "another boot:17"))

    spared = alive(stranger)
    stop(stranger)
    assert spared
    assert not alive(Process(stranger.pid, "another boot:17"))
    assert family(Process(stranger.pid, "another boot:17")) == []


def test_stopping_ends_children_grandchildren_and_the_one_that_left_the_session(tmp_path: Path) -> None:
    process = run(tmp_path, TREE)
    assert wait_until(lambda: len(family(process)) >= 5, timeout_s=10)
    members = family(process)

    stop(process)

    assert not any(alive(member) for member in members)


def test_what_a_dead_leader_left_in_its_session_is_found_and_ended(tmp_path: Path) -> None:
    process = run(tmp_path, "sleep 600 & echo up; wait")
    assert wait_until(lambda: len(family(process)) == 2, timeout_s=10)
    orphan = next(member for member in family(process) if member != process)
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(process), timeout_s=10)

    assert [member.pid for member in family(process)] == [orphan.pid]
    stop(process)

    assert not alive(orphan)


def test_a_program_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    process = spawn([sys.executable, "-c", STUBBORN], log=tmp_path / "log", environ=ENVIRONMENT)
    assert wait_until(lambda: "up" in tail(tmp_path / "log"), timeout_s=20)

    went_when_asked = stop(process, grace_s=0.3)

    assert not went_when_asked
    assert not alive(process)


def test_a_program_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no program"):
        spawn([tmp_path / "no-such-program"], log=tmp_path / "log", environ=ENVIRONMENT)


def test_a_zombie_counts_as_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert wait_until(lambda: birth(pid) is None, timeout_s=10)

    assert identify(pid) is None
    os.waitpid(pid, 0)


def test_the_log_before_is_kept_once(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    for text in ("first", "second", "third"):
        rotate(log)
        log.write_text(text)

    assert (log.read_text(), (tmp_path / "part.log.1").read_text()) == ("third", "second")


def test_free_ports_are_distinct_free_and_below_the_range_of_clients() -> None:
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert all(20_000 <= port < 32_768 for port in ports)
    with socket.create_server(("127.0.0.1", ports[0])):
        assert not port_is_free(ports[0])
        assert port_is_free(ports[1])


def test_leftovers_are_found_by_their_mark_and_by_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    marked = run(tmp_path, "sleep 600", **leftovers.marked(home, "agent"))
    other_home = run(tmp_path, "sleep 600", **leftovers.marked(tmp_path / "other", "agent"))
    unmarked = run(tmp_path, f"sleep 600; echo {home}")
    time.sleep(0.1)

    found = leftovers.find(home)

    assert marked.pid in [process.pid for process in found["agent"]]
    everything = [process.pid for processes in found.values() for process in processes]
    assert other_home.pid not in everything
    assert unmarked.pid not in everything
    assert leftovers.find(home, "daemon") == {}
    for process in (marked, other_home, unmarked):
        stop(process)
