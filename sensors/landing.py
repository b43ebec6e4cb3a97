"""Raw files that land in the object store start their source's asset, by dagster-aws.

A team adds one to its location: `team_definitions(team, *specs, sensors=[landing_sensor(team, flights, prefix="landing/flights/")])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource
from dagster_aws.s3.sensor import get_objects

from tiffin.compute import Team
from tiffin.core.settings import Settings
from tiffin.features import Source
from tiffin.orchestration.sensors_files import LandedFile
from tiffin.orchestration.sensors_landing import files_sensor

__all__ = ["landing_sensor", "list_landed"]


def landing_sensor(team: Team, source: Source, *, prefix: str, bucket: str | None = None, **options: Any) -> dg.SensorDefinition:
    """Land `source` again, in one run per burst, when files arrive under `prefix`.

    Args:
        bucket: the dev bucket when left out. The stack's dev key must be able to list it.
        options: see `tiffin.orchestration.sensors_landing.files_sensor`.
    """
    name = f"land_{source.name.replace('/', '_')}"
    where = f"{bucket or 'the dev bucket'}, {prefix!r}"
    return files_sensor(
        team, source, lambda: list_landed(Settings.from_environment(), prefix, bucket=bucket), name=name, where=where, **options
    )


def list_landed(settings: Settings, prefix: str, *, bucket: str | None = None) -> Sequence[LandedFile]:
    """Every file under a prefix; an empty one that only marks a folder is none.

    The client is made for each tick: a resource that is bound to a location would show its keys in the UI.
    """
    client = S3Resource(
        endpoint_url=settings.need("s3_endpoint"),
        region_name=settings.s3_region,
        aws_access_key_id=settings.need("dev_access_key"),
        aws_secret_access_key=settings.need("dev_secret_key"),
    ).get_client()
    listed = get_objects(bucket or settings.dev_bucket, prefix, client=client)
    return [
        LandedFile(str(one["Key"]), str(one["ETag"]).strip('"'), one["LastModified"].timestamp())
        for one in listed
        if not str(one["Key"]).endswith("/")
    ]
