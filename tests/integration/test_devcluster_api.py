"""The process node's way to the API server, against a server that breaks: what is asked again, and what is not."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.devcluster.certificates import make_certificates
from deploy.devcluster.home import Home
from deploy.devcluster.node_api import Api, Refused
from tiffin.embedded.processes import free_port


class Server:
    """Answers in turn with what it was given, over TLS, to holders of our certificates."""

    def __init__(self, home: Home, port: int) -> None:
        self.home, self.port = home, port
        self.answers: list[int] = []
        self.asked: list[tuple[str, str, Any]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.asked.append((self.command, self.path, json.loads(body) if body else None))
                status = server.answers.pop(0) if server.answers else 200
                content = json.dumps({"status": status}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PATCH = do_DELETE = handle_one  # noqa: N815  the server's own names

        self.handler = Handler

    def start(self) -> http.server.ThreadingHTTPServer:
        found = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.home.pki / "apiserver.crt", self.home.pki / "apiserver.key")
        context.load_verify_locations(self.home.pki / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        found.socket = context.wrap_socket(found.socket, server_side=True)
        threading.Thread(target=found.serve_forever, daemon=True).start()
        return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    make_certificates(tmp_path / "pki")
    return Home(tmp_path)


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    found = Server(home, free_port())
    running = found.start()
    yield found
    running.shutdown()
    running.server_close()


def test_an_end_is_told_until_it_is_heard(home: Home, server: Server) -> None:
    server.answers = [503, 500, 429, 200]

    assert Api(home, server.port).ask("PATCH", "/pod/status", {"phase": "Failed"}) == {"status": 200}

    assert server.asked == [("PATCH", "/pod/status", {"phase": "Failed"})] * 4


def test_an_api_server_that_is_away_is_waited_for(home: Home) -> None:
    late = Server(home, free_port())
    told: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: told.append(Api(home, late.port).get("/pods")), daemon=True)
    asking.start()
    # it has been refused a connection by now, or will be
    asking.join(timeout=0.3)
    assert told == []

    running = late.start()
    asking.join(timeout=60)
    running.shutdown()
    running.server_close()

    assert told == [{"status": 200}]


@pytest.mark.parametrize("status", [404, 409, 403])
def test_a_no_is_a_no(home: Home, server: Server, status: int) -> None:
    server.answers = [status]

    with pytest.raises(Refused) as refused:
        Api(home, server.port).ask("DELETE", "/pod", {"preconditions": {"uid": "u"}})

    assert refused.value.status == status
    assert len(server.asked) == 1
