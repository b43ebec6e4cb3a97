"""The parts of the local stack: what each needs, how it starts, how it shows that it works, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tiffin.core.digests import digest_json
from tiffin.core.errors import NotReady
from tiffin.core.settings import Settings, inherited_environment
from tiffin.embedded import code_servers, dagster_server, on_cluster, seaweed, valkey
from tiffin.embedded.identities import secrets_folder
from tiffin.embedded.jail import Jail
from tiffin.embedded.leftovers import marked
from tiffin.embedded.probes import agent_trouble, promoter_trouble
from tiffin.embedded.processes import Process, alive, identify, rotate, spawn, stop, tail
from tiffin.embedded.serving_env import serving_python
from tiffin.embedded.state import PartState

__all__ = ["PARTS", "Part", "Place"]

LIBRARY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part is started: the home, the ports of all parts, and the settings they share."""

    home: Path
    settings: Settings
    ports: Mapping[str, Mapping[str, int]]
    workspace: Path
    say: Callable[[str], None]

    def log(self, part: str) -> Path:
        """Where a part writes; the run before is beside it."""
        return self.home / "logs" / f"{part}.log"

    def environment(self, part: str, *, own: Mapping[str, str] | None = None, with_settings: bool = True) -> dict[str, str]:
        """All that a part gets: no variable of our own shell but the harmless ones."""
        settings = self.settings.to_environment() if with_settings else {}
        return {**inherited_environment(), "PYTHONUNBUFFERED": "1", **marked(self.home, part), **settings, **(own or {})}

    @property
    def teams(self) -> list[str]:
        """The workspace's code locations, one a team."""
        return [one.name for one in code_servers.locations_of(self.workspace)]

    def jailed(
        self, program: Sequence[str | Path], *, write: Sequence[Path], hide: Sequence[str], also: Sequence[Path] = ()
    ) -> list[str | Path]:
        """The program behind bars, unless isolation was switched off; `hide` names folders of the home, `also` any others."""
        if self.settings.isolation == "none":
            return list(program)
        scratch = [Path("/tmp"), Path("/var/tmp")]  # noqa: S108  theirs to use, not ours
        # what the promoter runs must not be writable, wherever the checkout lies
        code = {LIBRARY.parent, Path(sys.prefix), self.home}
        folders = [*(self.home / name for name in ("secrets", *hide) if (self.home / name).is_dir()), *also]
        return Jail(hide=tuple(folders), write=(*scratch, *write), read=tuple(sorted(code))).command(program)

    @property
    def step_cache(self) -> Path:
        """What steps may cache: read by nothing outside their jail, so that no code gets out this way."""
        return self.settings.cache / "jailed"

    @property
    def serving_cache(self) -> Path:
        """The same for what serves: steps can read it and not write it."""
        return self.settings.cache / "serving"


class Part(Protocol):
    """One server of the stack. `needs` must answer before `start`; all its ports are known by then."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    @property
    def port_names(self) -> tuple[str, ...]: ...

    def start(self, place: Place) -> PartState:
        """Start and return once it works by use. Raises NotReady with the end of the log."""
        ...

    def trouble(self, place: Place, running: PartState) -> str | None:
        """What is wrong with it, asked by use; None when it works."""
        ...

    def stop(self, running: PartState) -> None:
        """End it with everything it started; what it holds is kept."""
        ...


def recorded(process: Process, ports: Mapping[str, int], environment: str = "", **detail: Any) -> PartState:
    """The part as the state file knows it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return PartState(pid=process.pid, born=process.born, started_at=now, ports=dict(ports), environment=environment, detail=detail)


def settings_digest(place: Place, name: str, needs: Sequence[str]) -> str:
    """Changes when a part must be started again because what it was told is no longer so."""
    # the code servers were told the workspace's locations, their readers the servers' addresses
    source = place.workspace if name == "code" else told_addresses(place) if "code" in needs else None
    told = source.read_text() if source is not None and source.exists() else ""
    return digest_json([place.settings.to_environment(), str(place.workspace), told])[:16]


@dataclass(frozen=True, slots=True)
class ValkeyPart:
    """The online store."""

    name: str = "valkey"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ("valkey",)

    def start(self, place: Place) -> PartState:
        ports = place.ports[self.name]
        server = valkey.start_valkey(
            place.home / "valkey",
            port=ports["valkey"],
            secrets=secrets_folder(place.home),
            log=place.log(self.name),
            environ=place.environment(self.name, with_settings=False),
        )
        return recorded(server.process, ports)

    def trouble(self, place: Place, running: PartState) -> str | None:
        admin = valkey.valkey_passwords(secrets_folder(place.home))["admin"]
        return None if valkey.answers(running.ports["valkey"], admin) else "it takes no write"

    def stop(self, running: PartState) -> None:
        valkey.stop_valkey(running.process)


@dataclass(frozen=True, slots=True)
class SeaweedPart:
    """The object store."""

    name: str = "seaweed"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = seaweed.PORTS

    def start(self, place: Place) -> PartState:
        ports = place.ports[self.name]
        server = seaweed.start_seaweed(
            place.home / "seaweed",
            ports=ports,
            secrets=secrets_folder(place.home),
            log=place.log(self.name),
            environ=place.environment(self.name, with_settings=False),
            attempts=1,
        )
        return recorded(server.process, ports)

    def trouble(self, place: Place, running: PartState) -> str | None:
        admin = seaweed.seaweed_keys(secrets_folder(place.home)).admin
        return None if seaweed.answers(running.ports["s3"], admin) else "an object that was put did not come back"

    def stop(self, running: PartState) -> None:
        seaweed.stop_seaweed(running.process)


@dataclass(frozen=True, slots=True)
class TritonPart:
    """The model server, empty until the agent fills it."""

    name: str = "triton"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ("http", "grpc", "metrics")

    def start(self, place: Place) -> PartState:
        folder, ports = place.home / "serving", place.ports[self.name]
        folder.mkdir(exist_ok=True)
        place.serving_cache.mkdir(parents=True, exist_ok=True)
        log = folder / "triton.log"
        rotate(log)
        link = place.log(self.name)
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path("..", "serving", "triton.log"))
        python = serving_python(place.settings.cache, say=place.say)
        numbers = [str(ports[name]) for name in self.port_names]
        starter: list[str | Path] = [sys.executable, "-m", "tiffin.embedded.jailed_triton", folder, python, *numbers]
        command = serving_jail(place, starter)
        environment = place.environment(self.name, own=serving_environment(place), with_settings=False)
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise NotReady(f"triton did not start: {done.stderr.strip()[-1500:]}", fix=f"read {log}")
        server = json.loads(done.stdout.strip().splitlines()[-1])
        process = identify(server["pid"])
        if process is None:
            raise NotReady(f"triton ended after its start:\n{tail(log)}", fix=f"read {log}")
        return recorded(process, ports, server=server)

    def trouble(self, place: Place, running: PartState) -> str | None:
        from tiffin.serving.triton import Triton  # 0.3 s of gRPC, not for every command

        client = Triton(f"127.0.0.1:{running.ports['grpc']}", timeout_s=5)
        try:
            return None if client.live() else "it says that it is not live"
        finally:
            client.close()

    def stop(self, running: PartState) -> None:
        from tiffin.embedded.triton import TritonServer  # as above

        TritonServer(**running.detail["server"]).stop()


@dataclass(frozen=True, slots=True)
class ProgramPart:
    """A Python program of ours or Dagster's: started from a command, asked by a probe."""

    name: str
    needs: tuple[str, ...]
    port_names: tuple[str, ...]
    command: Callable[[Place], list[str | Path]]
    ask: Callable[[Place, PartState], str | None]
    own: Callable[[Place], Mapping[str, str]] = field(default=lambda place: {})
    folders: Callable[[Place], Sequence[Path]] = field(default=lambda place: ())
    patience_s: float = 120
    grace_s: float = 8

    def start(self, place: Place) -> PartState:
        for folder in self.folders(place):
            folder.mkdir(parents=True, exist_ok=True)
        log = place.log(self.name)
        rotate(log)
        process = spawn(self.command(place), log=log, environ=place.environment(self.name, own=self.own(place)), cwd=place.workspace.parent)
        running = recorded(process, place.ports.get(self.name, {}), settings_digest(place, self.name, self.needs))
        end, trouble = time.monotonic() + self.patience_s, self.ask(place, running)
        while trouble is not None:
            if not alive(process) or time.monotonic() > end:
                state = f"did not work within {self.patience_s:.0f} s ({trouble})" if alive(process) else "ended"
                stop(process, grace_s=2)
                raise NotReady(f"{self.name} {state}:\n{tail(log)}", fix=f"read {log}")
            time.sleep(0.1)
            trouble = self.ask(place, running)
        return running

    def trouble(self, place: Place, running: PartState) -> str | None:
        if running.environment != settings_digest(place, self.name, self.needs):
            return "it was started with other settings"
        return self.ask(place, running)

    def stop(self, running: PartState) -> None:
        stop(running.process, grace_s=self.grace_s)


def serving_jail(place: Place, program: Sequence[str | Path]) -> list[str | Path]:
    """The agent needs the prod-read key, which it is given; nothing else of the home but its folder."""
    return place.jailed(program, write=[place.home / "serving", place.serving_cache], hide=["seaweed", "valkey", "dagster"])


def step_jail(place: Place, program: Sequence[str | Path], *, also: Sequence[Path] = ()) -> list[str | Path]:
    """Steps write in Dagster's folder and in temporary ones; what is served is not theirs to change."""
    return place.jailed(program, write=[place.home / "dagster", place.step_cache], hide=["seaweed", "valkey", "serving"], also=also)


def code_jail(place: Place, program: Sequence[str | Path]) -> list[str | Path]:
    """As steps; and who loads teams' code does not see the key to the cluster."""
    if place.settings.cluster is None:
        return step_jail(place, program)
    needed = [place.home, place.workspace, LIBRARY, Path(sys.prefix), place.settings.cache]
    return step_jail(place, program, also=[on_cluster.hidden_folder(Path(place.settings.cluster), needed)])


def serving_environment(place: Place) -> dict[str, str]:
    """The environment's own folder is read-only in the jail: compiled modules go to the cache."""
    return {"PYTHONPYCACHEPREFIX": str(place.serving_cache / "pycache")}


def step_environment(place: Place) -> dict[str, str]:
    """Where Dagster and jailed Python keep what they write."""
    cache = place.step_cache
    folders = {"DAGSTER_HOME": str(place.home / "dagster"), "XDG_CACHE_HOME": str(cache), "PYTHONPYCACHEPREFIX": str(cache / "pycache")}
    on = {} if place.settings.cluster is None else on_cluster.store_environment(place.settings)
    return {**folders, **dagster_server.EVENT_BATCHES, **on}


def launching_environment(place: Place) -> dict[str, str]:
    """Who launches and ends runs also has the key to the cluster."""
    on = {} if place.settings.cluster is None else {"KUBECONFIG": place.settings.cluster}
    return {**step_environment(place), **on}


def step_folders(place: Place) -> list[Path]:
    """Made before the jail closes over them."""
    folder, settings = place.home / "dagster", place.settings
    if settings.cluster is None:
        dagster_server.write_instance(folder)
    else:
        dagster_server.write_instance(folder, launching=on_cluster.as_text(on_cluster.instance(settings, folder, place.teams)))
    return [place.home / "dagster", place.step_cache / "pycache", place.home / "seaweed", place.home / "valkey", place.home / "serving"]


def ask_daemon(place: Place, running: PartState) -> str | None:
    """Its heartbeats, as the webserver reads them."""
    since = datetime.fromisoformat(running.started_at).timestamp()
    return dagster_server.daemon_trouble(place.ports["webserver"]["http"], since=since)


PROMOTER = ProgramPart(
    name="promoter",
    needs=("seaweed",),
    port_names=(),
    command=lambda place: [sys.executable, "-m", "tiffin.registry.promoter", "--home", place.home],
    ask=lambda place, running: promoter_trouble(place.settings),
)
AGENT = ProgramPart(
    name="agent",
    needs=("valkey", "seaweed", "triton"),
    port_names=("http",),
    command=lambda place: serving_jail(
        place,
        [
            *(sys.executable, "-m", "tiffin.serving.agent", "--folder", place.home / "serving"),
            *("--triton-grpc", f"127.0.0.1:{place.ports['triton']['grpc']}", "--http-port", str(place.ports["agent"]["http"])),
        ],
    ),
    ask=lambda place, running: agent_trouble(place.ports["agent"]["http"]),
    own=serving_environment,
    folders=lambda place: [place.serving_cache, *(place.home / name for name in ("serving", "seaweed", "valkey", "dagster"))],
)


def told_addresses(place: Place) -> Path:
    """Where the code servers say that they answer."""
    return place.home / "dagster" / code_servers.ADDRESSES


def forget_addresses(place: Place) -> list[Path]:
    """What an earlier run told is not true any more."""
    told_addresses(place).unlink(missing_ok=True)
    return step_folders(place)


CODE = ProgramPart(
    name="code",
    needs=(),
    port_names=(),
    command=lambda place: code_jail(
        place,
        [
            *(sys.executable, "-m", "tiffin.embedded.code_servers"),
            *("--workspace", place.workspace, "--folder", place.home / "dagster"),
            *("--avoid", *(str(port) for ports in place.ports.values() for port in ports.values())),
        ],
    ),
    ask=lambda place, running: None if told_addresses(place).exists() else "code locations are still loading",
    own=step_environment,
    folders=forget_addresses,
    patience_s=240,
    grace_s=6,
)
WEBSERVER = ProgramPart(
    name="webserver",
    needs=("code",),
    port_names=("http",),
    command=lambda place: step_jail(place, dagster_server.webserver_command(place.ports["webserver"]["http"], told_addresses(place))),
    ask=lambda place, running: dagster_server.webserver_trouble(running.ports["http"]),
    own=launching_environment,
    folders=step_folders,
    patience_s=240,
    grace_s=4,
)
DAEMON = ProgramPart(
    name="daemon",
    needs=("code",),
    port_names=(),
    command=lambda place: step_jail(place, dagster_server.daemon_command(told_addresses(place))),
    ask=ask_daemon,
    own=launching_environment,
    folders=step_folders,
    patience_s=240,
    grace_s=4,
)
PARTS: dict[str, Part] = {part.name: part for part in (ValkeyPart(), SeaweedPart(), TritonPart(), PROMOTER, AGENT, CODE, WEBSERVER, DAEMON)}
