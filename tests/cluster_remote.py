"""What a jump-off pod runs: `python -m tests.cluster_remote FOLDER cancel|keep JOB`: two processes, as `step_entry` has them."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tiffin.engines.remote import find_remote
from tiffin.engines.remote_drive import Pace, drive
from tiffin.engines.remote_keep import Keep, cancel_kept
from tiffin.storage.folder import FolderStore

PREFIX = "checkpoints/run/step/"
SIGNALS = {signal.SIGTERM, signal.SIGCHLD}


def conduct(folder: Path, job: dict[str, object], *, cancel: bool) -> None:
    """The inner process: one attempt of the step."""
    told = json.loads((folder / "remote.json").read_text())
    keep = Keep(FolderStore(folder / "store"), PREFIX)
    before = keep.load()
    keep = Keep(keep.store, PREFIX, attempt=1 if before is None else before.attempt + 1)
    remote = find_remote("spark-standalone", told)
    done = drive(remote, job, keep, cancel=cancel, pace=Pace(poll_s=0.3), told=lambda text: print(text, flush=True))
    print(json.dumps({"remote_id": done.remote_id, "adopted": done.adopted}), flush=True)


def main(folder: Path, cancel: bool, job: dict[str, object]) -> int:
    """The outer process: an eviction kills the inner one at once, and then cancels what it had begun."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        conduct(folder, job, cancel=cancel)
        os._exit(0)
    if signal.sigwait(SIGNALS) == signal.SIGCHLD:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("evicted; cancelled:", cancel_kept(FolderStore(folder / "store"), PREFIX), flush=True)
    return 143


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] == "cancel", json.loads(sys.argv[3])))
