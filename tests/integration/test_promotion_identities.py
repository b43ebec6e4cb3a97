"""On a real object store: who may touch prod, and promotion by the one who may.

The refusals are proven with a plain boto3 client, so that no code of the library stands between the
key and the store.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.registry_records import write_deployment, write_generation, write_model
from tiffin.core.errors import Corrupt, Denied, NotFound, NotReady
from tiffin.core.settings import Settings
from tiffin.embedded.seaweed import Seaweed, start_seaweed
from tiffin.embedded.sigv4 import KeyPair
from tiffin.manifests.signing import Signer, Verifier, generate_key, write_key
from tiffin.registry.pointers import current
from tiffin.registry.promote import promote, rollback
from tiffin.registry.promoter import request_promotion, serve_requests
from tiffin.registry.verified import fetch_current, fetch_file
from tiffin.storage.layout import blob_key, pointer_key
from tiffin.storage.s3 import S3Store

SIGNER = generate_key()
VERIFIER = Verifier(SIGNER.public_hex)


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    server = start_seaweed(tmp_path_factory.mktemp("seaweed"))
    yield server
    server.stop()


@pytest.fixture
def team(request: pytest.FixtureRequest) -> str:
    """An own team for each test: they share the server."""
    return f"team_{zlib.crc32(request.node.name.encode())}"


def store(weed: Seaweed, bucket: str, keys: KeyPair) -> S3Store:
    return S3Store(bucket, weed.endpoint, keys.access_key, keys.secret_key)


def client(weed: Seaweed, keys: KeyPair) -> Any:
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    return boto3.client(
        "s3",
        endpoint_url=weed.endpoint,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        region_name="us-east-1",
        config=config,
    )


@pytest.fixture
def planted(weed: Seaweed) -> str:
    """A key that exists in both buckets."""
    for bucket in ("dev", "prod"):
        client(weed, weed.keys.admin).put_object(Bucket=bucket, Key="planted/object", Body=b"planted")
    return "planted/object"


ON_PROD: dict[str, Callable[[Any, str], object]] = {
    "put": lambda s3, key: s3.put_object(Bucket="prod", Key="planted/new", Body=b"x"),
    "overwrite": lambda s3, key: s3.put_object(Bucket="prod", Key=key, Body=b"x"),
    "get": lambda s3, key: s3.get_object(Bucket="prod", Key=key),
    "get what is not there": lambda s3, key: s3.get_object(Bucket="prod", Key="nothing"),
    "head": lambda s3, key: s3.head_object(Bucket="prod", Key=key),
    "list": lambda s3, key: s3.list_objects_v2(Bucket="prod"),
    "list below a prefix": lambda s3, key: s3.list_objects_v2(Bucket="prod", Prefix="planted/"),
    "delete": lambda s3, key: s3.delete_object(Bucket="prod", Key=key),
    "copy into prod": lambda s3, key: s3.copy_object(Bucket="prod", Key="planted/copy", CopySource={"Bucket": "dev", "Key": key}),
    "copy out of prod": lambda s3, key: s3.copy_object(Bucket="dev", Key="planted/copy", CopySource={"Bucket": "prod", "Key": key}),
    "copy inside prod": lambda s3, key: s3.copy_object(Bucket="prod", Key="planted/copy", CopySource={"Bucket": "prod", "Key": key}),
    "start a multipart upload": lambda s3, key: s3.create_multipart_upload(Bucket="prod", Key="planted/parts"),
    "tag": lambda s3, key: s3.put_object_tagging(Bucket="prod", Key=key, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
    "remove the bucket": lambda s3, key: s3.delete_bucket(Bucket="prod"),
    "set a policy": lambda s3, key: s3.put_bucket_policy(
        Bucket="prod",
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::prod/*"}],
            }
        ),
    ),
}
WRITES = [
    name for name in ON_PROD if name not in ("get", "get what is not there", "head", "list", "list below a prefix", "copy out of prod")
]


def is_forbidden(call: Callable[[], object]) -> None:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, caught.value.response


@pytest.mark.parametrize("name", ON_PROD)
def test_the_dev_key_is_forbidden_on_prod(weed: Seaweed, planted: str, name: str) -> None:
    is_forbidden(lambda: ON_PROD[name](client(weed, weed.keys.dev), planted))

    assert client(weed, weed.keys.admin).get_object(Bucket="prod", Key=planted)["Body"].read() == b"planted"


@pytest.mark.parametrize("name", WRITES)
def test_the_prod_read_key_is_forbidden_to_write_prod(weed: Seaweed, planted: str, name: str) -> None:
    is_forbidden(lambda: ON_PROD[name](client(weed, weed.keys.prod_read), planted))

    assert client(weed, weed.keys.admin).get_object(Bucket="prod", Key=planted)["Body"].read() == b"planted"


def test_the_prod_read_key_reads_prod_and_not_dev(weed: Seaweed, planted: str) -> None:
    reader = client(weed, weed.keys.prod_read)

    assert reader.get_object(Bucket="prod", Key=planted)["Body"].read() == b"planted"
    is_forbidden(lambda: reader.get_object(Bucket="dev", Key=planted))
    is_forbidden(lambda: reader.put_object(Bucket="dev", Key="x", Body=b""))


def test_the_prod_write_key_reads_dev_and_does_not_write_it(weed: Seaweed, planted: str) -> None:
    promoter = client(weed, weed.keys.prod_write)

    assert promoter.get_object(Bucket="dev", Key=planted)["Body"].read() == b"planted"
    is_forbidden(lambda: promoter.put_object(Bucket="dev", Key="x", Body=b""))
    is_forbidden(lambda: promoter.delete_object(Bucket="dev", Key=planted))


@pytest.mark.parametrize("name", ["dev", "prod_write", "prod_read"])
def test_a_key_with_a_wrong_secret_opens_nothing(weed: Seaweed, planted: str, name: str) -> None:
    stranger = KeyPair(getattr(weed.keys, name).access_key, "not the secret")

    for bucket in ("dev", "prod"):
        is_forbidden(lambda bucket=bucket: client(weed, stranger).get_object(Bucket=bucket, Key=planted))  # type: ignore[misc]  # bound now


# --- promotion --------------------------------------------------------------------------------


def test_promotion_under_the_prod_write_identity_and_reading_under_the_prod_read_one(weed: Seaweed, team: str) -> None:
    dev, prod, reader = (
        store(weed, "dev", weed.keys.dev),
        store(weed, "prod", weed.keys.prod_write),
        store(weed, "prod", weed.keys.prod_read),
    )
    edition = write_deployment(dev, team=team)

    done = promote("deployment", edition.digest, dev=store(weed, "dev", weed.keys.prod_write), prod=prod, signer=SIGNER)

    digest, record = fetch_current(reader, VERIFIER, "deployment", team, "eta")
    assert (digest, record, done.pointer.sequence) == (edition.digest, edition.record, 1)
    for file in (*record.files, record.golden, record.code.archive):
        assert len(fetch_file(reader, file, of="the deployment")) == file.size_bytes


def test_promotion_under_the_identity_of_a_step_is_denied_and_writes_nothing(weed: Seaweed, team: str) -> None:
    dev = store(weed, "dev", weed.keys.dev)
    edition = write_deployment(dev, team=team)

    for keys in (weed.keys.dev, weed.keys.prod_read):
        with pytest.raises(Denied):
            promote("deployment", edition.digest, dev=dev, prod=store(weed, "prod", keys), signer=SIGNER)
    assert current(store(weed, "prod", weed.keys.prod_read), "deployment", team, "eta") is None


def test_bytes_changed_in_the_prod_bucket_are_refused_by_name(weed: Seaweed, team: str) -> None:
    dev, prod = store(weed, "dev", weed.keys.dev), store(weed, "prod", weed.keys.prod_write)
    edition = write_deployment(dev, 77, team=team)
    promote("deployment", edition.digest, dev=dev, prod=prod, signer=SIGNER)
    file = next(file for file in edition.record.files if file.path.startswith("preprocess"))
    prod.put(blob_key(file.digest), b"# something else\n")

    with pytest.raises(Corrupt, match=r"'preprocess--1/1/model\.py' of deployment"):
        fetch_file(store(weed, "prod", weed.keys.prod_read), file, of="deployment")


def test_promoters_that_race_on_one_pointer_lose_no_edition(weed: Seaweed, team: str) -> None:
    dev = store(weed, "dev", weed.keys.dev)
    digests = [write_model(dev, number, team=team)[0] for number in range(6)]

    def one(digest: str) -> None:
        promote("model", digest, dev=dev, prod=store(weed, "prod", weed.keys.prod_write), signer=SIGNER)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, digests))

    pointer = current(store(weed, "prod", weed.keys.prod_read), "model", team, "eta")
    assert pointer is not None
    assert pointer.sequence == 6
    assert {pointer.manifest, *pointer.previous} == set(digests)


def test_rollback_twice_goes_two_back_on_a_real_store(weed: Seaweed, team: str) -> None:
    dev, prod = store(weed, "dev", weed.keys.dev), store(weed, "prod", weed.keys.prod_write)
    digests = [write_deployment(dev, number, team=team).digest for number in (1, 2, 3)]
    for digest in digests:
        promote("deployment", digest, dev=dev, prod=prod, signer=SIGNER)

    rollback("deployment", team, "eta", prod=prod)
    pointer = rollback("deployment", team, "eta", prod=prod)

    assert (pointer.manifest, pointer.abandoned) == (digests[0], (digests[1], digests[2]))


# --- the promoter as a process ------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, weed: Seaweed) -> Path:
    """A stack's home with the promoter's secrets."""
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    pair = {"access_key": weed.keys.prod_write.access_key, "secret_key": weed.keys.prod_write.secret_key}
    (secrets / "prod_write.json").write_text(json.dumps(pair))
    (secrets / "prod_write.json").chmod(0o600)
    write_key(secrets / "signing_key.json", SIGNER)
    return tmp_path


def start_promoter(weed: Seaweed, home: Path, *, public_key: str = SIGNER.public_hex) -> subprocess.Popen[bytes]:
    settings = Settings(home=home, s3_endpoint=weed.endpoint, signing_public_key=public_key)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIFFIN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tiffin.registry.promoter", "--home", str(home)],
        env={**environment, **settings.to_environment()},
        stderr=(home / "promoter.log").open("wb"),
    )


def test_a_step_asks_the_promoters_process_and_gets_its_pointer_or_its_error(weed: Seaweed, home: Path, team: str) -> None:
    dev, reader = store(weed, "dev", weed.keys.dev), store(weed, "prod", weed.keys.prod_read)
    edition = write_deployment(dev, team=team)
    generation, _ = write_generation(dev)
    failed, _ = write_model(dev, 9, team=team, gates=({"gate": "mae < 15", "passed": False, "evidence": {"mae": 17.25}},))
    process = start_promoter(weed, home)
    try:
        pointer = request_promotion(dev, reader, "deployment", edition.digest, run_id="run-1")
        assert fetch_current(reader, VERIFIER, "deployment", team, "eta")[0] == pointer.manifest == edition.digest
        assert request_promotion(dev, reader, "generation", generation).manifest == generation
        with pytest.raises(Denied, match=r"mae < 15.*17\.25"):
            request_promotion(dev, reader, "model", failed)
        with pytest.raises(NotFound, match="ab" * 32):
            request_promotion(dev, reader, "model", "ab" * 32)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)

    log = (home / "promoter.log").read_text()
    assert status == 0, log
    assert weed.keys.prod_write.secret_key not in log
    assert SIGNER.private_hex.get_secret_value() not in log


def test_requests_that_waited_for_the_promoter_are_answered_when_it_starts(weed: Seaweed, home: Path, team: str) -> None:
    dev, reader = store(weed, "dev", weed.keys.dev), store(weed, "prod", weed.keys.prod_read)
    edition = write_deployment(dev, team=team)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(request_promotion, dev, reader, "deployment", edition.digest)
        while not list(dev.list("promotions/requests/")):
            threading.Event().wait(0.05)
        process = start_promoter(weed, home)
        try:
            assert asked.result(timeout=120).manifest == edition.digest
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_a_promoter_with_the_wrong_signing_key_does_not_start_and_says_why(weed: Seaweed, home: Path) -> None:
    process = start_promoter(weed, home, public_key=generate_key().public_hex)

    assert process.wait(timeout=60) == 2
    assert "TIFFIN_SIGNING_PUBLIC_KEY" in (home / "promoter.log").read_text()


def test_a_promoter_with_a_key_that_may_not_write_answers_nothing_and_does_not_die(weed: Seaweed, team: str) -> None:
    dev, reader = store(weed, "dev", weed.keys.dev), store(weed, "prod", weed.keys.prod_read)
    digest, _ = write_model(dev, team=team)
    stop = threading.Event()
    thread = threading.Thread(target=serve_requests, args=(dev, reader, SIGNER), kwargs={"stop": stop, "poll_s": 0.05}, daemon=True)
    thread.start()
    try:
        with pytest.raises(NotReady, match="no verdict"):
            request_promotion(dev, reader, "model", digest, timeout_s=2)
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(timeout=60)
    assert current(reader, "model", team, "eta") is None


def test_a_step_that_writes_the_pointer_itself_is_denied(weed: Seaweed, team: str) -> None:
    for keys in (weed.keys.dev, weed.keys.prod_read):
        with pytest.raises(Denied):
            store(weed, "prod", keys).put(pointer_key("deployment", team, "eta"), b"{}")


def test_a_manifest_signed_by_a_step_with_a_key_of_its_own_is_refused(weed: Seaweed, team: str) -> None:
    """Even with the prod-write key in hand, an edition that another key signed does not verify."""
    dev, prod = store(weed, "dev", weed.keys.dev), store(weed, "prod", weed.keys.prod_write)
    edition = write_deployment(dev, team=team)
    promote("deployment", edition.digest, dev=dev, prod=prod, signer=Signer("22" * 32))

    with pytest.raises(Corrupt, match="signature"):
        fetch_current(prod, VERIFIER, "deployment", team, "eta")
