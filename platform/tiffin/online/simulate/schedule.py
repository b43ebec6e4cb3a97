"""One schedule: a list of numbers that says who goes next and what goes wrong, played to its end and judged.

Number 0 always means the dull thing (the first actor takes its next step, nothing fails), so that a list of zeros, or an
empty one, is a run without faults: shrinking a failing schedule makes it duller.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from tiffin.core.errors import NotReady, PlatformError
from tiffin.online.simulate.actors import Actor, Command, Job, World
from tiffin.online.simulate.promises import check_finished, check_read, check_server, check_settled
from tiffin.online.simulate.server import Server
from tiffin.online.simulate.universe import BASES, DELTAS, Universe

__all__ = ["Choices", "Outcome", "play"]

LENGTH = 240
TRIES = 6
JOBS: tuple[Job, ...] = (
    *(Job("delta", number) for number in range(DELTAS)),
    *(Job("generation", number) for number in range(BASES)),
    *(Job("generation", number) for number in range(2)),
    *(Job("refill") for _ in range(3)),
    Job("rollback"),
    Job("rollback"),
    Job("read"),
)


class Choices:
    """Numbers from a list or, without one, drawn from a seed and written down; zeros after the end."""

    def __init__(self, given: Sequence[int] | None, *, seed: int = 0) -> None:
        self.drawn: list[int] = list(given) if given is not None else []
        self.at = 0
        self.draw = random.Random(seed).getrandbits if given is None else None  # noqa: S311  # reproducible, not secret

    def next(self) -> int:
        """The next number, below 2**16."""
        if self.draw is not None:
            number = self.draw(16)
            self.drawn.append(number)
            return number
        self.at += 1
        return self.drawn[self.at - 1] if self.at <= len(self.drawn) else 0


@dataclass(slots=True)
class Outcome:
    """What a schedule came to.

    Args:
        broken: promises broken, in words; empty is good.
        choices: the numbers that it used.
        log: what happened, when it was asked for.
    """

    broken: list[str]
    choices: list[int]
    log: list[str] = field(default_factory=list)


def play(universe: Universe, choices: Choices, *, log: list[str] | None = None, server: type[Server] = Server) -> Outcome:
    """Play one schedule and judge it; `server` may be one that breaks a rule."""
    game = Game(World(universe, server()), choices, log)
    game.main()
    if not game.world.broken:
        game.settle()
    return Outcome(game.world.broken, choices.drawn, log or [])


class Game:
    """A world and the actors in it."""

    def __init__(self, world: World, choices: Choices, log: list[str] | None) -> None:
        self.world, self.choices, self.log = world, choices, log
        self.actors: list[Actor] = []
        self.waiting: list[Job] = []
        self.unfinished: list[Job] = []
        self.network: list[Command] = []
        self.born = 0

    def say(self, text: str) -> None:
        """One line of the story."""
        if self.log is not None:
            self.log.append(text)

    def main(self) -> None:
        """Jobs begin, overlap, fail; a reader reads all the time."""
        setup = self.choices.next()
        self.waiting = [Job("generation", 0)] if setup % 4 else []
        for _ in range(2 + setup // 4 % 4):
            self.waiting.append(JOBS[self.choices.next() % len(JOBS)])
        readers: dict[int, Actor] = {}
        if self.waiting and self.waiting[0] == Job("generation", 0) and setup // 16 % 2 == 0:
            self.run_alone(self.waiting.pop(0))
        for _ in range(LENGTH):
            if self.world.broken:
                return
            number = self.choices.next()
            kind, who, extra = number & 31, number >> 5 & 7, number >> 8
            if self.waiting and (not self.actors or kind == 31):
                self.actors.append(self.born_for(self.waiting.pop(0)))
            if not self.actors:
                return
            if kind in (28, 29, 30):
                # two threads of one process: they share what they remember
                if who % 2 not in readers or readers[who % 2].done:
                    readers[who % 2] = self.born_for(Job("read"))
                self.deliver(readers[who % 2])
                continue
            self.turn(self.actors[who % len(self.actors)], kind, extra)
        for actor in [*self.actors, *readers.values()]:
            self.say(f"{actor} is killed at the end")
            self.kill(actor)

    def born_for(self, job: Job) -> Actor:
        """Another process starts."""
        self.born += 1
        actor = Actor(job, self.world, self.born)
        self.say(f"{actor} begins")
        return actor

    def turn(self, actor: Actor, kind: int, extra: int) -> None:
        """One actor's command is delivered, or something goes wrong with it."""
        if kind < 20 or actor.command is None:
            self.deliver(actor)
        elif kind == 20:
            self.say(f"{actor}: killed")
            self.kill(actor)
        elif kind == 21:
            self.say(f"{actor}: its command is done, the answer is lost")
            self.unanswered(actor.command)
            actor.fail(NotReady("the answer was lost", fix="try again"))
            self.ended(actor)
        elif kind == 22 and not actor.resent:
            self.say(f"{actor}: its command is done, the answer is lost, the client sends it again")
            self.unanswered(actor.command)
            actor.resent = True
        elif kind == 23:
            self.say(f"{actor}: its command is late")
            self.network.append(actor.command)
            actor.fail(NotReady("timed out", fix="try again"))
            self.ended(actor)
        elif kind in (24, 25) and self.network:
            self.say("a late command arrives")
            self.unanswered(self.network.pop(extra % len(self.network)))
        elif kind == 26:
            if extra % 3 == 0:
                self.say("the server loses everything")
                self.network.clear()
                self.world.server.lose_everything()
        elif kind == 27 and isinstance(actor.command, partial) and actor.command.func.__name__ in ("load", "apply"):
            self.say(f"{actor}: a row of its next command is damaged in the server")
            self.world.server.damage = "alien" if extra % 2 else "lost"
            self.deliver(actor)
            self.world.server.damage = ""
        else:
            self.deliver(actor)

    def deliver(self, actor: Actor) -> None:
        """The command arrives, and its answer too."""
        command = actor.command
        if command is None:
            self.ended(actor)
            return
        try:
            answer = self.execute(command)
        except PlatformError as err:
            self.say(f"{actor}: {naming(command)} -> {type(err).__name__}")
            actor.fail(err)
        else:
            if self.log is not None:
                self.say(f"{actor}: {naming(command)}")
            actor.go_on(answer)
        self.ended(actor)

    def execute(self, command: Command) -> object:
        """It happens, and all promises are looked at."""
        try:
            return command()
        finally:
            if self.world.server.changed:
                self.world.server.changed = False
                check_server(self.world)

    def unanswered(self, command: Command) -> None:
        """It happens; nobody hears the answer."""
        try:
            self.execute(command)
        except PlatformError as err:
            self.say(f"{naming(command)} unheard -> {type(err).__name__}")

    def kill(self, actor: Actor) -> None:
        """What it had sent may still arrive."""
        if actor.command is not None:
            self.network.append(actor.command)
        actor.kill()
        self.ended(actor)

    def ended(self, actor: Actor) -> None:
        """Book what it came to."""
        if not actor.done:
            return
        if actor in self.actors:
            self.actors.remove(actor)
        if actor.job.kind == "read":
            check_read(self.world, actor)
        elif actor.error is not None or actor.result is None:
            if actor.job.kind in ("generation", "delta"):
                self.unfinished.append(actor.job)
        else:
            self.world.finished.append(actor)
            check_finished(self.world, actor)

    def run_alone(self, job: Job) -> Actor:
        """Nobody else acts, nothing fails."""
        actor = self.born_for(job)
        while not actor.done and not self.world.broken:
            self.deliver(actor)
        return actor

    def settle(self) -> None:
        """Calm: late commands arrive, every job is done again until it succeeds; then all must be exact."""
        for command in self.network:
            self.unanswered(command)
        for job in [*self.unfinished, Job("refill")]:
            if not self.succeeds(job) or self.world.broken:
                return
        reader = self.born_for(Job("read"))
        while not reader.done and not self.world.broken:
            self.deliver(reader)
        if not self.world.broken:
            check_settled(self.world, reader)

    def succeeds(self, job: Job) -> bool:
        """It is done again until it succeeds; a promise is broken when it never does."""
        for _ in range(TRIES):
            actor = self.run_alone(job)
            if self.world.broken or not isinstance(actor.error, PlatformError):
                return True
        self.world.broken.append(f"{job} does not succeed when nothing fails any more: {actor.error}")
        return False


def naming(command: Command) -> str:
    """What a command is called in the story."""
    if isinstance(command, partial):
        return command.func.__name__
    return command.__name__
