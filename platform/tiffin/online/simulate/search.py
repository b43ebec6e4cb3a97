"""Play many schedules; of one that breaks a promise, find the dullest that still does and tell its story."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiffin.online.simulate.schedule import Choices, Outcome, play
from tiffin.online.simulate.server import Server
from tiffin.online.simulate.universe import Universe

__all__ = ["Failure", "search", "shrink"]

UNIVERSES = 16


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that breaks a promise.

    Args:
        seed: of the search; `number` is the schedule's number in it, counted from 0.
        outcome: of the shrunk schedule, with its story.
        found_in: how many numbers the schedule had before it was shrunk.
    """

    seed: int
    number: int
    outcome: Outcome
    found_in: int

    def __str__(self) -> str:
        story = "\n".join(f"  {line}" for line in self.outcome.log)
        broken = "\n".join(f"  {line}" for line in self.outcome.broken)
        return (
            f"seed {self.seed}, schedule {self.number}, shrunk from {self.found_in} to {len(self.outcome.choices)} numbers:\n"
            f"{story}\nbroken:\n{broken}\nreplay: search(seed={self.seed}, start={self.number}, schedules=1)"
        )


def search(
    *,
    seed: int,
    schedules: int,
    start: int = 0,
    server: type[Server] = Server,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, Failure | None]:
    """Play schedules `start`, `start + 1`, ...; stop at the first that breaks a promise.

    Schedule `n` depends on the seed and on `n` alone.

    Args:
        server: the model; a test gives one that breaks a rule.
        progress: schedules played, of how many; every thousand.

    Returns:
        How many were played, and the failure, shrunk.
    """
    universes = [Universe(seed * UNIVERSES + number) for number in range(UNIVERSES)]
    for played, number in enumerate(range(start, start + schedules), start=1):
        universe = universes[number % UNIVERSES]
        outcome = play(universe, Choices(None, seed=(seed << 32) + number), server=server)
        if outcome.broken:
            found_in = len(outcome.choices)
            return played, Failure(seed, number, shrink(universe, outcome.choices, server=server), found_in)
        if played % 1000 == 0:
            progress(played, schedules)
    return schedules, None


def shrink(universe: Universe, choices: Sequence[int], *, server: type[Server] = Server) -> Outcome:
    """Cut spans out and turn numbers into smaller ones as long as some promise stays broken."""
    best = list(choices)

    def still(candidate: list[int]) -> bool:
        return bool(play(universe, Choices(candidate), server=server).broken)

    improved = True
    while improved:
        improved = False
        size = max(1, len(best) // 2)
        while size:
            at = 0
            while at < len(best):
                shorter = best[:at] + best[at + size :]
                if still(shorter):
                    best, improved = shorter, True
                else:
                    at += size
            size //= 2
        for at in range(len(best)):
            for smaller in (0, best[at] & 31, best[at] & 255):
                if smaller < best[at]:
                    candidate = [*best[:at], smaller, *best[at + 1 :]]
                    if still(candidate):
                        best, improved = candidate, True
                        break
    log: list[str] = []
    outcome = play(universe, Choices(best), log=log, server=server)
    return Outcome(outcome.broken, best, log)
