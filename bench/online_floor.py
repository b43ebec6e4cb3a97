"""The server's own floor: commands made ready before the clock starts, replies received and not looked at.

Everything here is as little as a client can do: one socket, prepared bytes, a reply counted by its length.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.online_servers import Server

__all__ = ["RawClient", "command", "guard_script", "guarded_sets", "mget", "plain_sets"]

# per chunk of a pipelined load: the server reads 16 KiB at a time, its replies fit into the socket's buffer
CHUNK = 1000
GUARD = """
local written = 0
for i = 1, #KEYS do
  local row = ARGV[i]
  local old = redis.call('GETRANGE', KEYS[i], 2, 5)
  if #old < 4 or struct.unpack('<I4', old) <= struct.unpack('<I4', row, 3) then
    redis.call('SET', KEYS[i], row)
    written = written + 1
  end
end
return written
"""


def command(words: Sequence[bytes]) -> bytes:
    """One command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


@dataclass
class RawClient:
    """One socket, blocking."""

    server: Server
    socket: socket.socket = field(init=False)
    buffer: bytearray = field(default_factory=lambda: bytearray(1 << 22))

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.server.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self.socket.close()

    def ask(self, request: bytes, reply_bytes: int) -> memoryview:
        """Send, then receive exactly so many bytes."""
        self.socket.sendall(request)
        view, at = memoryview(self.buffer), 0
        while at < reply_bytes:
            at += self.socket.recv_into(view[at:])
        return view[:at]

    def ask_line(self, request: bytes) -> bytes:
        """Send, then receive one line."""
        self.socket.sendall(request)
        reply = b""
        while not reply.endswith(b"\r\n"):
            reply += self.socket.recv(65536)
        return reply


def mget(names: Sequence[bytes], values: Sequence[bytes]) -> tuple[bytes, int]:
    """One MGET, and how long its reply is."""
    size = len(b"*%d\r\n" % len(names)) + sum(len(b"$%d\r\n" % len(value)) + len(value) + 2 for value in values)
    return command([b"MGET", *names]), size


def plain_sets(names: Sequence[bytes], values: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Pipelined SETs in chunks, each with the length of its replies (`+OK`)."""
    made = []
    for start in range(0, len(names), CHUNK):
        pairs = list(zip(names[start : start + CHUNK], values[start : start + CHUNK], strict=True))
        made.append((b"".join(command([b"SET", name, value]) for name, value in pairs), 5 * len(pairs)))
    return made


def guard_script(client: RawClient) -> bytes:
    """Load the script; its digest."""
    reply = client.ask_line(command([b"SCRIPT", b"LOAD", GUARD.encode()]))
    while reply.count(b"\r\n") < 2:
        reply += client.socket.recv(4096)
    return reply.split(b"\r\n")[1]


def guarded_sets(digest: bytes, names: Sequence[bytes], values: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """The least that guards an event time: one script call a chunk, which sets a row unless a newer one stands there."""
    made = []
    for start in range(0, len(names), CHUNK):
        some, rows = names[start : start + CHUNK], values[start : start + CHUNK]
        request = command([b"EVALSHA", digest, b"%d" % len(some), *some, *rows])
        made.append((request, len(b":%d\r\n" % len(some))))
    return made
