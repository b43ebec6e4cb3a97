"""The models of a running stack: their versions in dev, and which one is live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiffin.core.errors import NotReady
from tiffin.core.settings import Settings
from tiffin.embedded.operate import prod_reader
from tiffin.embedded.stack import load
from tiffin.manifests.signing import Verifier
from tiffin.registry.model_history import Version, model_versions, passed
from tiffin.registry.promoted import deployed_team, live_model, pointed
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

__all__ = ["ModelsOf", "dev_store", "model_of", "models_of"]


@dataclass(frozen=True, slots=True)
class ModelsOf:
    """One model.

    Args:
        ref: `"team/name"`.
        versions: in dev, newest first; at least one.
        live: digest of the version that is promoted.
    """

    ref: str
    versions: tuple[Version, ...]
    live: str | None

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "model": self.ref,
            "live": self.live,
            "versions": [
                {"digest": one.digest, "trouble": one.trouble}
                if one.record is None
                else {"digest": one.digest, "metrics": one.record.metrics, "passed": passed(one.record), "run_id": one.record.run_id}
                for one in self.versions
            ],
        }


def dev_store(settings: Settings) -> S3Store:
    """The dev bucket of a running stack."""
    access, secret = settings.need("dev_access_key"), settings.need("dev_secret_key")
    return S3Store(settings.dev_bucket, settings.need("s3_endpoint"), access, secret, settings.s3_region)


def buckets(home: Path) -> tuple[ObjectStore, ObjectStore, Verifier]:
    """Dev, prod, and what prod's signatures verify against. Raises NotFound: no stack there. NotReady: its object store does not run."""
    stack = load(home)
    if "seaweed" not in stack.running():
        raise NotReady(f"the stack in {stack.home} does not run", fix="tiffin up")
    settings = stack.settings()
    return dev_store(settings), prod_reader(settings), Verifier(settings.need("signing_public_key"))


def models_of(home: Path) -> list[ModelsOf]:
    """Every model that was ever trained in this stack, by reference."""
    dev, prod, verifier = buckets(home)
    return [versions_of(dev, prod, verifier, team, name) for team, name in pointed(dev, "model")]


def model_of(home: Path, name: str, *, team: str | None = None) -> ModelsOf:
    """One model by name.

    Raises:
        NotFound: no such model; with the nearest name. Invalid: several teams have it.
    """
    dev, prod, verifier = buckets(home)
    return versions_of(dev, prod, verifier, team or deployed_team(dev, name, kind="model", where="the dev bucket"), name)


def versions_of(dev: ObjectStore, prod: ObjectStore, verifier: Verifier, team: str, name: str) -> ModelsOf:
    """Versions in dev; what is live in prod."""
    live = live_model(prod, verifier, team, name)
    return ModelsOf(f"{team}/{name}", tuple(model_versions(dev, team, name)), None if live is None else live[0])
