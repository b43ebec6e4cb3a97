"""Server processes of the local stack: started detached, known by pid and birth, stopped for certain.

A pid alone does not name a process: after a crash the kernel may have given it to a stranger. So
every process is recorded with its birth (boot id and start tick), and nothing is ever signalled
whose birth differs.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tiffin.core.errors import NotFound, NotReady

__all__ = ["Process", "alive", "family", "free_port", "free_ports", "port_is_free", "rotate", "spawn", "stop", "tail", "wait_until"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# below Linux's ephemeral range (32768-60999): a client's outgoing connection cannot take a port
# that we have chosen and not yet bound, or that a stopped stack wants back
PORTS = (20_000, 32_700)


@dataclass(frozen=True, slots=True)
class Process:
    """A process and no other: its pid, and the boot and tick at which it was born."""

    pid: int
    born: str


def birth(pid: int, *, of_zombie: bool = False) -> str | None:
    """Boot id and start tick of a living process; None for a dead one or, unless asked, a zombie."""
    try:
        # the second field, the name, may hold spaces and brackets: count from its last bracket
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX" and not of_zombie:
        return None
    return f"{BOOT_ID.read_text().strip()}:{fields[19]}"


def identify(pid: int) -> Process | None:
    """The living process that has this pid now."""
    born = birth(pid)
    return None if born is None else Process(pid, born)


def alive(process: Process) -> bool:
    """Whether this very process still runs (a recycled pid is not it)."""
    reap(process.pid)
    return birth(process.pid) == process.born


def reap(pid: int) -> None:
    """Collect our own dead child, if it is one; a stranger's is not ours to collect."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def rotate(log: Path) -> None:
    """Keep the last run's log as `<name>.1`."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))


def tail(log: Path, *, lines: int = 15) -> str:
    """The last lines of a log, for an error message; empty when there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
) -> Process:
    """Start a program that outlives us: its own session, no terminal, output in `log`.

    Args:
        environ: its whole environment; nothing of ours is inherited.
        log: appended to; readable by its owner only.
        before: called in the child before the program replaces it; not for a process of ours with several threads.

    Raises:
        NotFound: there is no such program.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environ),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=before,
        )
    except FileNotFoundError as err:
        raise NotFound(f"there is no program {str(command[0])!r}", fix="run `tiffin doctor`: it names what is missing") from err
    finally:
        os.close(output)
    # nobody has collected it yet, so it has an entry even if it has ended already
    born = birth(child.pid, of_zombie=True)
    # it is detached on purpose: without this Popen would warn about a child that still runs
    child.returncode = 0
    return Process(child.pid, born or "never")


def family(process: Process) -> list[Process]:
    """The process, its living descendants, and what is left of its session (leader dead or not)."""
    found: dict[int, Process] = {}
    if alive(process):
        found[process.pid] = process
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:
            children = []
        found.update((child.pid, known) for child in children if (known := identify(child.pid)))
    elif birth(process.pid) is not None:
        return []  # the pid is a stranger's by now, and so would its session be
    for pid in psutil.pids():
        try:
            same_session = pid not in found and os.getsid(pid) == process.pid
        except OSError:
            continue
        if same_session and (known := identify(pid)):
            found[pid] = known
    return list(found.values())


def stop(process: Process, *, grace_s: float = 10.0, ask: signal.Signals = signal.SIGTERM) -> bool:
    """End a process and everything it started; returns whether it went when asked.

    The leader is asked first and given `grace_s`: it may want to end its children in its own order.
    Whatever of the family is left is then asked for one second, then killed.
    """
    members = family(process)
    if not members:
        return True
    send([process], ask)
    # one that was suspended hears nothing before it goes on
    send([process], signal.SIGCONT)
    gone = wait_until(lambda: not alive(process), timeout_s=grace_s)
    known = {member.pid: member for member in [*members, *family(process)]}
    rest = [member for member in known.values() if alive(member)]
    if gone and rest:
        send(rest, signal.SIGTERM)
        wait_until(lambda: not any(map(alive, rest)), timeout_s=1.0)
    send(rest, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, rest)), timeout_s=5.0)
    return gone


def send(processes: Iterable[Process], what: signal.Signals) -> None:
    """Signal those that are still the very processes we know."""
    for process in processes:
        if alive(process):
            try:
                os.kill(process.pid, what)
            except ProcessLookupError:
                continue


def wait_until(done: Callable[[], bool], *, timeout_s: float, every_s: float = 0.02) -> bool:
    """Ask again and again; False when the time is over."""
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(every_s)
    return True


def port_is_free(port: int) -> bool:
    """Whether a server could bind this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as servers do: a port in TIME_WAIT after a restart is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, avoid: Collection[int] = ()) -> list[int]:
    """Distinct free ports of 127.0.0.1, outside the range the kernel gives to clients.

    Args:
        avoid: promised to somebody who has not bound them yet.

    Raises:
        NotReady: the machine has no free port left.
    """
    found: list[int] = []
    chooser = random.SystemRandom()
    for _ in range(2000):
        port = chooser.randrange(*PORTS)
        if port not in found and port not in avoid and port_is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise NotReady(f"found {len(found)} of {count} free ports on 127.0.0.1", fix="stop some servers: `ss -ltnp` lists them")


def free_port() -> int:
    """One free port of 127.0.0.1."""
    return free_ports(1)[0]
