"""Local copies are content-addressed: only sound bytes are kept or given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Denied, NotFound
from tiffin.manifests.signing import Verifier, generate_key
from tiffin.serving.cache import CachedStore
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import blob_key, manifest_key, pointer_key, signature_key

SIGNER = generate_key()
DATA = b"a file of a deployment"
DIGEST = digest_bytes(DATA)


@pytest.fixture
def remote(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "remote")


@pytest.fixture
def local(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "local")


@pytest.fixture
def store(remote: FolderStore, local: FolderStore) -> CachedStore:
    return CachedStore(remote, local, Verifier(SIGNER.public_hex))


@pytest.mark.parametrize(
    ("key", "data"),
    [
        pytest.param(blob_key(DIGEST), DATA, id="blob"),
        pytest.param(manifest_key("deployment", DIGEST), DATA, id="manifest"),
        pytest.param(signature_key("deployment", DIGEST), SIGNER.sign("deployment", DIGEST), id="signature"),
    ],
)
def test_what_was_read_once_is_there_without_the_remote_store(store: CachedStore, remote: FolderStore, key: str, data: bytes) -> None:
    remote.put(key, data)
    store.get(key)
    remote.delete(key)

    assert store.get(key).data == data


@pytest.mark.parametrize(
    ("key", "good"),
    [
        pytest.param(blob_key(DIGEST), DATA, id="blob"),
        pytest.param(manifest_key("deployment", DIGEST), DATA, id="manifest"),
        pytest.param(signature_key("deployment", DIGEST), SIGNER.sign("deployment", DIGEST), id="signature"),
    ],
)
def test_a_damaged_copy_is_fetched_again_and_mended(
    store: CachedStore, remote: FolderStore, local: FolderStore, key: str, good: bytes
) -> None:
    remote.put(key, good)
    local.put(key, b"!" + good[1:])

    assert store.get(key).data == good
    assert local.get(key).data == good


def test_a_damaged_remote_object_is_handed_on_but_never_kept(store: CachedStore, remote: FolderStore, local: FolderStore) -> None:
    remote.put(blob_key(DIGEST), b"changed")

    assert store.get(blob_key(DIGEST)).data == b"changed"
    with pytest.raises(NotFound):
        local.get(blob_key(DIGEST))


def test_a_signature_of_another_key_is_not_kept(store: CachedStore, remote: FolderStore, local: FolderStore) -> None:
    remote.put(signature_key("deployment", DIGEST), generate_key().sign("deployment", DIGEST))
    store.get(signature_key("deployment", DIGEST))

    with pytest.raises(NotFound):
        local.get(signature_key("deployment", DIGEST))


def test_pointers_are_always_asked_for(store: CachedStore, remote: FolderStore) -> None:
    key = pointer_key("deployment", "eta", "eta")
    remote.put(key, b"1")
    store.get(key)
    remote.put(key, b"2")

    assert store.get(key).data == b"2"
    assert list(store.list("pointers/")) == [key]


def test_the_agent_cannot_write(store: CachedStore) -> None:
    with pytest.raises(Denied):
        store.put("pointers/x", b"")
    with pytest.raises(Denied):
        store.delete("pointers/x")
