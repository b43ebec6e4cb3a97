"""Memory of the online store as usage: the bytes of every promoted edition, shared by the models that read the view."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from tiffin.compute.usage_measured import online_usage
from tiffin.manifests.records import DeploymentRecord, GenerationRecord
from tiffin.manifests.signing import Verifier
from tiffin.manifests.usage import UsageRecord
from tiffin.registry.verified import fetch_current
from tiffin.storage.layout import RecordKind
from tiffin.storage.objects import ObjectStore

__all__ = ["edition_bytes", "measure_online"]


def measure_online(open_prod: Callable[[], tuple[ObjectStore, Verifier]]) -> Callable[[int, int], list[UsageRecord]]:
    """What `usage_sensor(measure=...)` asks at each tick.

    Counted are the rows as they are packed; a server's own overhead per key is not in it.

    Args:
        open_prod: the prod bucket, read only, and the key that its manifests verify against.

    Raises (the result):
        Corrupt, Denied: a manifest that is not what was promoted.
    """

    def measure(start_us: int, end_us: int) -> list[UsageRecord]:
        store, verifier = open_prod()
        readers: dict[str, set[str]] = defaultdict(set)
        for team, name in promoted(store, "deployment"):
            _, deployment = fetch_current(store, verifier, "deployment", team, name)
            for view in deployment.views:
                readers[f"{view.team}/{view.name}"].add(model_of(deployment))
        found: list[UsageRecord] = []
        for team, name in promoted(store, "generation"):
            _, edition = fetch_current(store, verifier, "generation", team, name)
            models = tuple(sorted(readers[f"{team}/{name}"]))
            found += online_usage(team=team, view=name, size_bytes=edition_bytes(edition), models=models, start_us=start_us, end_us=end_us)
        return found

    return measure


def promoted(store: ObjectStore, kind: RecordKind) -> list[tuple[str, str]]:
    """Team and name of everything of a kind that a pointer names."""
    prefix = f"pointers/{kind}/"
    parts = (key.removeprefix(prefix).removesuffix(".json").partition("/") for key in store.list(prefix))
    return [(team, name) for team, _, name in parts]


def model_of(deployment: DeploymentRecord) -> str:
    """As a bill calls it."""
    return f"{deployment.team}/{deployment.model_name}"


def edition_bytes(edition: GenerationRecord) -> int:
    """Base and deltas: a row that a delta replaced is counted twice until the next full publish."""
    return edition.base.size_bytes + sum(delta.size_bytes for delta in edition.deltas)
