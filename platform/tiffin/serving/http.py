"""The agent's two questions over HTTP: is it ready, and how is it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["serve_status"]


def serve_status(port: int, status: Callable[[], dict[str, Any]], *, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """Serve `GET /ready` (200, or 503 with reasons) and `GET /status` (always 200) in a thread.

    Args:
        port: 0 takes a free one: `server.server_port`.
        status: the whole status; its keys `ready` and `reasons` make the answer to `/ready`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = status()
            if self.path == "/ready":
                self.answer(200 if found["ready"] else 503, {"ready": found["ready"], "reasons": found["reasons"]})
            elif self.path == "/status":
                self.answer(200, found)
            else:
                self.answer(404, {"error": f"no page {self.path!r}", "fix": "ask /ready or /status"})

        def answer(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is http.server's
            """A probe per second is no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="status", daemon=True).start()
    return server
