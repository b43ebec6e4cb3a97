"""The whole local stack: up, down and what is known of it between the two.

`up` compares what should run with what does, and starts only what is missing, sick or started under
other settings; so a second `up` is harmless and mends. Parts start side by side as their needs allow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiffin.core.errors import Invalid, NotFound, PlatformError, Unsupported, nearest
from tiffin.core.settings import Settings
from tiffin.core.units import parse_instant
from tiffin.embedded import leftovers, on_cluster
from tiffin.embedded.code_servers import locations_of
from tiffin.embedded.identities import make_secrets, user_settings
from tiffin.embedded.jail import why_impossible
from tiffin.embedded.parts import PARTS, Place
from tiffin.embedded.processes import alive, free_ports, port_is_free, stop
from tiffin.embedded.secret_files import make_private
from tiffin.embedded.state import PartState, StackState, locked, read_state, state_path, write_state

__all__ = ["Stack", "Step", "down", "load", "up"]

Progress = Callable[[str, "Step"], None]
Step = Literal["starting", "mending", "up", "kept", "stopping", "down", "failed"]
# ended in this order: who starts work first, who holds data last
STOP_ORDER = (("daemon", "webserver", "code", "agent", "promoter"), ("triton",), ("valkey", "seaweed"))


@dataclass(frozen=True, slots=True)
class Stack:
    """A recorded stack: what runs where, and how to reach it."""

    home: Path
    state: StackState

    def settings(self) -> Settings:
        """The settings of a user of this stack: dev key, prod-read key, publisher."""
        return Settings.from_environment(self.state.settings)

    def running(self) -> dict[str, PartState]:
        """The parts whose process is alive."""
        return {name: part for name, part in self.state.parts.items() if alive(part.process)}

    def urls(self) -> dict[str, str]:
        """Where the parts that run are reached."""
        running = self.running()
        shapes = {"dagster_ui": ("webserver", "http", "http://"), "agent": ("agent", "http", "http://"), "s3": ("seaweed", "s3", "http://")}
        shapes |= {"triton_grpc": ("triton", "grpc", ""), "triton_http": ("triton", "http", "http://")}
        return {name: f"{scheme}127.0.0.1:{running[part].ports[port]}" for name, (part, port, scheme) in shapes.items() if part in running}


def load(home: Path) -> Stack:
    """The stack of a home.

    Raises:
        NotFound: none was ever started there. Denied, Invalid: its state file is not usable.
    """
    home = home.resolve()
    state = read_state(home)
    if state is None:
        raise NotFound(f"there is no stack in {home}", fix="start one with `tiffin up`")
    return Stack(home, state)


def up(
    home: Path,
    *,
    as_of: str | None = None,
    parts: Sequence[str] | None = None,
    workspace: Path | None = None,
    cluster: str | None = None,
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = lambda part, step: None,
) -> Stack:
    """Bring up every part that is not up, and return when all work.

    Args:
        as_of: the instant to replay; None keeps the recorded one.
        parts: some of `PARTS`, with all they need; None means all.
        workspace: Dagster's workspace file; None means the recorded one, else `workspace.yaml` here.
        cluster: kubeconfig of a cluster where runs go, or "none" to have them here again; None keeps what is recorded.
        settings: for its `cache` and `isolation`.

    Raises:
        NotReady: a part did not start, twice; those that did are recorded and stay up.
        NotFound: the cluster has no place for a team.
        Unsupported: steps cannot be isolated on this machine.
    """
    home = make_private(home).resolve()
    chosen = with_needs(parts if parts is not None else PARTS)
    given = settings or Settings.from_environment()
    with locked(home):
        state = renew(home, read_state(home) or StackState(), as_of=as_of, workspace=workspace, isolation=given.isolation, cluster=cluster)
        if "code" in chosen and not Path(state.workspace or "").is_file():
            raise Invalid(f"Dagster's workspace file {state.workspace} does not exist", fix="run `tiffin up` where workspace.yaml is")
        jailed = [part for part in ("triton", "agent", "code", "webserver", "daemon") if part in chosen and part not in state.parts]
        if state.isolation == "namespace" and jailed:
            trouble = why_impossible()
            if trouble is not None:
                raise trouble
        if state.cluster is not None and "code" in chosen:
            on_cluster.check(Path(state.cluster), teams_of(state))
        make_secrets(home)
        session = Session(home, state, given.cache, say, progress)
        # a second round only when a part had to move to another port, and others were told the old one
        for _ in range(3):
            if not session.round(chosen):
                break
        if state.cluster is not None and "code" in chosen:
            on_cluster.hand_out(Path(state.cluster), teams_of(state), on_cluster.pod_environment(session.place().settings))
        return Stack(home, session.state)


def teams_of(state: StackState) -> list[str]:
    """The workspace's code locations, one a team."""
    return [one.name for one in locations_of(Path(state.workspace or "."))]


def renew(
    home: Path, state: StackState, *, as_of: str | None, workspace: Path | None, isolation: str, cluster: str | None = None
) -> StackState:
    """The recorded state under what this command says; what it does not say is kept."""
    if isolation not in ("namespace", "none"):
        raise Invalid(f"isolation {isolation!r} is not known", fix=nearest(isolation, ["namespace", "none"]))
    if as_of is not None:
        parse_instant(as_of)
    found = str((workspace or Path(state.workspace or "workspace.yaml")).resolve())
    kubeconfig = state.cluster if cluster is None else None if cluster == "none" else str(Path(cluster).expanduser().resolve())
    return state.model_copy(update={"as_of": as_of or state.as_of, "workspace": found, "isolation": isolation, "cluster": kubeconfig})


def with_needs(parts: Iterable[str]) -> list[str]:
    """The named parts and all that they need, in an order that respects the needs."""
    wanted: set[str] = set()

    def add(name: str) -> None:
        if name not in PARTS:
            raise Invalid(f"the stack has no part {name!r}", fix=nearest(name, PARTS))
        for need in PARTS[name].needs:
            add(need)
        wanted.add(name)

    for name in parts:
        add(name)
    return [name for name in PARTS if name in wanted]


class Session:
    """One `up` at work: the state as it becomes true, written down after each change."""

    def __init__(self, home: Path, state: StackState, cache: Path, say: Callable[[str], None], progress: Progress) -> None:
        self.home, self.state, self.cache, self.say, self.progress = home, state, cache, say, progress
        self.guard = threading.Lock()

    def place(self) -> Place:
        """Where parts start now, with the ports as they are now."""
        state = self.state
        settings = user_settings(
            self.home, state.ports, cache=self.cache, as_of=state.as_of, isolation=state.isolation, cluster=state.cluster
        )
        return Place(self.home, settings, self.state.ports, Path(self.state.workspace or "."), self.say)

    def record(self, **changes: object) -> None:
        """Change the state and write it down."""
        self.state = self.state.model_copy(update=changes)
        write_state(self.home, self.state)

    def choose_ports(self, dead: Iterable[str]) -> bool:
        """Give every part its ports; a dead one keeps its own if nobody took them. True if any is new."""
        ports, dead = dict(self.state.ports), set(dead)
        for name, part in PARTS.items():
            old = ports.get(name, {})
            taken = [port for port in old.values() if name in dead and not port_is_free(port)]
            if set(old) != set(part.port_names) or taken:
                promised = {port for used in ports.values() for port in used.values()}
                ports[name] = dict(zip(part.port_names, free_ports(len(part.port_names), avoid=promised), strict=True))
        changed = ports != self.state.ports
        self.record(ports=ports)
        return changed

    def round(self, chosen: Sequence[str]) -> bool:
        """Start what is not right; True when ports changed under way, so that another look is due.

        Raises:
            PlatformError: the first part that failed; all others were tried.
        """
        dead = [name for name in PARTS if (part := self.state.parts.get(name)) is None or not alive(part.process)]
        for name in dead:
            self.clear(name)
        self.choose_ports(dead)
        place = self.place()
        self.record(settings=place.settings.to_environment())
        moved = threading.Event()
        with ThreadPoolExecutor(max_workers=len(PARTS)) as pool:
            done: dict[str, Future[None]] = {}
            for name in chosen:
                needs = [done[need] for need in PARTS[name].needs]
                done[name] = pool.submit(self.bring, name, place, needs, moved)
        errors = {name: error for name, future in done.items() if (error := future.exception()) is not None}
        # a part that waited in vain for another one is not the news
        first = next((error for error in errors.values() if not isinstance(error, NeedFailed)), None)
        if first is not None:
            raise first
        return moved.is_set()

    def clear(self, name: str) -> None:
        """End what a dead part left behind."""
        for process in leftovers.find(self.home, name).get(name, []):
            stop(process, grace_s=2)

    def bring(self, name: str, place: Place, needs: Sequence[Future[None]], moved: threading.Event) -> None:
        """One part: keep it if it works, else end what is there and start it, twice if it must be."""
        for need in needs:
            if need.exception() is not None:
                raise NeedFailed(name)
        part, running = PARTS[name], self.state.parts.get(name)
        if running is not None and alive(running.process):
            trouble = part.trouble(place, running)
            if trouble is None:
                self.progress(name, "kept")
                return
            self.progress(name, "mending")
            self.say(f"{name}: {trouble}; starting it again")
            part.stop(running)
            self.clear(name)
        else:
            self.progress(name, "starting")
        try:
            started = self.start(name, place, moved)
        except PlatformError:
            self.progress(name, "failed")
            raise
        with self.guard:
            self.state = self.state.with_part(name, started)
            write_state(self.home, self.state)
        self.progress(name, "up")

    def start(self, name: str, place: Place, moved: threading.Event) -> PartState:
        """Start a part; once more if it failed, on other ports if somebody took one of its own."""
        try:
            return PARTS[name].start(place)
        except PlatformError as err:
            if isinstance(err, Invalid | Unsupported):
                raise
            self.say(f"{name} did not start, trying once more: {err.message.splitlines()[0]}")
            self.clear(name)
            with self.guard:
                if self.choose_ports([name]):
                    moved.set()
                    place = self.place()
                    self.record(settings=place.settings.to_environment())
            return PARTS[name].start(place)


class NeedFailed(Exception):
    """A part was not started because one that it needs did not start."""


def down(home: Path, *, force: bool = False, progress: Progress = lambda part, step: None) -> list[str]:
    """Stop every process of a home; data, secrets and logs stay. Returns the parts that were stopped.

    Args:
        force: go by the mark on the processes alone, when the state file is not usable; it is set aside.
    """
    home = home.resolve()
    if not home.exists():
        return []
    with locked(home):
        try:
            state = read_state(home) or StackState()
        except PlatformError:
            if not force:
                raise
            state_path(home).replace(state_path(home).with_name("state.json.damaged"))
            state = StackState()
        running = {name: part for name, part in state.parts.items() if alive(part.process)}
        left = leftovers.find(home)
        for stage in STOP_ORDER:
            with ThreadPoolExecutor(max_workers=len(stage)) as pool:
                list(pool.map(lambda name: halt(home, name, running.get(name), progress), [n for n in stage if n in running or n in left]))
        stopped = sorted({*running, *left})
        if state_path(home).exists():
            write_state(home, state.model_copy(update={"parts": {}}))
    return stopped


def halt(home: Path, name: str, running: PartState | None, progress: Progress) -> None:
    """Stop a part, and then whatever carries its mark."""
    progress(name, "stopping")
    if running is not None:
        PARTS[name].stop(running)
    for process in leftovers.find(home, name).get(name, []):
        stop(process, grace_s=2)
    progress(name, "down")
