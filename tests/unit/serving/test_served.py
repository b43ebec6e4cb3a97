"""What the agent remembers, and how long it waits before it looks at a refused manifest again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.core.errors import Corrupt, Invalid, NotReady
from tiffin.serving.health import dead_step
from tiffin.serving.served import Memory, Refusal, Served, read_memory, write_memory

ERROR = Corrupt("file 'model.txt' has changed", fix="promote it again")


def test_memory_survives_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    write_memory(path, Memory(live={"eta/eta": "ab" * 32}))

    assert read_memory(path).live == {"eta/eta": "ab" * 32}
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_agent_without_a_past_remembers_nothing(tmp_path: Path) -> None:
    assert read_memory(tmp_path / "agent.json").live == {}


def test_a_damaged_memory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text("{")

    with pytest.raises(Invalid, match=r"agent\.json"):
        read_memory(path)


def test_refusals_of_one_manifest_wait_longer_each_time_and_another_begins_anew() -> None:
    waits = []
    refusal = None
    for _ in range(9):
        refusal = Refusal.of("ab", ERROR, refusal, now=100.0)
        waits.append(refusal.retry_at - 100.0)

    assert waits[:3] == [1.0, 2.0, 4.0]
    assert waits[-1] == 30.0
    assert Refusal.of("cd", ERROR, refusal, now=100.0).attempts == 1


def test_a_deployment_counts_for_readiness_once_it_was_live() -> None:
    assert not Served("eta", "eta").promised
    assert Served("eta", "eta", remembered="ab").promised


@pytest.mark.parametrize(
    ("message", "step"),
    [
        ("in ensemble 'eta', Stub process 'features--00ff_0_0' is not healthy.", "features--00ff"),
        ("Stub process 'eta_model--12ab_3_1' is not healthy.", "eta_model--12ab"),
        ("view eta/delays has no generation in the online store", None),
    ],
)
def test_a_dead_step_is_known_by_what_triton_says(message: str, step: str | None) -> None:
    assert dead_step(NotReady(message, fix="")) == step
