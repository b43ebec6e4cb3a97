"""The process of one container: its own session and process group, ended with its agent, and whole groups ended at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.embedded.processes import Process, alive, birth, stop

__all__ = ["Running", "end_leftovers", "start"]

# of util-linux: on every distribution
SETPRIV = "/usr/bin/setpriv"


class Running:
    """A started process; the thread that started it must live as long and `wait` for it."""

    def __init__(self, child: subprocess.Popen[bytes], record: Path) -> None:
        self.child, self.record = child, record
        self.guard = threading.Lock()
        self.ended = False

    def wait(self) -> int:
        """The exit code (negative: a signal), once it and everything it left behind in its group has ended."""
        # look first, collect last: until it is collected its pid cannot be given to a stranger
        os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
        self.signal(signal.SIGKILL)
        with self.guard:
            self.ended = True
            returned = self.child.wait()
        self.record.unlink(missing_ok=True)
        return returned

    def signal(self, what: signal.Signals) -> None:
        """Signal the whole group, unless it is over."""
        with self.guard:
            if self.ended:
                return
            try:
                os.killpg(self.child.pid, what)
            except ProcessLookupError:
                return


def start(command: Sequence[str], *, environ: Mapping[str, str], folder: Path, log: Path, record: Path) -> Running:
    """Start a container's process.

    `setpriv` makes the kernel kill it when the thread that started it ends: an agent that is killed leaves
    nothing behind but what such a process started itself, and that is found again by `record`.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            [SETPRIV, "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environ),
            cwd=folder,
            start_new_session=True,
        )
    record.write_text(f"{child.pid} {birth(child.pid, of_zombie=True)}\n")
    return Running(child, record)


def end_leftovers(pods: Path) -> int:
    """End what an agent that was killed left behind; returns how many containers had something left."""
    found = 0
    for record in pods.glob("*/*.pid"):
        pid, born = record.read_text().split()
        process = Process(int(pid), born)
        # the leader may be gone and its session live on: `stop` looks for both, and leaves strangers alone
        found += alive(process)
        stop(process, grace_s=0.0)
        record.unlink(missing_ok=True)
    return found
