"""A watch over real HTTP, against a server that does what API servers do when they are ill."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.step_case import make_job
from tiffin.compute.kubernetes_api import Api, connect
from tiffin.compute.watching import Watching
from tiffin.embedded.processes import wait_until

SPACE = "team-network"
JOBS = f"/apis/batch/v1/namespaces/{SPACE}/jobs"


class Ill:
    """A small API server: one list, and a script for each watch that is asked for."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.version = 100
        self.lists = 0
        self.watches: list[str] = []
        self.scripts: list[Callable[[Any], None]] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                if "watch" not in query:
                    outer.lists += 1
                    body = json.dumps({"metadata": {"resourceVersion": str(outer.version)}, "items": list(outer.items.values())}).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    return
                outer.watches.append(query["resourceVersion"][0])
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                script = outer.scripts.pop(0) if outer.scripts else hang
                script(self)

            def chunk(self, data: bytes) -> None:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

            def event(self, kind: str, item: dict[str, Any]) -> None:
                self.chunk(json.dumps({"type": kind, "object": item}).encode() + b"\n")

            def silence(self) -> None:
                outer.over.wait(60)
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def job(self, name: str) -> dict[str, Any]:
        self.version += 1
        job = make_job(name, uid=f"uid-{name}")
        job["metadata"]["resourceVersion"] = str(self.version)
        return job


def hang(handler: Any) -> None:
    handler.silence()


@pytest.fixture
def ill() -> Iterator[Ill]:
    found = Ill()
    yield found
    found.over.set()
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def watch(ill: Ill, tmp_path: Path) -> Iterator[Callable[..., Watching]]:
    """Begins a watch of the ill server's Jobs."""
    port = ill.server.server_address[1]
    entry = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [entry], "contexts": [context]}
    (tmp_path / "kubeconfig").write_text(json.dumps({**config, "users": [{"name": "x", "user": {}}]}))
    made: list[Watching] = []

    def begin(*scripts: Callable[[Any], None], silent_s: float = 60.0) -> Watching:
        ill.scripts += scripts
        made.append(Watching(Api(connect(tmp_path / "kubeconfig")), {(SPACE, "Job"): JOBS}, "a=b", silent_s=silent_s))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def sees(watched: Watching, name: str) -> bool:
    return watched.see(SPACE, name).job is not None


def until(done: Callable[[], bool]) -> None:
    assert wait_until(done, timeout_s=60, every_s=0.01)


def test_a_watch_that_the_server_ends_goes_on_where_it_was(ill: Ill, watch: Callable[..., Watching]) -> None:
    first, second = ill.job("first"), ill.job("second")

    def ends(handler: Any) -> None:
        handler.event("ADDED", first)
        handler.event("BOOKMARK", {"metadata": {"resourceVersion": "150"}})
        handler.chunk(b"")

    def goes_on(handler: Any) -> None:
        handler.event("ADDED", second)
        handler.silence()

    watched = watch(ends, goes_on)

    until(lambda: sees(watched, "first") and sees(watched, "second"))
    assert ill.lists == 1
    assert ill.watches == ["102", "150"]


def test_events_that_are_too_old_make_a_new_list(ill: Ill, watch: Callable[..., Watching]) -> None:
    ill.items["gone"] = ill.job("gone")

    def expires(handler: Any) -> None:
        ill.items.clear()  # deleted while nobody looked
        ill.items["new"] = ill.job("new")
        handler.event("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
        handler.chunk(b"")

    watched = watch(expires)

    until(lambda: sees(watched, "new"))
    assert not sees(watched, "gone")
    assert ill.lists == 2
    until(lambda: watched.see(SPACE, "new").fresh)


def test_an_event_cut_in_the_middle_is_no_event(ill: Ill, watch: Callable[..., Watching]) -> None:
    half = json.dumps({"type": "DELETED", "object": ill.job("kept")}).encode()
    ill.items["kept"] = ill.job("kept")

    def cut(handler: Any) -> None:
        handler.chunk(half[:-20])
        handler.close_connection = True

    watched = watch(cut)

    until(lambda: ill.lists == 2 and len(ill.watches) == 2)
    assert sees(watched, "kept")


def test_a_silent_connection_is_given_up_and_begun_again(ill: Ill, watch: Callable[..., Watching]) -> None:
    watched = watch(silent_s=0.3)
    ill.items["late"] = ill.job("late")

    until(lambda: sees(watched, "late"))
    assert ill.lists >= 2


def test_whoever_looks_is_told_while_the_watch_is_broken(ill: Ill, watch: Callable[..., Watching]) -> None:
    ill.items["job"] = ill.job("job")
    begun = threading.Event()

    def breaks(handler: Any) -> None:
        begun.wait(60)
        ill.server.shutdown()
        ill.server.server_close()
        handler.connection.shutdown(socket.SHUT_RDWR)

    watched = watch(breaks)
    assert watched.see(SPACE, "job").fresh

    begun.set()

    until(lambda: not watched.see(SPACE, "job").fresh)
    assert sees(watched, "job")


def test_a_closed_watch_leaves_no_thread(ill: Ill, watch: Callable[..., Watching]) -> None:
    watched = watch(hang)
    until(lambda: len(ill.watches) == 1)

    watched.close()
    for thread in watched.threads:
        thread.join(60)

    assert [thread for thread in watched.threads if thread.is_alive()] == []
