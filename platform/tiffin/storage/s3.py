"""A bucket as an object store: the one door to boto3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from tiffin.core.errors import Conflict, Denied, Invalid, NotFound, NotReady, PlatformError
from tiffin.storage.objects import Stored

__all__ = ["S3Store"]

DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "ExpiredToken", "InvalidToken"}
LOST = {"PreconditionFailed", "ConditionalRequestConflict", "OperationAborted"}
BUSY = {"SlowDown", "RequestTimeout", "Throttling", "RequestLimitExceeded"}


class S3Store:
    """One bucket of an S3 service under one access key; S3, SeaweedFS, Ceph, MinIO.

    The client is thread-safe and is shared. A conditional write whose answer was lost is repeated
    by the client and may then meet its own bytes: the store compares them before it reports a
    conflict, so that a winner never believes that it lost.

    Args:
        endpoint: `http(s)://host:port`; None is AWS itself.
        connections: sockets kept open; more threads than this wait.
    """

    def __init__(
        self,
        bucket: str,
        endpoint: str | None,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        *,
        connections: int = 32,
        attempts: int = 4,
        timeout_s: float = 30.0,
    ) -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        self.access_key = access_key
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            # SeaweedFS and older services do not know the newer checksum headers
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": attempts, "mode": "standard"},
            connect_timeout=5,
            read_timeout=timeout_s,
            max_pool_connections=connections,
        )
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=region,
            config=config,
        )

    def __repr__(self) -> str:
        return f"S3Store(bucket={self.bucket!r}, endpoint={self.endpoint!r}, access_key={self.access_key!r})"

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write; see `ObjectStore.put`. An etag is what the service gave, without its quotes."""
        if if_absent and if_match is not None:
            raise Invalid(f"writing {key!r}: if_absent and if_match exclude each other", fix="give one of the two")
        condition = {"IfNoneMatch": "*"} if if_absent else {} if if_match is None else {"IfMatch": f'"{if_match}"'}
        try:
            with self.translated("writing", key):
                found = self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **condition)
        except NotFound as err:
            if if_match is None or err.context["code"] == "NoSuchBucket":
                raise
            # a service may answer 404 to If-Match on a key that is gone
            raise self.conflict(key) from err
        except Conflict as err:
            retried = err.context.get("retried") and self.holds(key, data)
            if not retried:
                raise
            return self.get(key).etag
        return str(found["ETag"]).strip('"')

    def get(self, key: str) -> Stored:
        """Read a whole object. Raises NotFound."""
        with self.translated("reading", key):
            found = self.client.get_object(Bucket=self.bucket, Key=key)
            return Stored(found["Body"].read(), str(found["ETag"]).strip('"'))

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under `prefix`, sorted."""
        with self.translated("listing", prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            # services that keep keys in folders (SeaweedFS) list 'a/b' before 'a.b'
            keys = sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))
        yield from keys

    def delete(self, key: str) -> None:
        """Remove a key; a missing key is no error."""
        with self.translated("deleting", key):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def holds(self, key: str, data: bytes) -> bool:
        """Whether the key's content is `data`."""
        try:
            return self.get(key).data == data
        except NotFound:
            return False

    def conflict(self, key: str, *, retried: bool = False) -> Conflict:
        """The conditional write lost."""
        return Conflict(
            f"object {key!r} in bucket {self.bucket!r} was written by somebody else first",
            fix="read it again and repeat the change",
            context={"bucket": self.bucket, "key": key, "retried": retried},
        )

    @contextmanager
    def translated(self, doing: str, key: str) -> Iterator[None]:
        """boto3's errors as decisions; messages never hold the secret key."""
        try:
            yield
        except ClientError as err:
            raise self.decision(doing, key, err) from err
        except NoCredentialsError as err:
            raise Denied(f"{doing} {key!r} in bucket {self.bucket!r}: no credentials", fix="set the access key and secret key") from err
        except ParamValidationError as err:
            raise Invalid(f"{doing} {key!r} in bucket {self.bucket!r}: {err}", fix="correct the key or the bucket name") from err
        except BotoCoreError as err:
            where = self.endpoint or "AWS S3"
            raise NotReady(
                f"{doing} {key!r} in bucket {self.bucket!r}: {where} does not answer ({type(err).__name__})",
                fix="check that it runs: `tiffin status`, `tiffin up`; then repeat",
                context={"bucket": self.bucket, "key": key, "endpoint": where},
            ) from err

    def decision(self, doing: str, key: str, err: ClientError) -> PlatformError:
        """The error class for what the service answered."""
        code = str(err.response.get("Error", {}).get("Code", ""))
        reply = err.response.get("ResponseMetadata", {})
        status = int(reply.get("HTTPStatusCode", 0))
        where = f"{doing} {key!r} in bucket {self.bucket!r}"
        context = {"bucket": self.bucket, "key": key, "access_key": self.access_key, "code": code, "status": status}
        if code == "NoSuchBucket":
            return NotFound(
                f"{where}: there is no such bucket", fix="create the bucket, or correct its name in the settings", context=context
            )
        if code in LOST or status in (409, 412):
            return self.conflict(key, retried=int(reply.get("RetryAttempts", 0)) > 0)
        if code in DENIED or status in (401, 403):
            wrong_secret = code == "SignatureDoesNotMatch"
            return Denied(
                f"{where}: access key {self.access_key!r} may not ({code or status})",
                fix="the secret key is not that of this access key: correct it"
                if wrong_secret
                else "use a key that may, or ask the owner of the bucket for the right",
                context=context,
            )
        if status == 404:
            return NotFound(f"{where}: there is no such object", fix="check the key, or publish it first", context=context)
        if code in BUSY or status >= 500:
            return NotReady(f"{where}: the service is busy ({code or status})", fix="repeat later", context=context)
        return Invalid(
            f"{where}: the service refused the request ({code or status})", fix="correct the key or the bucket name", context=context
        )
