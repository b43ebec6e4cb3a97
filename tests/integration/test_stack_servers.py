"""Valkey and SeaweedFS as the stack starts them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tiffin.core.errors import NotReady
from tiffin.embedded.processes import alive, stop, wait_until
from tiffin.embedded.seaweed import Seaweed, seaweed_binary, start_seaweed
from tiffin.embedded.sigv4 import KeyPair, signed_request
from tiffin.embedded.valkey import Valkey, start_valkey


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    server = start_seaweed(tmp_path_factory.mktemp("seaweed"))
    yield server
    server.stop()


def may(url: str, *words: str) -> bool:
    client = redis.Redis.from_url(url)
    try:
        client.execute_command(*words)
    except redis.exceptions.NoPermissionError:
        return False
    finally:
        client.close()
    return True


@pytest.mark.parametrize(
    "words",
    [
        *(["FLUSHALL"], ["FLUSHDB"], ["KEYS", "*"], ["FUNCTION", "LIST"], ["CONFIG", "GET", "*"], ["ACL", "LIST"]),
        *(["SHUTDOWN"], ["MONITOR"], ["REPLICAOF", "NO", "ONE"], ["CLIENT", "LIST"], ["SCRIPT", "FLUSH"], ["SAVE"], ["SWAPDB", "0", "1"]),
        ["SCAN", "0"],
    ],
    ids=lambda words: " ".join(words),
)
def test_neither_publisher_nor_reader_may_say_what_endangers_the_server(valkey: Valkey, words: list[str]) -> None:
    assert not may(valkey.publisher, *words)
    assert not may(valkey.reader, *words)


@pytest.mark.parametrize("words", [["SET", "a", "1"], ["UNLINK", "a"], ["EVAL", "return 1", "0"], ["HSET", "b", "c", "1"]])
def test_the_publisher_writes_and_the_reader_only_reads(valkey: Valkey, words: list[str]) -> None:
    assert may(valkey.publisher, *words)
    assert not may(valkey.reader, *words)
    assert may(valkey.reader, "MGET", "a", "b")


def test_without_a_password_valkey_answers_nobody(valkey: Valkey) -> None:
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)).get("a")


def test_valkey_listens_on_this_machine_alone_and_leaves_no_key_of_its_own(valkey: Valkey) -> None:
    admin = redis.Redis.from_url(valkey.admin)

    assert admin.config_get("bind")["bind"] == "127.0.0.1"
    assert admin.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert list(admin.scan_iter("\x01*")) == []


def test_valkey_keeps_its_rows_over_a_stop_and_forgets_them_in_a_crash(tmp_path: Path) -> None:
    first = start_valkey(tmp_path)
    redis.Redis.from_url(first.publisher).set("row", b"\x00\xff")
    first.stop()

    second = start_valkey(tmp_path, port=first.port)
    kept = redis.Redis.from_url(second.reader).get("row")
    os.kill(second.process.pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(second.process), timeout_s=10)
    third = start_valkey(tmp_path)
    after_crash = redis.Redis.from_url(third.reader).get("row")
    third.stop()

    assert kept == b"\x00\xff"
    assert after_crash is None  # an old snapshot would look like a current edition


def test_valkey_on_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(NotReady, match="valkey did not start") as caught:
        start_valkey(tmp_path, port=taken.getsockname()[1])

    assert "Address already in use" in caught.value.message


def test_valkeys_command_line_and_environment_hold_no_password(valkey: Valkey) -> None:
    passwords = [url.split(":")[2].partition("@")[0] for url in (valkey.admin, valkey.publisher, valkey.reader)]
    seen = Path(f"/proc/{valkey.process.pid}/cmdline").read_text() + Path(f"/proc/{valkey.process.pid}/environ").read_text()

    assert not any(password in seen for password in passwords)


def statuses(store: Seaweed, keys: KeyPair, bucket: str) -> tuple[int, int, int, int]:
    """Put, get, delete, list."""
    answers = [
        signed_request(method, f"/{bucket}/x", b"1" * (method == "PUT"), port=store.ports["s3"], keys=keys)[0]
        for method in ("PUT", "GET", "DELETE")
    ]
    return answers[0], answers[1], answers[2], signed_request("GET", f"/{bucket}", port=store.ports["s3"], keys=keys)[0]


def test_each_identity_may_do_its_part_and_no_more(store: Seaweed) -> None:
    keys = store.keys

    assert statuses(store, keys.dev, "dev") == (200, 200, 204, 200)
    assert statuses(store, keys.dev, "prod") == (403, 403, 403, 403)
    assert statuses(store, keys.prod_write, "prod") == (200, 200, 204, 200)
    assert statuses(store, keys.prod_write, "dev") == (403, 404, 403, 200)
    assert statuses(store, keys.prod_read, "prod") == (403, 404, 403, 200)
    assert statuses(store, keys.prod_read, "dev") == (403, 403, 403, 403)
    assert statuses(store, KeyPair(keys.prod_write.access_key, "wrong"), "prod") == (403, 403, 403, 403)


def test_no_identity_that_is_given_away_makes_or_removes_buckets(store: Seaweed) -> None:
    for keys in (store.keys.dev, store.keys.prod_write, store.keys.prod_read):
        assert signed_request("PUT", "/other", port=store.ports["s3"], keys=keys)[0] == 403
        assert signed_request("DELETE", "/dev", port=store.ports["s3"], keys=keys)[0] == 403


def http(port: int, path: str, *, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as err:
        return err.code, err.read()
    except OSError:
        return 0, b""


def test_nobody_reaches_a_bucket_behind_the_s3_port_without_a_key(store: Seaweed) -> None:
    secret = b"only for those who hold a key"
    signed_request("PUT", "/prod/treasure", secret, port=store.ports["s3"], keys=store.keys.prod_write)
    ports = store.ports

    seen = [
        http(port, path) for port in ports.values() for path in ("/buckets/prod/treasure", "/prod/treasure", "/dir/assign?collection=prod")
    ]
    for port in ports.values():
        http(port, "/buckets/prod/treasure", method="PUT", body=b"forged")
        http(port, "/buckets/prod/treasure", method="DELETE")
        http(port, "/col/delete?collection=prod")

    assert all(secret not in body for _, body in seen)
    assert not any(b'"fid"' in body for _, body in seen)
    assert signed_request("GET", "/prod/treasure", port=ports["s3"], keys=store.keys.prod_read) == (200, secret)


def test_the_servers_behind_the_s3_port_talk_only_to_who_has_their_certificate(store: Seaweed, tmp_path: Path) -> None:
    address = f"127.0.0.1:{store.ports['master']}.{store.ports['master_grpc']}"
    filer = f"127.0.0.1:{store.ports['filer']}.{store.ports['filer_grpc']}"
    command = [str(seaweed_binary()), "shell", f"-master={address}", f"-filer={filer}"]

    def shell(folder: Path) -> str:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, env={"HOME": str(tmp_path)}
        )
        try:
            return process.communicate(b"fs.ls /buckets\nexit\n", timeout=6)[0].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0].decode()

    assert "prod" in shell(store.folder)
    assert "prod" not in shell(tmp_path)


def test_seaweed_listens_on_this_machine_alone(store: Seaweed) -> None:
    import psutil

    listening = {one.laddr for one in psutil.Process(store.process.pid).net_connections("tcp") if one.status == psutil.CONN_LISTEN}

    assert {address.port for address in listening} == set(store.ports.values())
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_what_was_acknowledged_survives_a_stop_a_kill_and_other_ports(tmp_path: Path) -> None:
    server = start_seaweed(tmp_path)

    def put(number: int) -> int:
        return signed_request("PUT", f"/dev/{number}", str(number).encode() * 900, port=server.ports["s3"], keys=server.keys.dev)[0]

    def kept(numbers: range) -> list[int]:
        got = {number: signed_request("GET", f"/dev/{number}", port=server.ports["s3"], keys=server.keys.dev) for number in numbers}
        return [number for number, answer in got.items() if answer == (200, str(number).encode() * 900)]

    assert all(put(number) == 200 for number in range(60))
    server.stop()
    server = start_seaweed(tmp_path, ports=server.ports)
    assert kept(range(60)) == list(range(60))

    assert all(put(number) == 200 for number in range(60, 120))
    os.kill(server.process.pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(server.process), timeout_s=10)
    server = start_seaweed(tmp_path)
    assert kept(range(120)) == list(range(120))
    assert put(120) == 200
    server.stop()


def test_a_store_that_cannot_start_is_tried_twice_and_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "weed").write_text("#!/bin/sh\necho started >> starts\necho no space left on this disk\nexit 1\n")
    (tmp_path / "weed").chmod(0o755)

    with pytest.raises(NotReady, match="no space left on this disk") as caught:
        start_seaweed(tmp_path / "store", program=tmp_path / "weed")

    assert (tmp_path / "store" / "starts").read_text() == "started\nstarted\n"
    assert "read " in caught.value.fix


def test_valkey_ends_when_asked_even_if_it_cannot_save(tmp_path: Path) -> None:
    server = start_valkey(tmp_path / "store")
    redis.Redis.from_url(server.publisher).set("row", "1")

    shutil.rmtree(tmp_path / "store")

    assert stop(server.process, grace_s=15)
