"""From a manifest's digest to an endpoint that answers: fetch, verify, load, ask, then give the public name."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from tiffin.core.errors import Conflict, PlatformError
from tiffin.manifests.signing import Verifier
from tiffin.registry.references import home_of, title
from tiffin.registry.verified import fetch_file, fetch_record
from tiffin.serving.golden import Golden
from tiffin.serving.health import Edition, Probe
from tiffin.serving.repository import RepositoryFolder, edition_names
from tiffin.serving.triton import Triton
from tiffin.storage.objects import ObjectStore

__all__ = ["Loader"]

logger = logging.getLogger(__name__)


class Loader:
    """Decides nothing: brings one edition up, gives it its name, or clears away what is not needed."""

    def __init__(self, store: ObjectStore, verifier: Verifier, triton: Triton, repository: RepositoryFolder, probe: Probe) -> None:
        self.store = store
        self.verifier = verifier
        self.triton = triton
        self.repository = repository
        self.probe = probe

    def fetch(self, team: str, name: str, digest: str) -> Edition:
        """Every byte of an edition, verified, then in the repository.

        Raises:
            Corrupt: manifest, signature or a file is not what it should be; says which.
        """
        of = title("deployment", team, name)
        record = fetch_record(self.store, self.verifier, "deployment", digest, name=of)
        if home_of(record) != (team, name):
            raise Conflict(f"the pointer of {of} names the manifest of '{record.team}/{record.name}'", fix="promote it again")
        files = {file.path: fetch_file(self.store, file, of=of) for file in record.files}
        golden = Golden.from_bytes(fetch_file(self.store, record.golden, of=of), name=f"file {record.golden.path!r} of {of}")
        self.repository.write(record, files)
        return Edition(digest, record, golden)

    def start(self, edition: Edition) -> None:
        """Load the steps and both ensembles; the golden rows must be answered bit for bit.

        What is loaded already stays as it is: nothing of this is seen under the public name.
        """
        record = edition.record
        for model in (*record.steps, record.golden_ensemble, record.ensemble):
            self.triton.load(model)
        self.probe.ask_golden(edition)

    def publish(self, edition: Edition, *, instead_of: Edition | None) -> None:
        """Make the public name mean this edition, for every request from one instant on.

        When it does not answer under that name, the one before it gets the name back.
        """
        name = edition.record.name
        try:
            self.repository.give_name(edition.record)
            self.triton.load(name)
            self.probe.ask_whole(edition, name)
        except PlatformError:
            if instead_of is not None:
                self.repository.give_name(instead_of.record)
                self.triton.load(name)
            raise

    def reload_steps(self, prefix: str) -> None:
        """Make running steps read their surroundings anew."""
        for model, ready in self.triton.index().items():
            if ready and model.startswith(prefix) and model in self.repository.names():
                self.probe.heal(model)

    def tidy(self, editions: Iterable[Edition]) -> None:
        """Unload and delete everything that none of these editions needs."""
        needed: set[str] = set()
        for edition in editions:
            needed |= edition_names(edition.record) | {edition.record.name}
        ready = [model for model, is_ready in self.triton.index().items() if is_ready and model not in needed]
        # ensembles first: a step is let go when nobody names it any more
        for model in sorted(ready, key=self.repository.is_step):
            self.triton.unload(model)
            logger.info("unloaded", extra={"model": model})
        self.repository.remove(self.repository.names() - needed)
