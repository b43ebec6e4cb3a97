"""What a person does to a running stack: promote, roll back, wait until it serves, look around.

Promotion and rollback run under the promoter's identity out of `home`/secrets: whoever may read that
folder may do it, and a step may not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tiffin.core.errors import Invalid, NotFound, NotReady
from tiffin.core.settings import Settings
from tiffin.embedded.identities import secrets_folder
from tiffin.embedded.probes import agent_status, why_not_live
from tiffin.embedded.stack import Stack, load
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Signer
from tiffin.registry.identity import identity
from tiffin.registry.pointers import current
from tiffin.registry.promote import Promotion, promote, rollback
from tiffin.registry.promoted import deployed_team
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

__all__ = ["Operator", "open_stack", "prod_reader"]


def prod_reader(settings: Settings) -> S3Store:
    """The prod bucket, read only."""
    access, secret = settings.need("prod_read_access_key"), settings.need("prod_read_secret_key")
    return S3Store(settings.prod_bucket, settings.need("s3_endpoint"), access, secret, settings.s3_region)


@dataclass(frozen=True, slots=True)
class Operator:
    """A running stack under the promoter's identity."""

    stack: Stack
    settings: Settings
    dev: ObjectStore
    prod: ObjectStore
    signer: Signer

    def team_of(self, name: str, *, newest: Literal["dev", "prod"]) -> str:
        """The one team that has a deployment of this name.

        Raises:
            NotFound: no team has it. Invalid: several do, so that it must be said which.
        """
        return deployed_team(self.dev if newest == "dev" else self.prod, name, where=f"the {newest} bucket")

    def promote(self, team: str, name: str, manifest: str | None, *, progress: Callable[[int, int], None]) -> Promotion:
        """Bring a manifest to prod; by default the one that the dev pointer names.

        Raises:
            NotFound: nothing was published in dev. Invalid: the manifest is another deployment's.
        """
        if manifest is None:
            pointer = current(self.dev, "deployment", team, name)
            if pointer is None:
                raise NotFound(f"deployment '{team}/{name}' was never published to the dev bucket", fix="materialise its asset first")
            manifest = pointer.manifest
        done = promote("deployment", manifest, dev=self.dev, prod=self.prod, signer=self.signer, progress=progress)
        if (done.team, done.name) != (team, name):
            fix = f"that one is promoted now; give the digest of a manifest of '{team}/{name}'"
            raise Invalid(f"manifest {manifest} is of deployment '{done.team}/{done.name}', not of '{team}/{name}'", fix=fix)
        return done

    def rollback(self, team: str, name: str, *, steps: int) -> Pointer:
        """Move the prod pointer back."""
        return rollback("deployment", team, name, prod=self.prod, steps=steps)

    def wait_live(self, team: str, name: str, manifest: str, *, timeout_s: float) -> None:
        """Wait until the agent answers for `team/name` from `manifest`.

        Raises:
            NotReady: it does not in time; the agent's own reason is in the message. Denied: it will not.
        """
        part = self.stack.running().get("agent")
        if part is None:
            raise NotReady("the serving agent does not run: the pointer has moved, but nothing serves it", fix="tiffin up")
        end = time.monotonic() + timeout_s
        while True:
            why = why_not_live(agent_answer(part.ports["http"]), f"{team}/{name}", manifest)
            if why is None:
                return
            if time.monotonic() > end:
                raise NotReady(
                    f"deployment '{team}/{name}' does not serve {manifest[:12]} after {timeout_s:g} s: {why}",
                    fix=f"read {self.stack.home / 'logs' / 'agent.log'}; `tiffin rollback {name}` goes back to the one before",
                )
            time.sleep(0.1)


def agent_answer(port: int) -> dict[str, Any]:
    """The agent's status, empty while it does not answer."""
    try:
        return agent_status(port)[1]
    except OSError:
        return {}


def open_stack(home: Path) -> Operator:
    """The stack of a home, ready to be operated.

    Raises:
        NotFound: no stack there. NotReady: its object store does not run.
    """
    stack = load(home)
    if "seaweed" not in stack.running():
        raise NotReady(f"the stack in {stack.home} does not run", fix="tiffin up")
    settings = stack.settings()
    dev, prod, signer = identity(settings, secrets_folder(stack.home))
    return Operator(stack, settings, dev, prod, signer)
