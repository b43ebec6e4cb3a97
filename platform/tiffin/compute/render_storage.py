"""A team's rights in the two buckets, as S3 policies: its own tables in dev, nothing but reading in prod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from tiffin.compute.allotment import Allotment
from tiffin.compute.platform_file import PlatformFile
from tiffin.storage.layout import RecordKind, pointer_key, table_path

__all__ = ["Environment", "bucket_policy", "readable", "writable"]

Environment = Literal["dev", "prod"]
SHARED = ("blobs/", "manifests/")
"""Content-addressed: a key is its content's digest, so a second writer writes the same bytes."""
PER_RUN = ("checkpoints/", "fences/", "logs/")
"""Named by a run's id, which nobody guesses; a fence is raised by conditional writes alone."""
READ_OBJECT = ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging")
READ_BUCKET = ("s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketVersions")
WRITE_OBJECT = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
DELETE_OBJECT = ("s3:DeleteObject",)


def tables_of(team: str) -> str:
    """The prefix of a team's tables."""
    return table_path(f"{team}/x").removesuffix("x")


def pointers_of(team: str) -> list[str]:
    """The prefixes of a team's pointers, spelled out: a `*` of a policy would also match a slash."""
    return [pointer_key(kind, team, "x").removesuffix("x.json") for kind in get_args(RecordKind)]


def writable(one: Allotment) -> list[str]:
    """Prefixes of the dev bucket that are the team's own."""
    own = [tables_of(one.team), *(f"{table_path(table)}/" for table in one.lands)]
    return [*own, *pointers_of(one.team)]


def readable(one: Allotment) -> list[str]:
    """Prefixes of the dev bucket that it reads besides: of the teams that its file names."""
    found = [prefix for team in one.reads for prefix in (tables_of(team), *(pointers_of(team) if team != "raw" else ()))]
    return [*SHARED, *PER_RUN, "promotions/", *found]


def bucket_policy(one: Allotment, environment: Environment, platform: PlatformFile) -> dict[str, Any]:
    """The policy of a team's key for one bucket."""
    bucket = platform.buckets.dev if environment == "dev" else platform.buckets.prod
    if environment == "prod":
        # promotion is the only writer of prod and runs as somebody else: also a wider policy beside this one gives no write
        return policy(
            statement("Read", READ_OBJECT, [f"{bucket}/*"]),
            statement("List", READ_BUCKET, [bucket]),
            {
                "Sid": "NeverWrite",
                "Effect": "Deny",
                "NotAction": [*READ_OBJECT, *READ_BUCKET],
                "Resource": [arn(bucket), arn(f"{bucket}/*")],
            },
        )
    own, shared = writable(one), readable(one)
    return policy(
        statement("ReadAndWriteOwn", (*READ_OBJECT, *WRITE_OBJECT, *DELETE_OBJECT), [f"{bucket}/{prefix}*" for prefix in own]),
        # no deletion here: another team's manifest may name the same blob
        statement("Add", WRITE_OBJECT, [f"{bucket}/{prefix}*" for prefix in (*SHARED, *PER_RUN, "promotions/requests/")]),
        statement("ReadOthers", READ_OBJECT, [f"{bucket}/{prefix}*" for prefix in shared]),
        {
            **statement("List", ("s3:ListBucket",), [bucket]),
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in (*own, *shared)]}},
        },
        statement("Locate", ("s3:GetBucketLocation",), [bucket]),
    )


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(name: str, actions: Sequence[str], places: Sequence[str]) -> dict[str, Any]:
    """One permission."""
    return {"Sid": name, "Effect": "Allow", "Action": list(actions), "Resource": [arn(place) for place in places]}


def arn(place: str) -> str:
    """A bucket, or keys of one."""
    return f"arn:aws:s3:::{place}"
