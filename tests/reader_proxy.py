"""A TCP proxy between a reader and a real server that can go silent, cut what comes back, send it in drops, or speak TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """How it behaves may be changed while it runs.

    Args:
        silent: swallow everything, keep the connections open: a half-open line.
        cut_after: end each connection after so many bytes back.
        drop: so many bytes back at a time, and a pause after each.
    """

    target: int
    tls: ssl.SSLContext | None = None
    silent: bool = False
    cut_after: int | None = None
    drop: int = 65536
    pause_s: float = 0.0
    connections: int = 0
    open: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Of the server behind, without a user."""
        return f"redis{'s' if self.tls else ''}://localhost:{self.port}/0"

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.tls is not None:
                client = self.tls.wrap_socket(client, server_side=True)
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open += [client, server]
            threading.Thread(target=self.forward, args=(client, server), daemon=True).start()
            self.bring_back(server, client)

    def forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if not self.silent:
                    server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def bring_back(self, server: socket.socket, client: socket.socket) -> None:
        sent = 0
        while data := server.recv(65536):
            for start in range(0, len(data), self.drop):
                piece = data[start : start + self.drop]
                if self.cut_after is not None and sent + len(piece) > self.cut_after:
                    client.sendall(piece[: self.cut_after - sent])
                    break
                client.sendall(piece)
                sent += len(piece)
                time.sleep(self.pause_s)
            else:
                continue
            break
        for one in (client, server):
            one.shutdown(socket.SHUT_RDWR)  # close alone says nothing while another thread waits on it
            one.close()

    def close(self) -> None:
        for one in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                one.close()


@contextmanager
def proxied(target: int, **how) -> Iterator[Proxy]:
    """A proxy, closed with the block."""
    proxy = Proxy(target, **how)
    try:
        yield proxy
    finally:
        proxy.close()
