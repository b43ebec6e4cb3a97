"""A process that publishes editions and dies by SIGKILL where it is told.

It imports everything once and forks for each publication: `{"edition": 2, "die": {"rows": 400}}` or
`{"die": {"step": "before-flip"}}`, one JSON object per line on stdin; the wait status comes back on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

from tests.online_case import T0, edition, view_record  # noqa: E402  # after the path is set
from tiffin.manifests.records import GenerationRecord  # noqa: E402
from tiffin.online.publisher import publish_delta, publish_generation  # noqa: E402
from tiffin.online.redis import connect  # noqa: E402
from tiffin.online.redis_store import RedisStore  # noqa: E402
from tiffin.storage.folder import FolderStore  # noqa: E402


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def publish(url: str, dev: str, order: dict) -> None:
    """One publication, as a step's process would do it."""
    step, rows = order["die"].get("step"), order["die"].get("rows")
    nth = [order["die"].get("nth", 1)]

    def at(name: str) -> None:
        if name == step:
            nth[0] -= 1
            if nth[0] == 0:
                die()

    def progress(done: int, total: int) -> None:
        if rows is not None and done >= rows:
            die()

    made = edition(order["edition"], range(*order["ids"]), event_time_us=T0 + order.get("later_us", 0))
    common = {
        "keys": made.keys,
        "columns": made.columns,
        "event_time_us": made.event_time_us,
        "watermark_us": T0 + order["edition"],
        "as_of_us": None,
        "dev": FolderStore(Path(dev)),
        "promote": lambda digest: None,
        "store": RedisStore(connect(url), batch=order["batch"]),
        "at": at,
        "progress": progress,
    }
    if "current" in order:
        publish_delta(view_record(), **common, current=GenerationRecord.model_validate(order["current"]))
    else:
        publish_generation(view_record(), **common)


def main() -> None:
    url, dev = sys.argv[1:]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                publish(url, dev, json.loads(line))
            finally:
                sys.stderr.flush()
            os._exit(0)
        print(json.dumps(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
