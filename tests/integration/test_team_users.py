"""The rendered users of the online store on a real server: their own keys, no others, no login before a password is set."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.exceptions import NoPermissionError

from tests.team_files import ROOT
from tiffin.embedded.processes import free_port, wait_until
from tiffin.embedded.valkey import valkey_binary
from tiffin.wire.keys import token

PASSWORD = "known to this test alone"
Connect = Callable[..., redis.Redis]


@pytest.fixture(scope="module")
def connect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connect]:
    """A server with every team's file in its list of users; an operator has set the passwords."""
    folder, port = tmp_path_factory.mktemp("valkey"), free_port()
    files = sorted((ROOT / "deploy" / "teams").glob("*/online.acl"))
    users = folder / "users.acl"
    users.write_text("user default off\nuser operator on >operator ~* &* +@all\n" + "".join(path.read_text() for path in files))
    command = [
        str(valkey_binary()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        "--aclfile",
        str(users),
    ]
    process = subprocess.Popen(command, stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT)

    def opened(user: str, password: str = PASSWORD) -> redis.Redis:
        return redis.Redis(port=port, username=user, password=password, decode_responses=True)

    def answers() -> bool:
        try:
            return bool(opened("operator", "operator").ping())
        except redis.ConnectionError:
            return False

    try:
        assert wait_until(answers, timeout_s=60), (folder / "log").read_text()
        yield opened
    finally:
        process.terminate()
        process.wait()


def set_passwords(connect: Connect, *users: str) -> None:
    """As the operator does it: the file has none."""
    operator = connect("operator", "operator")
    for user in users:
        operator.execute_command("ACL", "SETUSER", user, f">{PASSWORD}")


def key(team: str, rest: str) -> str:
    return token(team).decode() + rest


def test_nobody_logs_in_before_a_password_is_set(connect: Connect) -> None:
    with pytest.raises(redis.AuthenticationError):
        connect("fleet-reader").ping()


def test_a_publisher_writes_its_own_teams_keys_and_no_others(connect: Connect) -> None:
    set_passwords(connect, "network-publisher")
    publisher = connect("network-publisher")

    assert publisher.set(key("network", "x"), "1")
    for team in ("fleet", "eta"):
        with pytest.raises(NoPermissionError):
            publisher.set(key(team, "x"), "1")


def test_a_reader_reads_the_teams_that_its_file_names_and_writes_nothing(connect: Connect) -> None:
    set_passwords(connect, "eta-reader", "fleet-reader")
    eta, fleet = connect("eta-reader"), connect("fleet-reader")

    assert [eta.get(key(team, "y")) for team in ("eta", "network", "fleet")] == [None, None, None]
    assert fleet.get(key("fleet", "y")) is None
    with pytest.raises(NoPermissionError):
        fleet.get(key("network", "y"))
    with pytest.raises(NoPermissionError):
        eta.set(key("eta", "y"), "1")


@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "SCAN 0", "CONFIG GET *", "ACL LIST", "FUNCTION LIST", "SHUTDOWN NOSAVE"])
def test_no_user_lists_empties_or_configures_the_server(connect: Connect, command: str) -> None:
    set_passwords(connect, "network-publisher", "network-reader")

    for user in ("network-publisher", "network-reader"):
        with pytest.raises(NoPermissionError):
            connect(user).execute_command(*command.split())
