"""What an S3 service answers, as decisions; no network is met."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tiffin.core.errors import Conflict, Denied, Invalid, NotFound, NotReady, PlatformError
from tiffin.storage.s3 import S3Store


def store() -> S3Store:
    return S3Store("dev", "http://127.0.0.1:1", "key-id", "hidden", attempts=1)


def answer(status: int, code: str = "", *, retries: int = 0) -> ClientError:
    reply = {"Error": {"Code": code or str(status)}, "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": retries}}
    return ClientError(reply, "PutObject")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (412, "PreconditionFailed", Conflict),
        (409, "ConditionalRequestConflict", Conflict),
        (403, "AccessDenied", Denied),
        (403, "SignatureDoesNotMatch", Denied),
        (400, "InvalidToken", Denied),
        (401, "", Denied),
        (404, "NoSuchKey", NotFound),
        (404, "NoSuchBucket", NotFound),
        (404, "", NotFound),
        (503, "SlowDown", NotReady),
        (500, "InternalError", NotReady),
        (400, "RequestTimeout", NotReady),
        (400, "InvalidArgument", Invalid),
    ],
)
def test_each_answer_is_one_decision_that_names_bucket_and_key(status: int, code: str, kind: type[PlatformError]) -> None:
    found = store().decision("writing", "a/b", answer(status, code))

    assert type(found) is kind
    assert "'a/b'" in found.message
    assert "'dev'" in found.message
    assert "hidden" not in str(found) + repr(found.context)


class Service:
    """A client whose conditional write was repeated after its answer was lost."""

    def __init__(self, held: bytes) -> None:
        self.held = held

    def put_object(self, **asked: object) -> None:
        raise answer(412, "PreconditionFailed", retries=1)

    def get_object(self, **asked: object) -> dict[str, object]:
        return {"Body": self, "ETag": '"tag"'}

    def read(self) -> bytes:
        return self.held


def test_a_winner_whose_answer_was_lost_knows_that_it_won() -> None:
    winner = store()
    winner.client = Service(b"mine")

    assert winner.put("a", b"mine", if_absent=True) == "tag"


def test_a_loser_whose_write_was_repeated_knows_that_it_lost() -> None:
    loser = store()
    loser.client = Service(b"theirs")

    with pytest.raises(Conflict):
        loser.put("a", b"mine", if_absent=True)


def test_the_secret_is_in_nothing_that_prints() -> None:
    assert "hidden" not in repr(store())
