from __future__ import annotations

from pathlib import Path

from tiffin.embedded.parts import PARTS
from tiffin.embedded.processes import PORTS, free_ports
from tiffin.embedded.stack import Session
from tiffin.embedded.state import StackState, read_state


def session(home: Path, state: StackState) -> Session:
    return Session(home, state, home / "cache", lambda text: None, lambda part, step: None)


def test_a_promised_port_is_not_given_away_again() -> None:
    left = set(range(PORTS[0], PORTS[0] + 3000))

    found = free_ports(20, avoid=set(range(*PORTS)) - left)

    assert set(found) <= left


def test_every_part_gets_its_own_ports_and_they_are_written_down(tmp_path: Path) -> None:
    for number in range(20):
        home = tmp_path / str(number)
        one = session(home, StackState())

        one.choose_ports(PARTS)

        ports = [port for used in one.state.ports.values() for port in used.values()]
        assert len(ports) == len(set(ports)) == sum(len(part.port_names) for part in PARTS.values())
        assert read_state(home) == one.state


def test_ports_that_are_still_free_are_kept(tmp_path: Path) -> None:
    first = session(tmp_path, StackState())
    first.choose_ports(PARTS)

    second = session(tmp_path, first.state)

    assert second.choose_ports(PARTS) is False
    assert second.state.ports == first.state.ports
