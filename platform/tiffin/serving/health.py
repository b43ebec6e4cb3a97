"""Whether an edition really answers, and what to do about a step that died.

Triton goes on calling a model ready when its Python process is dead, so only an inference counts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tiffin.core.errors import NotReady, PlatformError
from tiffin.manifests.records import DeploymentRecord
from tiffin.serving.golden import Golden
from tiffin.serving.repository import RepositoryFolder
from tiffin.serving.triton import Triton

__all__ = ["Edition", "Probe", "dead_step"]

logger = logging.getLogger(__name__)

DEAD = re.compile(r"[Ss]tub process '([a-z0-9_]+--[0-9a-f]+)_\d+_\d+' is not healthy")


@dataclass(frozen=True, slots=True)
class Edition:
    """A verified deployment whose files lie in the repository."""

    digest: str
    record: DeploymentRecord
    golden: Golden

    @property
    def title(self) -> str:
        """What errors call it."""
        return f"deployment '{self.record.team}/{self.record.name}'"


def dead_step(err: PlatformError) -> str | None:
    """The step whose process is dead, when this is what an inference complained of.

    Example:
        >>> dead_step(NotReady("Stub process 'model--00ff_0_0' is not healthy.", fix=""))
        'model--00ff'
    """
    found = DEAD.search(err.message)
    return found[1] if found else None


class Probe:
    """Asks editions, and reloads a step that died, without restarting the server."""

    def __init__(self, triton: Triton, repository: RepositoryFolder, *, healed: Callable[[str], None] = lambda step: None) -> None:
        self.triton = triton
        self.repository = repository
        self.healed = healed

    def ask_golden(self, edition: Edition) -> None:
        """The golden rows must come back bit for bit.

        Raises:
            Corrupt: they do not. NotReady and others: no answer.
        """
        record = edition.record
        answers = self.healing(edition, lambda: self.triton.infer(record.golden_ensemble, edition.golden.inputs))
        edition.golden.check(answers, of=edition.title)

    def ask_whole(self, edition: Edition, name: str) -> None:
        """One request with ids only, through the features step, under the public or the hashed name."""
        answers = self.healing(edition, lambda: self.triton.infer(name, edition.golden.first(1)))
        for output in edition.record.outputs:
            if output not in answers:
                raise NotReady(f"{edition.title} answers without its output {output!r}", fix="materialise the deployment again")

    def healing(self, edition: Edition, ask: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Ask; when a step of this edition is dead, start it again and ask again, at most once per step."""
        for _ in edition.record.steps:
            try:
                return ask()
            except PlatformError as err:
                step = dead_step(err)
                if step not in edition.record.steps:
                    raise
                self.heal(step)
        return ask()

    def heal(self, step: str) -> None:
        """Load a step anew. Triton keeps the others, and the server runs on."""
        logger.warning("a step died, loading it again", extra={"step": step})
        self.repository.touch(step)
        self.triton.load(step)
        self.healed(step)
