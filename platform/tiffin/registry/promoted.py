"""What is promoted: which teams have something under a name, and which version of a model is live."""

from __future__ import annotations

from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.manifests.records import ModelRecord
from tiffin.manifests.signing import Verifier
from tiffin.registry.pointers import current
from tiffin.registry.verified import fetch_current, fetch_record
from tiffin.storage.layout import RecordKind
from tiffin.storage.objects import ObjectStore

__all__ = ["deployed_team", "live_model", "pointed"]


def pointed(store: ObjectStore, kind: RecordKind) -> list[tuple[str, str]]:
    """`(team, name)` of every pointer of a kind, sorted."""
    prefix = f"pointers/{kind}/"
    found = [key.removeprefix(prefix).removesuffix(".json").partition("/") for key in store.list(prefix)]
    return sorted((team, name) for team, _, name in found)


def deployed_team(store: ObjectStore, name: str, *, kind: RecordKind = "deployment", where: str = "the prod bucket") -> str:
    """The one team that has a deployment (or another kind of record) of this name.

    Raises:
        NotFound: no team has it; with the nearest name. Invalid: several do, so that it must be said which.
    """
    known = pointed(store, kind)
    teams = [team for team, one in known if one == name]
    if not teams:
        raise NotFound(f"there is no {kind} {name!r} in {where}", fix=nearest(name, {one for _, one in known}))
    if len(teams) > 1:
        raise Invalid(f"teams {', '.join(teams)} all have a {kind} {name!r}", fix=f"add --team {teams[0]}")
    return teams[0]


def live_model(prod: ObjectStore, verifier: Verifier, team: str, name: str) -> tuple[str, ModelRecord] | None:
    """The version of a model that is live: the one that the team's promoted deployment names.

    A model has no pointer of its own in prod: it is live by being served. Of several deployments that serve
    it, the one that was promoted last counts.

    Returns:
        The digest and the record; None when no deployment of it is promoted.

    Raises:
        Corrupt: a promoted record of the team was changed.
    """
    served: list[tuple[int, int, str]] = []
    for owner, deployment in pointed(prod, "deployment"):
        if owner != team:
            continue
        _, record = fetch_current(prod, verifier, "deployment", owner, deployment)
        pointer = current(prod, "deployment", owner, deployment)
        if record.model_name == name and pointer is not None:
            served.append((pointer.moved_at_us or 0, pointer.sequence, record.model))
    if not served:
        return None
    digest = max(served)[2]
    return digest, fetch_record(prod, verifier, "model", digest, name=f"model '{team}/{name}'")
