"""Who acts in the simulated world: each runs a real plan and turns its steps into commands to the server."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias

from tiffin.core.errors import Conflict, NotReady, PlatformError
from tiffin.online.editions import Edition, LiveState
from tiffin.online.plan_publish import publishing, refilling, rolling_back
from tiffin.online.plan_read import Fetch, Known, Question, reading
from tiffin.online.plan_steps import (
    Apply,
    At,
    Claim,
    Collect,
    Compare,
    Count,
    Difference,
    Discard,
    Durable,
    Flip,
    Gather,
    Gathered,
    Load,
    Promote,
    State,
    Step,
)
from tiffin.online.simulate.server import Row, Server, SimBatch
from tiffin.online.simulate.universe import KEYS, Made, SimRows, Universe, View
from tiffin.online.source import Answer, Ask

__all__ = ["Actor", "Command", "Job", "World"]

Command: TypeAlias = Callable[[], Any]
Kind: TypeAlias = Literal["generation", "delta", "refill", "rollback", "read"]
Script: TypeAlias = Generator[Command, Any, Any]
SALTS = 8


@dataclass(frozen=True, slots=True)
class Job:
    """Something that somebody wants done: a base or delta by number, a refill, a rollback, a read."""

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.number}" if self.kind in ("generation", "delta") else self.kind


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows as a reader got them, and what was true of the server in that step."""

    rows: dict[str, Row]
    generation: str
    allowed: dict[str, set[Row | None]]


@dataclass(slots=True)
class World:
    """The server, the buckets, and what everybody may know.

    Args:
        durable: what the durable pointer names.
        promoted: manifests in the order of their promotion.
        kept: manifests in the dev bucket.
        memory: what the readers remember between requests.
        finished: publications and rollbacks that were told that they succeeded.
        broken: promises broken so far.
    """

    universe: Universe
    server: Server
    durable: Made | None = None
    promoted: list[tuple[Kind, Made]] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    memory: dict[str, Known] = field(default_factory=dict)
    finished: list[Actor] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Actor:
    """One attempt at a job: its next command, and how it ended.

    Args:
        version: of the server's state when this actor began, or moved it.
        error: set when it ended by an error; `done` also then.
    """

    job: Job
    world: World
    number: int
    script: Script = field(init=False)
    command: Command | None = field(init=False, default=None)
    version: int = -1
    done: bool = False
    error: PlatformError | None = None
    result: Any = None
    record: Made | None = None
    parent: Made | None = None
    promoted_at: int | None = None
    resent: bool = False

    def __post_init__(self) -> None:
        self.script = self.run()
        self.go_on(None)

    def __str__(self) -> str:
        return f"{self.number}: {self.job}"

    def go_on(self, answer: Any) -> None:
        """The answer of the last command came in."""
        self.resent = False
        try:
            self.command = self.script.send(answer)
        except StopIteration as stop:
            self.end(stop.value, None)
        except PlatformError as err:
            self.end(None, err)

    def fail(self, err: PlatformError) -> None:
        """The last command failed."""
        self.resent = False
        try:
            self.command = self.script.throw(err)
        except StopIteration as stop:
            self.end(stop.value, None)
        except PlatformError as raised:
            self.end(None, raised)

    def end(self, result: Any, err: PlatformError | None) -> None:
        """It returned or gave up."""
        self.done, self.command, self.result, self.error = True, None, result, err

    def kill(self) -> None:
        """The process is gone."""
        self.script.close()
        self.done, self.command, self.error = True, None, None

    def run(self) -> Script:
        """The job, as its caller would start it."""
        world, job = self.world, self.job
        view = world.universe.view
        if job.kind == "read":
            return (yield from self.read(view))
        if job.kind == "rollback":
            return (yield from self.carry_out(rolling_back(view.team, view.name)))
        if job.kind == "generation":
            self.record = world.universe.generation(job.number)
        else:
            current: Made | None = yield lambda: world.durable
            if current is None:
                return None
            self.record = current if job.kind == "refill" else world.universe.delta(current, job.number)
            self.parent = current
        plan = refilling if job.kind == "refill" else publishing
        done = yield from self.carry_out(plan(self.record.record, self.record.edition))
        return done

    def carry_out(self, plan: Generator[Step, Any, Any]) -> Script:
        """`perform`, with every call that reaches a server or a bucket handed to the scheduler."""
        answer: Any = None
        failed: PlatformError | None = None
        while True:
            try:
                step = plan.send(answer) if failed is None else plan.throw(failed)
            except StopIteration as stop:
                return stop.value
            answer, failed = None, None
            try:
                answer = yield from self.commands(step)
            except PlatformError as err:
                failed = err

    def commands(self, step: Step) -> Script:
        """The commands of one step, as the real store sends them."""
        server = self.world.server
        match step:
            case At():
                return None
            case Load(edition, rows):
                for batch in in_sim(rows):
                    yield partial(server.load, edition, batch)
                return None
            case Apply(edition, rows, expected):
                written = 0
                for batch in in_sim(rows):
                    written += yield partial(server.apply, edition, batch, expected)
                return written
            case Compare(edition, batch, newer):
                assert isinstance(batch, SimBatch)
                held = yield partial(server.held, edition, batch)
                return differences(batch, held, newer=newer)
            case Count(edition):
                return (yield partial(server.count, edition))
            case State():
                seen, state = yield server.read_state
                # what a publication found when it began is what it may replace
                self.version = seen if self.version < 0 else self.version
                return state
            case Flip(edition, expected):
                return (yield partial(self.flip, edition, expected))
            case Gather(_, refs):
                return self.world.universe.gather(refs)
            case Claim(edition):
                for salt in range(SALTS):
                    claimed = yield partial(server.claim, edition, salt)
                    if claimed is not None:
                        return claimed
                raise NotReady("no free token", fix="collect")
            case Discard(edition):
                _, state = yield server.read_state
                if state is None or edition.generation not in kept(state):
                    return (yield from self.remove(state, edition.generation))
                return 0
            case Collect():
                return (yield from self.collect())
            case Durable():
                return (yield self.keep)
            case Promote():
                return (yield self.promote)
        raise AssertionError(step)

    def flip(self, edition: Edition, expected: LiveState | None) -> LiveState:
        server = self.world.server
        before, empty = server.version, server.state is None
        state = server.flip(edition, expected)
        if server.version != before and before != self.version and not empty:
            self.world.broken.append(f"{self.job}: its flip went over a state that it had not seen")
        self.version = server.version
        return state

    def keep(self) -> None:
        assert self.record is not None
        self.world.kept.add(self.record.edition.manifest)

    def promote(self) -> None:
        """The durable pointer moves; a delta made on another record than the current one is refused."""
        assert self.record is not None
        world = self.world
        if self.record is world.durable:
            return
        if self.job.kind == "delta" and world.durable is not self.parent:
            raise Conflict("the durable record is another one than this delta was made on", fix="publish again")
        if self.record.edition.manifest not in world.kept:
            world.broken.append(f"{self.job}: promoted before it was kept")
        world.durable = self.record
        world.promoted.append((self.job.kind, self.record))
        self.promoted_at = len(world.promoted)

    def collect(self) -> Script:
        """As the real store: what is neither live nor previous is retired, emptied, forgotten."""
        server = self.world.server
        _, live = yield server.read_state
        if live is None:
            return 0
        removed = 0
        for token in sorted(set((yield server.tokens)) - kept(live)):
            removed += yield from self.remove(live, token)
        return removed

    def remove(self, live: LiveState | None, token: str) -> Script:
        """Retire, empty, forget: in this order, so that who is interrupted is finished by the next."""
        server, removed = self.world.server, 0
        if not (yield partial(server.retire, live, token)):
            return 0
        for key in (yield partial(server.keys, token)):
            removed += yield partial(server.unlink, token, key)
        yield partial(server.forget, token)
        return removed

    def read(self, view: View) -> Script:
        """One request of a reader."""
        plan = reading([view.online], {view.online.ref: [key.encode() for key in KEYS]}, self.world.memory)
        answer: Any = None
        while True:
            try:
                question: Question = plan.send(answer)
            except StopIteration as stop:
                known, got = stop.value[view.online.ref]
                return known, got
            answer = yield partial(self.answer, question)

    def answer(self, question: Question) -> Any:
        """What a single node says, in one step."""
        server = self.world.server
        if not isinstance(question, Fetch):
            return [server.pointer for _ in question.names]
        return [self.rows(ask) for ask in question.asks]

    def rows(self, ask: Ask) -> Answer:
        pointer, rows = self.world.server.look(KEYS, ask.pointer.generation)
        state = self.world.server.state
        if state is None:
            return Answer(pointer, None)  # type: ignore[arg-type]  # never looked at
        allowed = self.world.universe.allowed(state.current)
        return Answer(pointer, Seen(rows, state.current.generation, allowed))  # type: ignore[arg-type]


def kept(live: LiveState) -> set[str]:
    """Tokens that no collection may touch."""
    return {live.current.generation} | ({live.previous.generation} if live.previous is not None else set())


def in_sim(rows: Gathered) -> SimRows:
    """What `Gather` was answered with."""
    assert isinstance(rows, SimRows)
    return rows


def differences(batch: SimBatch, held: list[Row | None], *, newer: bool) -> list[Any]:
    """As the real store's executor compares."""
    found = []
    for place, ((_, row), old) in enumerate(zip(batch.items, held, strict=True)):
        if old == row or (newer and old is not None and old[0] > row[0]):
            continue
        found.append(Difference(place, None if old is None else repr(old).encode()))
    return found
