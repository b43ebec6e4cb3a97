"""A model version in dev: written whole, read back whole, never a pickle."""

from __future__ import annotations

import pytest

from tests.object_store_fake import DiesAt, Killed, MemoryStore, WatchedStore
from tests.registry_records import fixed_now, make_model, make_view, write_model
from tiffin.core.errors import Corrupt, Denied, Invalid, NotFound
from tiffin.core.units import to_us
from tiffin.manifests.records import Pointer
from tiffin.registry.models import current, file_refs, load_model, load_record, publish_record, save_model, save_record
from tiffin.storage.layout import blob_key, manifest_key, pointer_key

FILES = {"model.txt": b"tree", "meta/inputs.json": b"[]"}


@pytest.fixture
def dev() -> MemoryStore:
    return MemoryStore()


def test_a_saved_model_loads_with_every_file(dev: MemoryStore) -> None:
    record = make_model(FILES)

    digest = save_model(dev, record, FILES, now=fixed_now)

    assert load_model(dev, digest) == (record, FILES)


def test_saving_moves_the_dev_pointer(dev: MemoryStore) -> None:
    first, _ = write_model(dev, 1)
    second, _ = write_model(dev, 2)

    assert current(dev, "model", "eta", "eta") == Pointer(manifest=second, previous=(first,), sequence=2, moved_at_us=to_us(fixed_now()))


def test_saving_the_same_model_twice_changes_nothing(dev: MemoryStore) -> None:
    write_model(dev)
    before = dict(dev.objects)

    write_model(dev)

    assert dev.objects == before


def test_a_crash_while_saving_never_leaves_a_pointer_to_a_half_model() -> None:
    record = make_model(FILES)
    for number in range(1, 8):
        dev = MemoryStore()
        dies = DiesAt(number)
        try:
            save_model(WatchedStore(dev, dies), record, FILES, now=fixed_now)
        except Killed:
            pointer = current(dev, "model", "eta", "eta")
            assert pointer is None
        save_model(dev, record, FILES, now=fixed_now)
        assert load_model(dev, record.address)[1] == FILES


def test_a_record_is_stored_under_its_address(dev: MemoryStore) -> None:
    digest = save_record(dev, make_view())

    assert digest == make_view().address
    assert load_record(dev, "view", digest) == make_view()


def test_publishing_a_record_moves_its_own_dev_pointer(dev: MemoryStore) -> None:
    digest = publish_record(dev, make_view(), now=fixed_now)

    pointer = current(dev, "view", "network", "carrier_delays")
    assert pointer is not None
    assert pointer.manifest == digest


@pytest.mark.parametrize(
    ("given", "match"),
    [
        pytest.param({"model.txt": b"tree"}, r"file 'meta/inputs\.json' the record lists but was not given", id="one missing"),
        pytest.param({**FILES, "more.txt": b""}, r"file 'more\.txt' was given but the record does not list", id="one more"),
        pytest.param({**FILES, "model.txt": b"other"}, r"file 'model\.txt' hashes to", id="other bytes"),
    ],
)
def test_files_that_are_not_those_of_the_record_are_refused(dev: MemoryStore, given: dict[str, bytes], match: str) -> None:
    with pytest.raises(Invalid, match=match) as caught:
        save_model(dev, make_model(FILES), given)
    assert "file_refs(files)" in caught.value.fix
    assert dev.objects == {}


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib"])
def test_a_model_in_a_pickle_is_refused_by_name(dev: MemoryStore, name: str) -> None:
    files = {name: b"anything"}

    with pytest.raises(Denied, match=f"file '{name}' of model 'eta/eta'"):
        save_model(dev, make_model(files), files)
    assert dev.objects == {}


def test_a_metric_that_is_not_a_number_is_refused_by_model(dev: MemoryStore) -> None:
    with pytest.raises(Invalid, match="model 'eta/eta' cannot be written") as caught:
        save_model(dev, make_model(FILES, metrics={"mae": float("nan")}), FILES)
    assert "NaN" in caught.value.fix
    assert pointer_key("model", "eta", "eta") not in dev.objects


def test_a_changed_file_is_refused_by_name(dev: MemoryStore) -> None:
    digest, record = write_model(dev)
    dev.objects[blob_key(record.files[0].digest)] = b"changed"

    with pytest.raises(Corrupt, match=r"file 'model\.txt' of model 'eta/eta' has changed"):
        load_model(dev, digest)


def test_a_changed_record_is_refused_by_name(dev: MemoryStore) -> None:
    digest, _ = write_model(dev)
    dev.objects[manifest_key("model", digest)] += b" "

    with pytest.raises(Corrupt, match=f"model manifest {digest} has changed"):
        load_model(dev, digest)


def test_a_model_that_is_not_there_is_not_found_by_digest(dev: MemoryStore) -> None:
    with pytest.raises(NotFound, match="ab" * 32):
        load_model(dev, "ab" * 32)


def test_the_files_of_a_record_are_listed_in_the_order_of_their_paths() -> None:
    assert [file.path for file in file_refs({"b": b"1", "a": b"22"})] == ["a", "b"]
    assert file_refs({"a": b"22"})[0].size_bytes == 2
