"""The object store kit against a folder and a real S3 server, and what only the latter has."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.core.errors import Conflict, Denied, Invalid, NotFound, NotReady
from tiffin.embedded.seaweed import Seaweed
from tiffin.storage.folder import FolderStore
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store
from tiffin.testing.object_store import CASES, Case, check_object_store, random_steps, run_steps


def dev_store(server: Seaweed, bucket: str = "dev") -> S3Store:
    return S3Store(bucket, server.endpoint, server.keys.dev.access_key, server.keys.dev.secret_key)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path) if request.param == "folder" else dev_store(request.getfixturevalue("seaweed"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_object_store_keeps_the_contract(store: ObjectStore, fresh: str, case: Case) -> None:
    case(store, fresh)


@pytest.mark.parametrize("seed", range(4))
def test_a_random_program_agrees_with_a_dictionary(store: ObjectStore, fresh: str, seed: int) -> None:
    run_steps(store, fresh, random_steps(seed))


def test_the_kit_runs_programs_from_files_and_names_the_one_that_fails(tmp_path: Path) -> None:
    class Forgetful(FolderStore):
        def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
            return super().put(key, b"?" if key.endswith("odd") else data, if_absent=if_absent, if_match=if_match)

    (tmp_path / "odd_key.json").write_text(json.dumps([{"op": "put", "key": "odd", "data": "x"}, {"op": "get", "key": "odd"}]))

    check_object_store(FolderStore(tmp_path / "good"), "p", cases=tmp_path)
    with pytest.raises(AssertionError, match=r"odd_key\.json: step 1"):
        check_object_store(Forgetful(tmp_path / "bad"), "p", cases=tmp_path)


ASKS: dict[str, Callable[[S3Store], object]] = {
    "read": lambda store: store.get("pointers/model/eta.json"),
    "write": lambda store: store.put("blobs/x", b"x"),
    "write if absent": lambda store: store.put("blobs/x", b"x", if_absent=True),
    "list": lambda store: list(store.list("")),
    "delete": lambda store: store.delete("pointers/model/eta.json"),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_the_dev_key_is_denied_everything_in_prod(seaweed: Seaweed, ask: Callable[[S3Store], object]) -> None:
    with pytest.raises(Denied) as caught:
        ask(dev_store(seaweed, "prod"))

    told = str(caught.value)
    assert seaweed.keys.dev.access_key in told
    assert "'prod'" in told
    assert seaweed.keys.dev.secret_key not in told + repr(caught.value.context) + repr(dev_store(seaweed))


def test_a_wrong_secret_is_denied_by_key_id(seaweed: Seaweed) -> None:
    store = S3Store("dev", seaweed.endpoint, seaweed.keys.dev.access_key, "not the secret")

    with pytest.raises(Denied, match=seaweed.keys.dev.access_key):
        store.get("a")


def test_the_prod_read_key_reads_and_cannot_write(seaweed: Seaweed, fresh: str) -> None:
    keys = seaweed.keys
    S3Store("prod", seaweed.endpoint, keys.prod_write.access_key, keys.prod_write.secret_key).put(f"{fresh}/a", b"1")
    reader = S3Store("prod", seaweed.endpoint, keys.prod_read.access_key, keys.prod_read.secret_key)

    assert reader.get(f"{fresh}/a").data == b"1"
    with pytest.raises(Denied):
        reader.put(f"{fresh}/a", b"2")


def test_a_store_that_is_down_is_not_ready(fresh: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = S3Store("dev", f"http://127.0.0.1:{port}", "key", "secret", attempts=1)

    with pytest.raises(NotReady, match=f"127.0.0.1:{port} does not answer") as caught:
        store.get(f"{fresh}/a")

    assert caught.value.retryable


def test_a_missing_bucket_is_not_found_by_name(seaweed: Seaweed) -> None:
    store = S3Store("nobucket", seaweed.endpoint, seaweed.keys.admin.access_key, seaweed.keys.admin.secret_key)

    for action in (lambda: store.get("a"), lambda: store.put("a", b"", if_match="0" * 32)):
        with pytest.raises((NotFound, Conflict), match="'nobucket'"):
            action()


def test_two_conditions_at_once_are_refused(store: ObjectStore, fresh: str) -> None:
    with pytest.raises(Invalid, match="exclude each other"):
        store.put(f"{fresh}/a", b"1", if_absent=True, if_match="0" * 32)
