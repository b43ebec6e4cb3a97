"""One byte changed in prod is refused, and the error says which file of which edition."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.object_store_fake import MemoryStore
from tests.registry_records import fixed_now, write_deployment, write_generation
from tiffin.core.errors import Corrupt, Invalid, NotFound
from tiffin.manifests.records import DeploymentRecord, FileRef, GenerationRecord, Pointer
from tiffin.manifests.signing import Signer, Verifier, generate_key
from tiffin.registry.promote import promote
from tiffin.registry.references import references
from tiffin.registry.verified import fetch_blob, fetch_current, fetch_file, fetch_record
from tiffin.storage.layout import blob_key, manifest_key, pointer_key, signature_key

SIGNER = Signer("11" * 32)
VERIFIER = Verifier(SIGNER.public_hex)


@pytest.fixture
def prod() -> MemoryStore:
    """Prod with the deployment `eta/eta` and the generation `network/carrier_delays`."""
    dev, prod = MemoryStore(), MemoryStore()
    promote("deployment", write_deployment(dev).digest, dev=dev, prod=prod, signer=SIGNER, now=fixed_now)
    promote("generation", write_generation(dev)[0], dev=dev, prod=prod, signer=SIGNER, now=fixed_now)
    return prod


def deployment(prod: MemoryStore) -> DeploymentRecord:
    return fetch_current(prod, VERIFIER, "deployment", "eta", "eta")[1]


def generation(prod: MemoryStore) -> GenerationRecord:
    return fetch_current(prod, VERIFIER, "generation", "network", "carrier_delays")[1]


def read_everything(prod: MemoryStore) -> None:
    """What the agent reads before a byte reaches Triton or the online store."""
    served = deployment(prod)
    for file in (*served.files, served.golden, served.code.archive):
        fetch_file(prod, file, of="deployment 'eta/eta'")
    model = fetch_record(prod, VERIFIER, "model", served.model, name="model 'eta' of deployment 'eta/eta'")
    for file in model.files:
        fetch_file(prod, file, of="model 'eta/eta'")
    online = generation(prod)
    for reference in references(online):
        if reference.kind == "blob":
            fetch_blob(prod, reference.digest, name=reference.name)


def file_key(path: str) -> Callable[[MemoryStore], str]:
    return lambda prod: blob_key(next(file.digest for file in deployment(prod).files if file.path == path))


CHANGED: dict[str, tuple[Callable[[MemoryStore], str], str]] = {
    "model file": (file_key("eta--1/1/model.txt"), r"file 'eta--1/1/model\.txt' of deployment 'eta/eta' has changed"),
    "preprocess code": (file_key("preprocess--1/1/model.py"), r"file 'preprocess--1/1/model\.py' of deployment 'eta/eta' has changed"),
    "postprocess code": (file_key("postprocess--1/1/model.py"), r"file 'postprocess--1/1/model\.py' of deployment 'eta/eta' has changed"),
    "golden rows": (lambda prod: blob_key(deployment(prod).golden.digest), r"file 'golden\.json' of deployment 'eta/eta' has changed"),
    "manifest": (
        lambda prod: manifest_key("deployment", deployment(prod).address),
        "the manifest of deployment 'eta/eta' has changed",
    ),
    "signature": (
        lambda prod: signature_key("deployment", deployment(prod).address),
        "the signature of deployment 'eta/eta' does not match",
    ),
    "model manifest": (
        lambda prod: manifest_key("model", deployment(prod).model),
        "the manifest of model 'eta' of deployment 'eta/eta' has changed",
    ),
    "base segment": (
        lambda prod: blob_key(generation(prod).base.digest),
        "base segment of generation 'network/carrier_delays' has changed",
    ),
    "delta segment": (
        lambda prod: blob_key(generation(prod).deltas[0].digest),
        "delta segment 1 of generation 'network/carrier_delays' has changed",
    ),
    "generation manifest": (
        lambda prod: manifest_key("generation", generation(prod).address),
        "the manifest of generation 'network/carrier_delays' has changed",
    ),
    "generation signature": (
        lambda prod: signature_key("generation", generation(prod).address),
        "the signature of generation 'network/carrier_delays' does not match",
    ),
}


def test_an_untouched_bucket_reads_whole(prod: MemoryStore) -> None:
    read_everything(prod)


@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize(("locate", "match"), CHANGED.values(), ids=CHANGED.keys())
def test_one_changed_byte_in_prod_is_refused_by_name(
    prod: MemoryStore, locate: Callable[[MemoryStore], str], match: str, position: str
) -> None:
    key = locate(prod)
    data = bytearray(prod.objects[key])
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[position]] ^= 1
    prod.objects[key] = bytes(data)

    with pytest.raises(Corrupt, match=match) as caught:
        read_everything(prod)
    assert "promote it again" in caught.value.fix


@pytest.mark.parametrize(("locate", "match"), CHANGED.values(), ids=CHANGED.keys())
def test_a_missing_object_in_prod_is_refused_by_name(prod: MemoryStore, locate: Callable[[MemoryStore], str], match: str) -> None:
    del prod.objects[locate(prod)]
    subject = match.removesuffix(" has changed").replace("the signature of ", "the manifest of ").removesuffix(" does not match")

    with pytest.raises((NotFound, Corrupt), match=subject):
        read_everything(prod)


def test_an_unsigned_manifest_is_refused_although_every_byte_is_right(prod: MemoryStore) -> None:
    del prod.objects[signature_key("deployment", deployment(prod).address)]

    with pytest.raises(Corrupt, match="deployment 'eta/eta' is not signed"):
        deployment(prod)


def test_a_manifest_that_somebody_with_the_bucket_key_wrote_himself_is_refused(prod: MemoryStore) -> None:
    forged = deployment(prod).model_copy(update={"owner": "team:evil"})
    prod.objects[manifest_key("deployment", forged.address)] = forged.to_bytes()
    prod.objects[signature_key("deployment", forged.address)] = generate_key().sign("deployment", forged.address)
    prod.objects[pointer_key("deployment", "eta", "eta")] = Pointer(manifest=forged.address, sequence=9).to_bytes()

    with pytest.raises(Corrupt, match="signature of deployment 'eta/eta'"):
        deployment(prod)


def test_the_signature_of_another_manifest_is_refused(prod: MemoryStore) -> None:
    served = deployment(prod)
    prod.objects[signature_key("deployment", served.address)] = prod.objects[signature_key("model", served.model)]

    with pytest.raises(Corrupt, match="signature of deployment 'eta/eta'"):
        deployment(prod)


def test_a_pointer_to_the_signed_manifest_of_another_deployment_is_refused(prod: MemoryStore) -> None:
    prod.objects[pointer_key("deployment", "eta", "fare")] = prod.objects[pointer_key("deployment", "eta", "eta")]

    with pytest.raises(Corrupt, match="the pointer of deployment 'eta/fare' names the manifest of deployment 'eta/eta'"):
        fetch_current(prod, VERIFIER, "deployment", "eta", "fare")


def test_a_pointer_to_the_signed_manifest_of_another_kind_is_refused(prod: MemoryStore) -> None:
    model = deployment(prod).model
    prod.objects[manifest_key("deployment", model)] = prod.objects[manifest_key("model", model)]
    prod.objects[signature_key("deployment", model)] = prod.objects[signature_key("model", model)]
    prod.objects[pointer_key("deployment", "eta", "eta")] = Pointer(manifest=model, sequence=9).to_bytes()

    with pytest.raises(Corrupt, match="signature of deployment 'eta/eta'"):
        deployment(prod)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"manifest": "a"}', b"\xff"])
def test_a_damaged_pointer_is_refused_by_name(prod: MemoryStore, data: bytes) -> None:
    prod.objects[pointer_key("deployment", "eta", "eta")] = data

    with pytest.raises(Corrupt, match="the pointer of deployment 'eta/eta' is damaged"):
        deployment(prod)


@pytest.mark.parametrize("manifest", ["../../x", "", "latest"])
def test_a_pointer_that_names_no_digest_finds_nothing(prod: MemoryStore, manifest: str) -> None:
    prod.objects[pointer_key("deployment", "eta", "eta")] = Pointer(manifest=manifest, sequence=9).to_bytes()

    with pytest.raises(NotFound, match="the manifest of deployment 'eta/eta'"):
        deployment(prod)


def test_what_was_never_promoted_is_not_found_by_name(prod: MemoryStore) -> None:
    with pytest.raises(NotFound, match="deployment 'eta/fare' was never promoted"):
        fetch_current(prod, VERIFIER, "deployment", "eta", "fare")


def test_a_file_with_a_climbing_path_is_refused_although_its_bytes_are_right(prod: MemoryStore) -> None:
    file = deployment(prod).files[0]

    with pytest.raises(Invalid, match="could leave its folder"):
        fetch_file(prod, FileRef(path="../x", digest=file.digest, size_bytes=file.size_bytes), of="deployment 'eta/eta'")
