"""`python -m tiffin.serving.agent`: the process that stands beside one Triton server."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from tiffin.core.settings import Settings
from tiffin.core.units import to_us
from tiffin.manifests.signing import Verifier
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.online.store import OnlineStore
from tiffin.serving.cache import CachedStore
from tiffin.serving.health import Probe
from tiffin.serving.http import serve_status
from tiffin.serving.loader import Loader
from tiffin.serving.online_copy import OnlineCopy
from tiffin.serving.repository import RepositoryFolder
from tiffin.serving.rounds import Agent
from tiffin.serving.served import read_memory, write_memory
from tiffin.serving.triton import Triton, control_key_path
from tiffin.serving.watch import Watch
from tiffin.storage.folder import FolderStore
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

__all__ = ["build", "main", "run"]

logger = logging.getLogger(__name__)


def build(
    folder: Path,
    *,
    triton_grpc: str,
    prod: ObjectStore,
    verifier: Verifier,
    online: OnlineStore,
    reader_url: str,
    as_of_us: int | None = None,
    audit_s: float = 60.0,
) -> tuple[Agent, Watch]:
    """The agent's parts, put together; nothing is started.

    Args:
        folder: its own: `repository` for Triton, whose `control.key` is here, `cache` of verified objects, `agent.json`.
        reader_url: how Triton's steps reach the online store: a user that may only read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    triton = Triton(triton_grpc, control_key=control_key_path(folder))
    repository = RepositoryFolder(folder / "repository")
    changed = repository.write_runtime(online_url=reader_url, as_of_us=as_of_us)
    probe = Probe(triton, repository)
    store = CachedStore(prod, FolderStore(folder / "cache"), verifier)
    memory = folder / "agent.json"
    agent = Agent(
        Loader(store, verifier, triton, repository, probe),
        OnlineCopy(online, prod=store, verifier=verifier),
        memory=read_memory(memory),
        remember=lambda value: write_memory(memory, value),
        surroundings_changed=changed,
    )
    probe.healed = agent.healed.append
    return agent, Watch(prod, verifier, live=agent.live, audit_s=audit_s)


def run(agent: Agent, watch: Watch, *, http_port: int, stop: threading.Event, every_s: float = 0.5) -> None:
    """Round after round until `stop`. What Triton serves stays when the agent goes."""
    server = serve_status(http_port, lambda: {**agent.status(), "damaged_in_prod": list(watch.findings)})
    watching = watch.start(stop)
    try:
        while not stop.is_set():
            try:
                agent.round(watch.seen)
            except Exception as err:  # the loop's edge: what is live must go on being looked after
                logger.exception("a round failed")
                agent.failed(err)
            stop.wait(every_s)
    finally:
        stop.set()
        server.shutdown()
        watching.join(5)


class FieldFormatter(logging.Formatter):
    """Appends a record's own fields, `extra={...}`, to its message."""

    standard = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in self.standard}
        return super().format(record) + "".join(f" {name}={value!r}" for name, value in fields.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Settings come from `TIFFIN_*`: where prod and the online store are, and whose signature counts."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.serving.agent", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, required=True, help="the agent's own; Triton's model repository is its subfolder 'repository'"
    )
    parser.add_argument("--triton-grpc", required=True, help="host:port")
    parser.add_argument("--http-port", type=int, required=True, help="for /ready and /status, on 127.0.0.1")
    parser.add_argument("--every-s", type=float, default=0.5, help="seconds between two rounds")
    given = parser.parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])

    settings = Settings.from_environment()
    prod = S3Store(
        settings.prod_bucket,
        settings.need("s3_endpoint"),
        settings.need("prod_read_access_key"),
        settings.need("prod_read_secret_key"),
        settings.s3_region,
        attempts=2,
        timeout_s=10,
    )
    replay = settings.replay_instant
    agent, watch = build(
        given.folder,
        triton_grpc=given.triton_grpc,
        prod=prod,
        verifier=Verifier(settings.need("signing_public_key")),
        online=RedisStore(connect(settings.need("online_url"))),
        reader_url=settings.need("online_reader_url" if settings.online_reader_url is not None else "online_url"),
        as_of_us=None if replay is None else to_us(replay),
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(agent, watch, http_port=given.http_port, stop=stop, every_s=given.every_s)


if __name__ == "__main__":
    main()
