"""A team's S3 policies, asked by an evaluator of their own: what is not allowed is denied, and a denial wins."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.team_files import ROOT, make_platform, make_team
from tiffin.cli.teams_files import load
from tiffin.compute.allotment import Allotment, allot, allot_all
from tiffin.compute.render_storage import bucket_policy
from tiffin.storage.layout import (
    RecordKind,
    blob_key,
    manifest_key,
    pointer_key,
    request_key,
    signature_key,
    table_path,
    verdict_key,
)

PLATFORM = make_platform(buckets={"dev": "house-dev", "prod": "house-prod"})
NETWORK = allot(make_team("network", reads=["raw"], lands=["raw/flights"]), PLATFORM)
DIGEST = "a" * 64
OPEN: dict[str, Any] = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
"""What a careless administrator might put beside ours."""


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def allowed(statements: list[dict[str, Any]], action: str, resource: str, *, prefix: str = "") -> bool:
    """As S3 decides: any denial, else any permission, else no."""
    verdicts = set()
    for one in statements:
        names = one.get("Action", one.get("NotAction"))
        about = any(matches(name, action) for name in names) == ("Action" in one)
        prefixes = one.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        here = any(matches(place, resource) for place in one["Resource"])
        if about and here and (prefixes is None or any(matches(pattern, prefix) for pattern in prefixes)):
            verdicts.add(one["Effect"])
    return "Allow" in verdicts and "Deny" not in verdicts


def may(one: Allotment, action: str, bucket: str, key: str = "", *, beside: list[dict[str, Any]] | None = None, prefix: str = "") -> bool:
    environment = "dev" if bucket == PLATFORM.buckets.dev else "prod"
    statements = [*bucket_policy(one, environment, PLATFORM)["Statement"], *(beside or [])]
    return allowed(statements, action, f"arn:aws:s3:::{bucket}{'/' if key else ''}{key}", prefix=prefix)


WRITES = ["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:AbortMultipartUpload", "s3:RestoreObject"]


@pytest.mark.parametrize("action", [*WRITES, "s3:PutBucketPolicy", "s3:DeleteBucket", "s3:PutLifecycleConfiguration"])
def test_prod_is_never_written_whatever_stands_beside_the_policy(action: str) -> None:
    keys = ["", blob_key(DIGEST), pointer_key("model", "network", "x"), table_path("network/x") + "/part.parquet"]

    assert not any(may(NETWORK, action, "house-prod", key, beside=[OPEN]) for key in keys)


def test_prod_is_read() -> None:
    assert may(NETWORK, "s3:GetObject", "house-prod", manifest_key("model", DIGEST))
    assert may(NETWORK, "s3:GetObject", "house-prod", verdict_key("ticket"))
    assert may(NETWORK, "s3:ListBucket", "house-prod")


@pytest.mark.parametrize(
    "key",
    [
        table_path("network/weather") + "/_delta_log/00000000000000000001.json",
        table_path("raw/flights") + "/part-0.parquet",
        *(pointer_key(kind, "network", "x") for kind in get_args(RecordKind)),
        blob_key(DIGEST),
        manifest_key("view", DIGEST),
        request_key("ticket"),
        "fences/run/step.json",
        "checkpoints/run/step/state",
        "logs/storage/run/compute_logs/step.err",
    ],
)
def test_a_team_writes_its_own_in_dev(key: str) -> None:
    assert may(NETWORK, "s3:PutObject", "house-dev", key)
    assert may(NETWORK, "s3:GetObject", "house-dev", key)


@pytest.mark.parametrize(
    "key",
    [
        table_path("fleet/planes") + "/part-0.parquet",
        table_path("raw/planes") + "/part-0.parquet",
        table_path("network_two/x") + "/part-0.parquet",
        *(pointer_key(kind, "fleet", "x") for kind in get_args(RecordKind)),
        verdict_key("ticket"),
        "audit/erasures/network/x/y.json",
        "anything",
    ],
)
def test_a_team_writes_nobody_elses_in_dev(key: str) -> None:
    assert not any(may(NETWORK, action, "house-dev", key) for action in WRITES)


@pytest.mark.parametrize("key", [blob_key(DIGEST), manifest_key("model", DIGEST), signature_key("model", DIGEST), "fences/run/step.json"])
def test_what_others_may_name_is_never_deleted(key: str) -> None:
    assert not may(NETWORK, "s3:DeleteObject", "house-dev", key)


def test_only_teams_that_are_named_are_read() -> None:
    eta = allot(make_team("eta", reads=["network"]), PLATFORM)
    part = "/part-0.parquet"

    assert may(eta, "s3:GetObject", "house-dev", table_path("network/weather") + part)
    assert not may(eta, "s3:GetObject", "house-dev", table_path("fleet/planes") + part)
    assert not may(eta, "s3:GetObject", "house-dev", table_path("raw/flights") + part)
    assert may(eta, "s3:ListBucket", "house-dev", prefix="tables/network/")
    assert not may(eta, "s3:ListBucket", "house-dev", prefix="tables/fleet/")
    assert not may(eta, "s3:ListBucket", "house-dev", prefix="")


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(_[a-z0-9]{1,4})?", fullmatch=True).filter(lambda name: name not in {"raw", "platform"})


@given(one=NAMES, other=NAMES, table=NAMES, kind=st.sampled_from(get_args(RecordKind)))
def test_no_name_of_a_team_opens_another_ones_keys(one: str, other: str, table: str, kind: RecordKind) -> None:
    allotment = allot(make_team(one), PLATFORM)
    keys = [table_path(f"{other}/{table}") + "/x", pointer_key(kind, other, table)]

    assert all(may(allotment, "s3:PutObject", "house-dev", key) == (one == other) for key in keys)


def test_the_example_teams_read_what_their_assets_stand_on_and_land_what_they_load() -> None:
    from assets.eta.team import specs as eta
    from assets.fleet.team import specs as fleet
    from assets.network.team import specs as network
    from tiffin.features import Source

    found = {one.team: one for one in allot_all(*load(ROOT / "deploy" / "platform.yaml", ROOT / "assets"))}

    for team, specs in {"eta": eta, "fleet": fleet, "network": network}.items():
        assert {spec.name for spec in specs if isinstance(spec, Source) and spec.load is not None} == set(found[team].lands)
    edges = json.loads((ROOT / "assets" / "catalog.json").read_text())["stands_on"]
    for team, one in found.items():
        needed = {below.partition("/")[0] for ref, stands_on in edges.items() for below in stands_on if ref.startswith(f"{team}/")}
        assert set(one.reads) == needed - {team}
