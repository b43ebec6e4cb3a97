"""What the API server asks a node for: container logs, and who uses how much. Only holders of our certificates are answered."""

from __future__ import annotations

import http.server
import json
import ssl
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.devcluster.home import Home

__all__ = ["log_file", "serve"]

# does the pod's container still write? (namespace, pod)
StillRuns = Callable[[str, str], bool]


def log_file(pods: Path, namespace: str, pod: str, container: str) -> Path | None:
    """The log of the newest pod of this name."""
    found = [folder / f"{container}.log" for folder in pods.glob(f"{namespace}_{pod}_*")]
    found = [path for path in found if path.exists()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def serve(home: Home, port: int, still_runs: StillRuns, usage: Callable[[], dict[str, Any]]) -> None:
    """Answer until the process ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            address = urllib.parse.urlparse(self.path)
            parts = address.path.strip("/").split("/")
            asked = {name: values[0] for name, values in urllib.parse.parse_qs(address.query).items()}
            if parts == ["healthz"]:
                self.plain(b"ok")
            elif parts == ["stats", "summary"]:
                self.plain(json.dumps(usage()).encode(), kind="application/json")
            elif len(parts) == 4 and parts[0] == "containerLogs":
                self.logs(parts[1], parts[2], parts[3], asked)
            else:
                self.send_error(404)

        def plain(self, content: bytes, *, kind: str = "text/plain") -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def logs(self, namespace: str, pod: str, container: str, asked: dict[str, str]) -> None:
            follow = asked.get("follow") == "true"
            runs = still_runs(namespace, pod)
            path = log_file(home.pods, namespace, pod, container)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            while path is None and follow and runs:
                time.sleep(0.2)
                runs = still_runs(namespace, pod)
                path = log_file(home.pods, namespace, pod, container)
            if path is None:
                return
            with path.open("rb") as file:
                content = file.read()
                if "tailLines" in asked:
                    last = int(asked["tailLines"])
                    content = b"".join(content.splitlines(keepends=True)[-last:]) if last else b""
                if "limitBytes" in asked:
                    content = content[: int(asked["limitBytes"])]
                self.wfile.write(content)
                while follow:
                    # asked before reading: what is written after the last look is read by the next
                    runs = still_runs(namespace, pod)
                    more = file.read()
                    self.wfile.write(more)
                    self.wfile.flush()
                    if not more and not runs:
                        return
                    if not more:
                        time.sleep(0.2)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home.pki / "node.crt", home.pki / "node.key")
    context.load_verify_locations(home.pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    # the handshake in the connection's own thread: one slow client must not hold up the others
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
