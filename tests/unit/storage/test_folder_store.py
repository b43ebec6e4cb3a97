"""What a folder adds to the object store contract: atomic files and keys that stay inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.core.errors import Conflict, Invalid, NotFound
from tiffin.storage.folder import FolderStore
from tiffin.testing.object_store import check_object_store


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


def test_a_folder_passes_the_kit(store: FolderStore) -> None:
    check_object_store(store, "kit", seed=7)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a/./b", ".tiffin-lock", "a/.tiffin-x", "a\0b"])
def test_a_key_that_could_leave_the_folder_is_refused(store: FolderStore, tmp_path: Path, key: str) -> None:
    for action in (lambda: store.put(key, b"x"), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(Invalid, match="not allowed"):
            action()

    assert not (tmp_path / "a").exists()


def test_a_listing_stays_in_the_folder(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")

    with pytest.raises(Invalid):
        list(store.list("../"))


def test_a_key_beside_a_folder_of_the_same_name_is_refused_with_the_reason(store: FolderStore) -> None:
    store.put("a/b", b"1")
    store.put("c", b"1")

    for key in ("a", "c/d"):
        for condition in ({}, {"if_absent": True}):
            with pytest.raises(Invalid, match="rename one of the two keys"):
                store.put(key, b"2", **condition)
    for key in ("a", "c/d"):
        with pytest.raises(NotFound):
            store.get(key)
        store.delete(key)
    assert store.get("a/b").data == b"1"


def test_a_refused_or_finished_write_leaves_no_other_file(store: FolderStore) -> None:
    store.put("a", b"1", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"2", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"2", if_match="0" * 64)

    assert sorted(file.name for file in store.path.iterdir()) == [".tiffin-lock", "a"]


def test_a_reader_meets_whole_content_during_a_write(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a", b"old")
    seen = []
    monkeypatch.setattr("tiffin.storage.folder.os.fsync", lambda _: seen.append(store.get("a").data))

    store.put("a", b"new")

    assert seen == [b"old"]
    assert store.get("a").data == b"new"
