"""One code server per code location, shared by Dagster's webserver and daemon.

Left to themselves, both load every location, and the daemon does so again each minute: on two
cores that is a tenth of the machine for ever. Here each location is loaded once, by a server of its
own that the UI can tell to reload; both are pointed at it by a workspace file with addresses only.

    python -m tiffin.embedded.code_servers --workspace workspace.yaml --folder DAGSTER_HOME
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from tiffin.core.errors import Invalid, NotFound
from tiffin.embedded.processes import free_ports

__all__ = ["ADDRESSES", "Location", "locations_of", "main"]

ADDRESSES = "workspace.yaml"
"""File in Dagster's home that names the servers; it appears once all of them answer."""

KINDS = {"python_module": ("module_name", "-m"), "python_file": ("relative_path", "-f")}
PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Location:
    """A code location: a module or file, loaded from `folder`."""

    name: str
    target: tuple[str, str]
    folder: Path

    def command(self, port: int) -> list[str]:
        """Its server."""
        return [
            *(sys.executable, "-m", "dagster", "code-server", "start", *self.target, "-d", str(self.folder)),
            *("--host", "127.0.0.1", "--port", str(port), "--location-name", self.name, "--log-level", "warning"),
            "--use-python-environment-entry-point",
        ]


def locations_of(workspace: Path) -> list[Location]:
    """The locations of a workspace file, whose relative paths start at its folder.

    Raises:
        NotFound: no such file. Invalid: it has an entry of another kind.
    """
    if not workspace.is_file():
        raise NotFound(f"there is no workspace file {str(workspace)!r}", fix="run this in the project's folder, or give --workspace")
    try:
        entries = (yaml.safe_load(workspace.read_text()) or {})["load_from"]
    except (yaml.YAMLError, KeyError, TypeError) as err:
        raise Invalid(
            f"workspace file {str(workspace)!r} has no readable 'load_from' list", fix="see workspace.yaml of the example"
        ) from err
    return [location(entry, workspace) for entry in entries]


def location(entry: dict[str, Any], workspace: Path) -> Location:
    """One entry of `load_from`."""
    kind = next(iter(entry), "nothing")
    if kind not in KINDS:
        raise Invalid(f"workspace file {str(workspace)!r} has an entry {kind!r}", fix=f"use one of: {', '.join(KINDS)}")
    field, flag = KINDS[kind]
    given = {field: entry[kind]} if isinstance(entry[kind], str) else entry[kind]
    root = workspace.resolve().parent
    target = given[field] if kind == "python_module" else str((root / given[field]).resolve())
    return Location(given.get("location_name", given[field]), (flag, target), root / given.get("working_directory", "."))


def addresses(ports: dict[str, int]) -> str:
    """A workspace file that names servers instead of code."""
    entries = [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": name}} for name, port in ports.items()]
    return str(yaml.safe_dump({"load_from": entries}, sort_keys=False))


def answers(port: int) -> bool:
    """Whether a code server answers there, by asking it and not by its open port."""
    from dagster._grpc.client import DagsterGrpcClient  # 2 s of Dagster, and only this process needs it

    try:
        DagsterGrpcClient(port=port, host="127.0.0.1").ping("")
    except Exception:  # noqa: BLE001  not yet, whatever gRPC says; the caller waits and looks whether the server lives
        return False
    return True


def prepare(folder: Path) -> None:
    """Make the instance's databases, once and alone: servers that start together would race for it."""
    if not (folder / "history").exists():
        from dagster import DagsterInstance  # as above

        with DagsterInstance.get() as instance:
            instance.get_runs(limit=1)


def main(arguments: Sequence[str]) -> int:
    """Start the servers, tell where they are, start again the one that ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="DAGSTER_HOME; gets the file with the addresses")
    parser.add_argument("--avoid", type=int, nargs="*", default=[], help="ports promised to others that have not bound them yet")
    options = parser.parse_args(arguments)
    found = locations_of(options.workspace)
    told = options.folder / ADDRESSES
    told.unlink(missing_ok=True)
    prepare(options.folder)
    ports = dict(zip((one.name for one in found), free_ports(len(found), avoid=options.avoid), strict=True))
    servers = {one.name: subprocess.Popen(one.command(ports[one.name]), cwd=one.folder) for one in found}
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        for server in servers.values():
            server.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    silent = set(ports)
    while not ending:
        silent = {name for name in silent if not answers(ports[name])}
        if not silent and not told.exists():
            beside = told.with_suffix(".new")
            beside.write_text(addresses(ports))
            os.replace(beside, told)
        for one in found:
            if servers[one.name].poll() is not None and not ending:
                if not told.exists():  # nobody knows its address yet, and somebody may have taken it
                    ports[one.name] = free_ports(1, avoid=[*options.avoid, *ports.values()])[0]
                servers[one.name] = subprocess.Popen(one.command(ports[one.name]), cwd=one.folder)
                time.sleep(1)  # a server that cannot start is not tried in a tight loop
        time.sleep(PAUSE_S if silent else 1)
    for server in servers.values():
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
