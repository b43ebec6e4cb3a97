"""A box over HTTP, in the foreground: `POST /predict {"rows": [{...}]}`; errors carry their fix."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tiffin.core.errors import Invalid, PlatformError
from tiffin.serving.box import Box
from tiffin.serving.json_rows import columns_of

__all__ = ["box_server"]

# a row as JSON repeats its field names: several times the bytes of its tensors
JSON_OVERHEAD = 16
HOW = 'POST /predict {"rows": [{"field": value, ...}, ...]}'


def box_server(box: Box, port: int, *, about: dict[str, Any], host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """A server that is not yet serving: call `serve_forever`.

    Args:
        port: 0 takes a free one: `server.server_port`.
        about: what `GET /` answers: the manifest, where features come from.
    """
    guard = threading.Lock()  # one request at a time, as in a step of Triton
    most = box.record.limits.max_bytes * JSON_OVERHEAD

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self.answer(200, {**about, "ask": HOW, "fields": [field.name for field in box.record.request]})
            else:
                self.answer(404, {"error": "NotFound", "message": f"no page {self.path!r}", "fix": f"GET /, or {HOW}"})

        def do_POST(self) -> None:
            if self.path != "/predict":
                self.answer(404, {"error": "NotFound", "message": f"no page {self.path!r}", "fix": HOW})
                return
            try:
                rows = self.rows()
                with guard:
                    found = box.predict(columns_of(rows))
                self.answer(200, {"rows": len(rows), "predictions": {name: array.tolist() for name, array in found.outputs.items()}})
            except PlatformError as err:
                code = 400 if type(err) is Invalid else 500
                self.answer(code, {"error": type(err).__name__, "message": err.message, "fix": err.fix})

        def rows(self) -> list[dict[str, Any]]:
            """The request's rows; checked before a byte too many is read."""
            size = self.headers.get("Content-Length", "")
            if not size.isdigit() or int(size) > most:
                raise Invalid(
                    f"the request has {size or 'no'} bytes, allowed are 1 to {most}", fix="send fewer rows, with a Content-Length"
                )
            try:
                body = json.loads(self.rfile.read(int(size)))
            except ValueError as err:
                raise Invalid(f"the request is not JSON: {err}", fix=HOW) from err
            found = body.get("rows") if isinstance(body, dict) else None
            if not isinstance(found, list) or not found or not all(isinstance(row, dict) for row in found):
                raise Invalid("the request has no list 'rows' of objects", fix=HOW)
            return found

        def answer(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body, default=str).encode() + b"\n"
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is http.server's
            """The terminal is the person's."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server
