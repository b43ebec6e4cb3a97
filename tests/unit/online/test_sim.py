"""The real plans of publishers and readers, under generated schedules of crashes, races and lost messages."""

from __future__ import annotations

import pytest

from tiffin.online.editions import Edition, LiveState
from tiffin.online.simulate.schedule import Choices, play
from tiffin.online.simulate.search import search, shrink
from tiffin.online.simulate.server import Server, SimBatch
from tiffin.online.simulate.universe import Universe


class FlipsBlindly(Server):
    """Does not compare what is live."""

    def flip(self, edition: Edition, expected: LiveState | None) -> LiveState:
        return super().flip(edition, self.state)


class ForgetsItsLife(Server):
    """A claim of the same content is taken for the one before, also after a restart."""

    def guard(self, edition: Edition) -> None:
        super().guard(self.taken(edition))

    def flip(self, edition: Edition, expected: LiveState | None) -> LiveState:
        return super().flip(self.taken(edition), expected)

    def taken(self, edition: Edition) -> Edition:
        return edition.with_generation(edition.generation, life=self.lives.get(edition.generation, ""))


class AlwaysWrites(Server):
    """An older row of a delta replaces a newer one."""

    def apply(self, edition: Edition, batch: SimBatch, expected: LiveState) -> int:
        for key, _ in batch.items:
            self.rows.get(edition.generation, {}).pop(key, None)
        return super().apply(edition, batch, expected)


class AppliesToAnything(Server):
    """A late command of an overtaken delta still writes."""

    def apply(self, edition: Edition, batch: SimBatch, expected: LiveState) -> int:
        return super().apply(edition, batch, self.state) if self.state is not None else 0


class LoadsIntoAnything(Server):
    """A load does not look whether its claim stands."""

    def guard(self, edition: Edition) -> None:
        pass


class UnlinksBlindly(Server):
    """A late removal does not look whether the token was claimed again."""

    def unlink(self, token: str, key: str) -> int:
        self.changed = True
        return 1 if self.rows.get(token, {}).pop(key, None) is not None else 0


class CollectsThePrevious(Server):
    """The rows kept for a rollback go."""

    def tokens(self) -> list[str]:
        if self.state is not None and self.state.previous is not None:
            self.rows[self.state.previous.generation] = {}
            self.changed = True
        return super().tokens()


def test_ten_thousand_schedules_break_no_promise():
    played, failure = search(seed=1, schedules=10_000)

    assert failure is None, f"\n{failure}"
    assert played == 10_000


@pytest.mark.parametrize(
    ("server", "seed"),
    [
        pytest.param(FlipsBlindly, 3, id="flips blindly"),
        pytest.param(ForgetsItsLife, 3, id="forgets its life"),
        pytest.param(AlwaysWrites, 1, id="always writes"),
        pytest.param(AppliesToAnything, 1, id="applies to anything"),
        pytest.param(LoadsIntoAnything, 3, id="loads into anything"),
        pytest.param(UnlinksBlindly, 1, id="unlinks blindly"),
        pytest.param(CollectsThePrevious, 2, id="collects the previous"),
    ],
)
def test_a_server_that_breaks_a_rule_is_found_out_and_the_story_is_short(server, seed):
    played, failure = search(seed=seed, schedules=5_000, server=server)

    assert failure is not None, f"{played} schedules found nothing"
    assert failure.outcome.broken
    assert len(failure.outcome.choices) <= min(failure.found_in, 40)
    assert failure.outcome.log


def test_a_schedule_depends_on_its_seed_and_number_alone():
    _, first = search(seed=3, schedules=5_000, server=FlipsBlindly)
    assert first is not None

    played, again = search(seed=3, start=first.number, schedules=1, server=FlipsBlindly)

    assert played == 1
    assert again is not None
    assert str(again) == str(first)
    assert f"seed 3, schedule {first.number}" in str(first)


def test_a_shrunk_schedule_cannot_lose_another_number():
    universe = Universe(9)
    seeds = range(5_000)
    found = next(outcome for seed in seeds if (outcome := play(universe, Choices(None, seed=seed), server=FlipsBlindly)).broken)

    small = shrink(universe, found.choices, server=FlipsBlindly).choices

    for place in range(len(small)):
        shorter = small[:place] + small[place + 1 :]
        assert not play(universe, Choices(shorter), server=FlipsBlindly).broken


def test_zeros_are_a_run_without_faults():
    log: list[str] = []

    outcome = play(Universe(0), Choices([]), log=log)

    assert outcome.broken == []
    assert not any("lost" in line or "killed" in line or "Conflict" in line for line in log)
