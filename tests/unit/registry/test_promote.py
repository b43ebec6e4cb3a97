"""Promotion: exact, signed, refused by name, and never half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.object_store_fake import DiesAt, Killed, MemoryStore, WatchedStore
from tests.registry_records import Edition, fixed_now, make_deployment, write_deployment, write_generation, write_model
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Conflict, Corrupt, Denied, Invalid, NotFound, PlatformError
from tiffin.manifests.records import FileRef
from tiffin.manifests.signing import Signer, Verifier
from tiffin.registry.models import save_record
from tiffin.registry.pointers import current
from tiffin.registry.promote import Promotion, promote, rollback
from tiffin.registry.references import references
from tiffin.registry.verified import fetch_blob, fetch_current, fetch_record
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import RecordKind, blob_key, manifest_key, pointer_key, signature_key
from tiffin.storage.objects import ObjectStore, put_blob

SIGNER = Signer("11" * 32)
VERIFIER = Verifier(SIGNER.public_hex)
POINTER = pointer_key("deployment", "eta", "eta")


@pytest.fixture(params=["memory", "folder"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ObjectStore, ObjectStore]:
    """Dev and prod: promotion means the same over every store."""
    if request.param == "memory":
        return MemoryStore(), MemoryStore()
    return FolderStore(tmp_path / "dev"), FolderStore(tmp_path / "prod")


@pytest.fixture
def dev() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def prod() -> MemoryStore:
    return MemoryStore()


def promote_it(dev: ObjectStore, prod: ObjectStore, digest: str, kind: RecordKind = "deployment", **options: Any) -> Promotion:
    return promote(kind, digest, dev=dev, prod=prod, signer=SIGNER, now=fixed_now, **options)


def read_whole(prod: ObjectStore, kind: RecordKind, team: str, name: str) -> tuple[str, int]:
    """What an agent does: follow the pointer and verify everything below it; count the objects."""
    digest, record = fetch_current(prod, VERIFIER, kind, team, name)
    waiting, count = list(references(record)), 1
    while waiting:
        reference = waiting.pop()
        count += 1
        if reference.kind == "blob":
            fetch_blob(prod, reference.digest, name=reference.name)
        else:
            waiting += references(fetch_record(prod, VERIFIER, reference.kind, reference.digest, name=reference.name))
    return digest, count


def test_a_promoted_deployment_is_whole_and_signed_in_prod(stores: tuple[ObjectStore, ObjectStore]) -> None:
    dev, prod = stores
    edition = write_deployment(dev)

    done = promote_it(dev, prod, edition.digest)

    assert read_whole(prod, "deployment", "eta", "eta") == (edition.digest, 10)
    assert (done.team, done.name, done.changed, done.pointer.sequence) == ("eta", "eta", True, 1)


def test_a_promoted_generation_brings_its_segments_and_its_view(stores: tuple[ObjectStore, ObjectStore]) -> None:
    dev, prod = stores
    digest, record = write_generation(dev)

    promote_it(dev, prod, digest, "generation")

    assert read_whole(prod, "generation", "network", "carrier_delays") == (digest, 4)
    assert fetch_record(prod, VERIFIER, "view", record.view_record, name="the view").name == "carrier_delays"


def test_prod_holds_the_very_bytes_of_dev_and_nothing_else(dev: MemoryStore, prod: MemoryStore) -> None:
    write_deployment(dev, 2)  # another edition, which nobody promotes
    edition = write_deployment(dev, 1)

    promote_it(dev, prod, edition.digest)

    copies = {key: data for key, data in prod.objects.items() if not key.endswith(".sig") and not key.startswith("pointers/")}
    assert copies == {key: dev.objects[key] for key in copies}
    wanted = {reference.digest for record in (edition.record, edition.model) for reference in references(record)} | {edition.digest}
    assert {key.rpartition("/")[2].removesuffix(".json") for key in copies} == wanted


def test_promotion_writes_nothing_to_dev(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)

    def read_only(operation: str, key: str) -> None:
        assert operation in ("get", "list"), f"{operation} {key}"

    promote_it(WatchedStore(dev, read_only), prod, edition.digest)


def test_the_pointer_is_the_last_thing_written(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    written: list[str] = []

    promote_it(dev, WatchedStore(prod, lambda operation, key: written.append(key) if operation == "put" else None), edition.digest)

    assert written[-1] == POINTER
    assert written[-3:-1] == [manifest_key("deployment", edition.digest), signature_key("deployment", edition.digest)]
    assert written.count(POINTER) == 1


def test_promoting_again_writes_nothing(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    promote_it(dev, prod, edition.digest)
    before = dict(prod.objects)

    again = promote_it(dev, prod, edition.digest)

    assert (again.changed, again.copied, again.copied_bytes, again.pointer.sequence) == (False, 0, 0, 1)
    assert prod.objects == before


def test_objects_that_two_editions_share_are_copied_once(dev: MemoryStore, prod: MemoryStore) -> None:
    first = promote_it(dev, prod, write_deployment(dev, 1).digest)
    shared = write_deployment(dev, 1, run_id="run-2")

    second = promote_it(dev, prod, shared.digest)

    assert (first.copied, second.copied) == (11, 2)


def test_promoting_again_mends_what_was_damaged_in_prod(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    promote_it(dev, prod, edition.digest)
    whole = dict(prod.objects)
    for key in prod.objects:
        if key != POINTER:
            prod.objects[key] = b"damaged"

    promote_it(dev, prod, edition.digest)

    assert prod.objects == whole


def test_the_next_promotion_remembers_the_edition_before(dev: MemoryStore, prod: MemoryStore) -> None:
    first, second = write_deployment(dev, 1), write_deployment(dev, 2)

    promote_it(dev, prod, first.digest)
    done = promote_it(dev, prod, second.digest)

    assert (done.pointer.manifest, done.pointer.previous) == (second.digest, (first.digest,))


def test_what_builds_upon_an_edition_is_refused_once_another_one_is_current(dev: MemoryStore, prod: MemoryStore) -> None:
    first, second, third = (write_deployment(dev, number).digest for number in (1, 2, 3))
    promote_it(dev, prod, first)
    promote_it(dev, prod, second, after=first)

    with pytest.raises(Conflict, match="somebody else moved it meanwhile") as caught:
        promote_it(dev, prod, third, after=first)

    assert caught.value.context["manifest"] == second
    assert read_whole(prod, "deployment", "eta", "eta")[0] == second
    assert promote_it(dev, prod, second, after=first).pointer.manifest == second, "doing it again is no conflict"


def test_progress_ends_at_the_total(dev: MemoryStore, prod: MemoryStore) -> None:
    seen: list[tuple[int, int]] = []

    promote_it(dev, prod, write_deployment(dev).digest, progress=lambda done, total: seen.append((done, total)))

    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


# --- refusals ---------------------------------------------------------------------------------


def refused(
    dev: ObjectStore, prod: MemoryStore, digest: str, error: type[PlatformError], match: str, kind: RecordKind = "deployment"
) -> PlatformError:
    """Promotion of `digest` fails like this, and prod is as it was."""
    before = dict(prod.objects)
    with pytest.raises(error, match=match) as caught:
        promote_it(dev, prod, digest, kind)
    assert prod.objects.get(POINTER) == before.get(POINTER)
    assert caught.value.fix
    return caught.value


BLOBS = {
    "model file": ("eta--1/1/model.txt", r"file 'eta--1/1/model\.txt' of deployment 'eta/eta'|file 'model\.txt' of model 'eta/eta'"),
    "preprocess": ("preprocess--1/1/model.py", r"file 'preprocess--1/1/model\.py' of deployment 'eta/eta'"),
    "postprocess": ("postprocess--1/1/model.py", r"file 'postprocess--1/1/model\.py' of deployment 'eta/eta'"),
    "golden rows": ("golden.json", r"golden rows 'golden\.json' of deployment 'eta/eta'"),
    "code archive": ("assets.eta.tar.gz", r"code archive 'assets\.eta\.tar\.gz' of"),
}


def blob_digest(edition: Edition, path: str) -> str:
    files: tuple[FileRef, ...] = (*edition.record.files, edition.record.golden, edition.record.code.archive)
    return next(file.digest for file in files if file.path == path)


@pytest.mark.parametrize(("path", "match"), BLOBS.values(), ids=BLOBS.keys())
def test_promote_refuses_a_changed_artifact_with_expected_and_found(dev: MemoryStore, prod: MemoryStore, path: str, match: str) -> None:
    edition = write_deployment(dev)
    digest = blob_digest(edition, path)
    dev.objects[blob_key(digest)] = b"changed"

    err = refused(dev, prod, edition.digest, Corrupt, match)

    assert digest in err.message
    assert digest_bytes(b"changed") in err.message


@pytest.mark.parametrize(("path", "match"), BLOBS.values(), ids=BLOBS.keys())
def test_promote_refuses_a_missing_artifact_by_name(dev: MemoryStore, prod: MemoryStore, path: str, match: str) -> None:
    edition = write_deployment(dev)
    del dev.objects[blob_key(blob_digest(edition, path))]

    refused(dev, prod, edition.digest, NotFound, match)


@pytest.mark.parametrize("which", ["base", "delta"])
def test_promote_refuses_a_changed_segment_by_name(dev: MemoryStore, prod: MemoryStore, which: str) -> None:
    digest, record = write_generation(dev)
    segment = record.base if which == "base" else record.deltas[0]
    dev.objects[blob_key(segment.digest)] = b"changed"

    refused(dev, prod, digest, Corrupt, f"{which} segment.* of generation 'network/carrier_delays'", "generation")


def test_promote_refuses_a_manifest_whose_bytes_changed(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    dev.objects[manifest_key("deployment", edition.digest)] += b" "

    refused(dev, prod, edition.digest, Corrupt, edition.digest)


def test_promote_refuses_a_model_manifest_swapped_under_its_deployment(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    _, other = write_model(dev, 2)
    dev.objects[manifest_key("model", edition.model_digest)] = other.to_bytes()

    refused(dev, prod, edition.digest, Corrupt, "model 'eta' of deployment 'eta/eta'")


def test_promote_refuses_the_manifest_of_another_kind(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    dev.objects[manifest_key("model", edition.digest)] = dev.objects[manifest_key("deployment", edition.digest)]

    refused(dev, prod, edition.digest, Invalid, "ModelRecord", "model")


def test_promote_refuses_a_deployment_that_names_the_model_of_another_name(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev, model=lambda: write_model(dev, name="fare"))

    refused(dev, prod, edition.digest, Invalid, r"its model is 'eta', but the manifest it names is model 'eta/fare'")


@pytest.mark.parametrize("verdict", [False, None, "yes", 1], ids=str)
def test_promote_refuses_a_model_whose_gate_did_not_pass_with_the_evidence(dev: MemoryStore, prod: MemoryStore, verdict: object) -> None:
    gates = ({"gate": "rows > 5", "passed": True}, {"gate": "mae < 15", "passed": verdict, "evidence": {"mae": 17.25, "limit": 15.0}})
    digest, _ = write_model(dev, gates=gates)

    err = refused(dev, prod, digest, Denied, r"model 'eta/eta' did not pass its gate 'mae < 15'.*17\.25", "model")

    assert err.context["evidence"] == {"mae": 17.25, "limit": 15.0}
    assert prod.objects == {}


def test_promote_refuses_a_deployment_of_a_model_whose_gate_did_not_pass(dev: MemoryStore, prod: MemoryStore) -> None:
    gates = ({"gate": "mae < 15", "passed": False, "evidence": {"mae": 17.25}},)
    edition = write_deployment(dev, model=lambda: write_model(dev, gates=gates))

    refused(dev, prod, edition.digest, Denied, "mae < 15")
    assert prod.objects == {}


def test_promote_refuses_a_pickle_among_the_files_by_name(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev, files={"eta--1/1/weights.bin": b"\x80\x04\x95\x05\0\0\0\0\0\0\0N."})

    refused(dev, prod, edition.digest, Denied, r"file 'eta--1/1/weights\.bin' of deployment 'eta/eta' looks like a pickle")


def test_promote_refuses_a_harmless_blob_under_a_name_that_a_loader_would_unpickle(dev: MemoryStore, prod: MemoryStore) -> None:
    """One blob under two names: each name is looked at."""
    edition = write_deployment(dev, files={"a.txt": b"same", "b.pkl": b"same"})

    refused(dev, prod, edition.digest, Denied, r"'b\.pkl'")


def test_promote_refuses_a_path_that_climbs_out_of_the_agents_folder(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev, files={"../../etc/cron.d/x": b"* * * * *"})

    refused(dev, prod, edition.digest, Invalid, "could leave its folder")
    assert prod.objects == {}


def test_promote_refuses_a_file_of_another_size_than_declared(dev: MemoryStore, prod: MemoryStore) -> None:
    golden = put_blob(dev, b"golden")
    model, _ = write_model(dev)
    record = make_deployment(model, {}, b"golden").model_copy(update={"golden": FileRef(path="golden.json", digest=golden, size_bytes=1)})

    refused(dev, prod, save_record(dev, record), Corrupt, "has 6 bytes, its manifest declares 1")


def test_promote_refuses_a_digest_that_is_none_before_it_reads_anything(dev: MemoryStore, prod: MemoryStore) -> None:
    for word in ("", "latest", "../../pointers/deployment/eta/eta", "AB" * 32):
        refused(dev, prod, word, Invalid, "is not a sha256 digest")


def test_promote_refuses_a_record_whose_digest_field_is_a_path(dev: MemoryStore, prod: MemoryStore) -> None:
    record = make_deployment("../../x", {}, b"golden")

    refused(dev, prod, save_record(dev, record), Invalid, "is not a sha256 digest")


def test_promote_refuses_a_record_whose_name_is_not_safe_as_a_key(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev, name="../network/delays")

    refused(dev, prod, edition.digest, Invalid, "not allowed")
    assert prod.objects == {}


def test_promote_refuses_the_manifest_of_another_deployment_than_the_caller_means(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)

    with pytest.raises(Invalid, match="is that of deployment 'eta/eta', not of deployment 'eta/fare'"):
        promote_it(dev, prod, edition.digest, home=("eta", "fare"))
    assert prod.objects == {}
    assert promote_it(dev, prod, edition.digest, home=("eta", "eta")).changed


def test_promote_refuses_what_is_not_in_dev_and_says_where_it_looked(dev: MemoryStore, prod: MemoryStore) -> None:
    refused(dev, prod, "ab" * 32, NotFound, f"no object 'manifests/deployment/{'ab' * 32}")


def test_a_refused_edition_leaves_the_live_one_whole(dev: MemoryStore, prod: MemoryStore) -> None:
    live, bad = write_deployment(dev, 1), write_deployment(dev, 2)
    promote_it(dev, prod, live.digest)
    dev.objects[blob_key(blob_digest(bad, "golden.json"))] = b"changed"

    refused(dev, prod, bad.digest, Corrupt, "golden")

    assert read_whole(prod, "deployment", "eta", "eta")[0] == live.digest


# --- never half -------------------------------------------------------------------------------


def operations(run: Callable[[Callable[[str, str], None]], None]) -> int:
    """How many store operations `run` makes."""
    count = [0]

    def tick(operation: str, key: str) -> None:
        count[0] += 1

    run(tick)
    return count[0]


def crash_points() -> Iterator[tuple[int, bool]]:
    """Every operation of a second promotion, before and after it took effect."""

    def second(tick: Callable[[str, str], None]) -> None:
        dev, prod = MemoryStore(), MemoryStore()
        promote_it(dev, prod, write_deployment(dev, 1).digest)
        promote_it(WatchedStore(dev, tick), WatchedStore(prod, tick), write_deployment(dev, 2).digest)

    total = operations(second)
    assert total > 20
    for number in range(1, total + 1):
        yield number, False
        yield number, True


@pytest.mark.parametrize(("number", "took_effect"), list(crash_points()))
def test_a_crash_at_any_operation_leaves_a_whole_edition_and_a_retry_completes(number: int, took_effect: bool) -> None:
    dev, prod = MemoryStore(), MemoryStore()
    old, new = write_deployment(dev, 1), write_deployment(dev, 2)
    promote_it(dev, prod, old.digest)
    dies = DiesAt(number)

    def pass_on(operation: str, key: str) -> None:
        pass

    def watched(store: MemoryStore) -> WatchedStore:
        return WatchedStore(store, pass_on, dies) if took_effect else WatchedStore(store, dies)

    with suppress(Killed):  # reads that find nothing take no effect: then the number lies past the end
        promote_it(watched(dev), watched(prod), new.digest)

    live, _ = read_whole(prod, "deployment", "eta", "eta")
    assert live in (old.digest, new.digest)
    done = promote_it(dev, prod, new.digest)
    assert read_whole(prod, "deployment", "eta", "eta")[0] == new.digest
    assert (done.pointer.sequence, done.pointer.previous) == (2, (old.digest,))


def test_a_promotion_that_races_another_keeps_both_in_memory(dev: MemoryStore, prod: MemoryStore) -> None:
    first, mine, theirs = (write_deployment(dev, number) for number in (1, 2, 3))
    promote_it(dev, prod, first.digest)
    raced: list[str] = []

    def rival(operation: str, key: str) -> None:
        if operation == "put" and key == POINTER and not raced:
            raced.append(key)
            promote_it(dev, prod, theirs.digest)

    done = promote_it(dev, WatchedStore(prod, rival), mine.digest)

    assert done.pointer.manifest == mine.digest
    assert done.pointer.previous == (theirs.digest, first.digest)


# --- rollback ---------------------------------------------------------------------------------


def three_editions(dev: ObjectStore, prod: ObjectStore) -> list[str]:
    digests = [write_deployment(dev, number).digest for number in (1, 2, 3)]
    for digest in digests:
        promote_it(dev, prod, digest)
    return digests


def test_rollback_points_at_the_edition_before_and_it_is_whole(stores: tuple[ObjectStore, ObjectStore]) -> None:
    dev, prod = stores
    _, second, third = three_editions(dev, prod)

    pointer = rollback("deployment", "eta", "eta", prod=prod, now=fixed_now)

    assert (pointer.manifest, pointer.abandoned) == (second, (third,))
    assert read_whole(prod, "deployment", "eta", "eta")[0] == second


def test_rolling_back_twice_does_not_bounce(stores: tuple[ObjectStore, ObjectStore]) -> None:
    dev, prod = stores
    first, _, _ = three_editions(dev, prod)

    rollback("deployment", "eta", "eta", prod=prod)
    pointer = rollback("deployment", "eta", "eta", prod=prod)

    assert pointer.manifest == first
    with pytest.raises(NotFound, match="0 earlier editions"):
        rollback("deployment", "eta", "eta", prod=prod)


def test_a_promotion_after_a_rollback_works_and_rolls_back_to_what_was_live(dev: MemoryStore, prod: MemoryStore) -> None:
    _, second, _ = three_editions(dev, prod)
    rollback("deployment", "eta", "eta", prod=prod)
    fourth = write_deployment(dev, 4).digest

    done = promote_it(dev, prod, fourth)

    assert done.pointer.manifest == fourth
    assert rollback("deployment", "eta", "eta", prod=prod).manifest == second


def test_rollback_writes_one_object_and_needs_no_dev(dev: MemoryStore, prod: MemoryStore) -> None:
    three_editions(dev, prod)
    written: list[str] = []

    rollback(
        "deployment", "eta", "eta", prod=WatchedStore(prod, lambda operation, key: written.append(key) if operation == "put" else None)
    )

    assert written == [POINTER]


def test_rollback_refuses_an_edition_whose_manifest_is_damaged(dev: MemoryStore, prod: MemoryStore) -> None:
    _, second, third = three_editions(dev, prod)
    prod.objects[manifest_key("deployment", second)] += b" "

    with pytest.raises(Corrupt, match="deployment 'eta/eta'"):
        rollback("deployment", "eta", "eta", prod=prod)
    assert read_whole(prod, "deployment", "eta", "eta")[0] == third


def test_rollback_of_what_was_never_promoted_is_refused(prod: MemoryStore) -> None:
    with pytest.raises(NotFound, match="deployment 'eta/fare' was never promoted"):
        rollback("deployment", "eta", "fare", prod=prod)


def test_rollback_that_meets_a_promotion_is_a_conflict(dev: MemoryStore, prod: MemoryStore) -> None:
    three_editions(dev, prod)
    fourth = write_deployment(dev, 4).digest

    def rival(operation: str, key: str) -> None:
        if operation == "put":
            promote_it(dev, prod, fourth)

    with pytest.raises(Conflict):
        rollback("deployment", "eta", "eta", prod=WatchedStore(prod, rival))
    pointer = current(prod, "deployment", "eta", "eta")
    assert pointer is not None
    assert pointer.manifest == fourth
