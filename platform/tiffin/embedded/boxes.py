"""Deployed artifacts of a running stack, opened by a person: in a box, or to be taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tiffin.core.clock import wall_clock
from tiffin.core.errors import NotFound, NotReady
from tiffin.core.settings import Settings
from tiffin.core.units import from_us, to_us
from tiffin.embedded.operate import prod_reader
from tiffin.embedded.stack import load
from tiffin.embedded.view_reports import dev_tables
from tiffin.manifests.records import DeploymentRecord, ModelRecord
from tiffin.manifests.signing import Verifier
from tiffin.online.fast_source import open_source
from tiffin.online.reader import FeatureReader
from tiffin.registry.promoted import deployed_team
from tiffin.registry.verified import fetch_current, fetch_file, fetch_record
from tiffin.serving.box import Box, ReadRows, open_box
from tiffin.serving.box_rows import OfflineRows
from tiffin.serving.explain import Explained, explain_live
from tiffin.serving.repository_files import online_view
from tiffin.serving.triton import Triton
from tiffin.storage.objects import ObjectStore

__all__ = ["Deployed", "OpenedBox", "explain_endpoint", "find_deployed", "open_deployed_box"]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A promoted deployment and its model: every byte checked against a signed record."""

    manifest: str
    record: DeploymentRecord
    model: ModelRecord
    files: dict[str, bytes]
    prod: ObjectStore


@dataclass(frozen=True, slots=True)
class OpenedBox:
    """A box, and in words where its features come from."""

    box: Box
    deployed: Deployed
    source: str


def find_deployed(settings: Settings, name: str, *, team: str | None = None, manifest: str | None = None) -> Deployed:
    """What is promoted under a deployment's name, or an exact edition of it.

    Raises:
        NotFound: no such deployment or manifest; with the nearest name. Invalid: several teams have it. Corrupt: a byte was changed.
    """
    prod, verifier = prod_reader(settings), Verifier(settings.need("signing_public_key"))
    team = team or deployed_team(prod, name)
    if manifest is None:
        manifest, record = fetch_current(prod, verifier, "deployment", team, name)
    else:
        record = fetch_record(prod, verifier, "deployment", manifest, name=f"deployment '{team}/{name}'")
        if (record.team, record.name) != (team, name):
            fix = "give a manifest of this deployment; `tiffin status` shows the one that is live"
            raise NotFound(f"manifest {manifest} is of deployment '{record.team}/{record.name}', not of '{team}/{name}'", fix=fix)
    model = fetch_record(prod, verifier, "model", record.model, name=f"model '{record.team}/{record.model_name}'")
    files = {file.path: fetch_file(prod, file, of=f"model '{model.team}/{model.name}'") for file in model.files}
    return Deployed(manifest, record, model, files, prod)


def open_deployed_box(
    home: Path, name: str, *, team: str | None, manifest: str | None, as_of: datetime | None, live: bool, folder: Path
) -> OpenedBox:
    """The exact artifact of a deployment in this process.

    Args:
        as_of: with offline features, the instant; None is the stack's now.
        live: features from the running online store, instead of from the offline tables.
        folder: for the artifact's files; kept as long as the box.

    Raises:
        NotReady: the stack does not run. Otherwise see `find_deployed`, `open_box`.
    """
    stack = load(home)
    if "seaweed" not in stack.running():
        raise NotReady(f"the stack in {stack.home} does not run, so the artifact cannot be fetched", fix="tiffin up")
    settings = stack.settings()
    deployed = find_deployed(settings, name, team=team, manifest=manifest)
    now = settings.clock if settings.replay_instant is not None else wall_clock
    read: ReadRows
    if live:
        views = [online_view(view) for view in deployed.record.views]
        read = FeatureReader(open_source(settings.need("online_url")), views, now_us=lambda: to_us(now())).read
        source = "the running online store"
    else:
        instant = as_of or now()
        rows = OfflineRows(deployed.record.views, tables=dev_tables(settings), as_of=instant)
        read = rows.read
        versions = ", ".join(f"{ref} version {version}" for ref, version in rows.versions.items())
        source = f"the offline tables as of {from_us(to_us(instant)).isoformat()}: {versions}"
    of = f"deployment '{deployed.record.team}/{deployed.record.name}'"
    box = open_box(deployed.record, lambda file: fetch_file(deployed.prod, file, of=of), read, folder=folder)
    return OpenedBox(box, deployed, source)


def explain_endpoint(settings: Settings, name: str, rows: Mapping[str, Any], *, timeout_s: float) -> Explained:
    """A live endpoint's answer, taken apart; see `explain_live`."""
    deployed = find_deployed(settings, name)
    triton = Triton(settings.need("triton_grpc"), timeout_s=timeout_s)
    try:
        return explain_live(triton, rows, record=deployed.record, model=deployed.model, files=deployed.files)
    finally:
        triton.close()
