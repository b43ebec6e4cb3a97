"""Which teams have something promoted under a name: by the pointers, one listing."""

from __future__ import annotations

from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.storage.layout import RecordKind
from tiffin.storage.objects import ObjectStore

__all__ = ["deployed_team", "pointed"]


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
