"""Rendered objects against a cluster: what differs, made so by server-side apply, and what nobody asks for any more.

The API server itself says what an object would become (a dry run), so its defaults and its webhooks' edits are never
taken for a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tiffin.compute.render_labels import INSTALLATION, MANAGED_BY, MANAGER, TEAM, selector_of
from tiffin.compute.render_team import Identity, identity
from tiffin.core.errors import Conflict, NotFound, PlatformError

__all__ = ["KINDS", "Change", "Door", "apply_changes", "compare", "differences"]

Object = Mapping[str, Any]
Action = Literal["create", "change", "delete", "keep"]
KINDS: tuple[tuple[str, str, bool], ...] = (
    ("apps/v1", "Deployment", True),
    ("v1", "Service", True),
    ("v1", "ConfigMap", True),
    ("kueue.x-k8s.io/v1beta2", "LocalQueue", True),
    ("kueue.x-k8s.io/v1beta2", "ClusterQueue", False),
    ("kueue.x-k8s.io/v1beta2", "Cohort", False),
    ("kueue.x-k8s.io/v1beta2", "ResourceFlavor", False),
    ("kueue.x-k8s.io/v1beta2", "WorkloadPriorityClass", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", False),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", True),
    ("rbac.authorization.k8s.io/v1", "Role", True),
    ("v1", "ServiceAccount", True),
    ("networking.k8s.io/v1", "NetworkPolicy", True),
    ("v1", "LimitRange", True),
    ("v1", "ResourceQuota", True),
    ("v1", "Namespace", False),
)
"""Every kind that is rendered and whether it lies in a namespace, in the order in which leftovers are deleted."""
VOLATILE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")


class Door(Protocol):
    """What this needs of a cluster (`tiffin.compute.kubernetes` has it)."""

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Object | None:
        """An object, or None."""
        ...

    def list(self, api_version: str, kind: str, namespace: str | None = None, *, selector: str = "") -> Sequence[Object]:
        """Objects with these labels, of one namespace or of all."""
        ...

    def apply(self, item: Object, *, field_manager: str, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply; the object as stored, or as it would be."""
        ...

    def delete(self, api_version: str, kind: str, namespace: str | None, name: str) -> bool:
        """False when it was gone already."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object that is not as rendered."""

    action: Action
    who: Identity
    lines: tuple[str, ...] = ()
    """`path: before -> after`, or why it is kept."""
    item: Object | None = None

    @property
    def words(self) -> str:
        """For people.

        Example:
            >>> Change(action="create", who=("v1", "ServiceAccount", "team-eta", "step")).words
            'create ServiceAccount team-eta/step'
        """
        _, kind, namespace, name = self.who
        return f"{self.action} {kind} {namespace + '/' if namespace else ''}{name}"

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        api_version, kind, namespace, name = self.who
        return {
            "action": self.action,
            "api_version": api_version,
            "kind": kind,
            "namespace": namespace or None,
            "name": name,
            "lines": list(self.lines),
        }


def compare(items: Sequence[Object], door: Door, *, installation: str, delete_namespaces: bool = False) -> list[Change]:
    """What `apply_changes` would do, in its order; empty when the cluster is as rendered.

    Args:
        items: everything of the installation: what carries its label and is not among them is a leftover.
        delete_namespaces: False keeps the namespace of a team that is gone, and everything of that team with it:
            without its policies and limits what still runs there would be open.

    Raises:
        PlatformError: an object that the API server refuses, named; or no answer.
    """
    fresh: set[str] = set()
    found: list[Change] = []
    for item in items:
        who = identity(item)
        change = judged(item, door, fresh)
        if change is None:
            continue
        if change.action == "create" and who[1] == "Namespace":
            fresh.add(who[3])
        found.append(change)
    wanted = {identity(item) for item in items}
    teams = {item["metadata"]["labels"].get(TEAM) for item in items}
    return [*found, *leftovers(wanted, teams, door, installation, delete_namespaces=delete_namespaces)]


def judged(item: Object, door: Door, fresh: set[str]) -> Change | None:
    """One object as it is and as it would be."""
    api_version, kind, namespace, name = who = identity(item)
    if namespace in fresh:
        # the API server judges nothing in a namespace that is still to come
        return Change(action="create", who=who, item=item)
    live = door.get(api_version, kind, namespace or None, name)
    if live is not None:
        refuse_adoption(live, item)
    try:
        would = door.apply(item, field_manager=MANAGER, dry_run=True, force=True)
    except NotFound as err:
        raise NotFound(
            f"the API server does not know {kind} of {api_version} ({err.message})",
            fix="install Kueue first (deploy/kubernetes/README.md)" if "kueue" in api_version else err.fix,
        ) from err
    except PlatformError as err:
        raise type(err)(f"{kind} {namespace + '/' if namespace else ''}{name}: {err.message}", fix=err.fix, context=err.context) from err
    if live is None:
        return Change(action="create", who=who, item=item)
    lines = tuple(differences(settled(live), settled(would)))
    return Change(action="change", who=who, lines=lines, item=item) if lines else None


def refuse_adoption(live: Object, item: Object) -> None:
    """Server-side apply would take over whatever has the name, and a later deletion would take what runs in it."""
    found, ours = (one["metadata"].get("labels") or {} for one in (live, item))
    if any(found.get(label) != ours[label] for label in (MANAGED_BY, INSTALLATION)):
        _, kind, namespace, name = identity(item)
        owner = found.get(INSTALLATION) if found.get(MANAGED_BY) == MANAGER else found.get(MANAGED_BY)
        raise Conflict(
            f"{kind} {namespace + '/' if namespace else ''}{name} exists and is managed by {owner or 'nobody we know'!r}",
            fix=f"rename one of them, or label it {MANAGED_BY}={MANAGER} and {INSTALLATION}={ours[INSTALLATION]} to hand it over",
        )


def leftovers(wanted: set[Identity], teams: set[Any], door: Door, installation: str, *, delete_namespaces: bool) -> Iterator[Change]:
    """What carries the installation's label and is not rendered any more."""
    kept: set[str] = set()
    for api_version, kind, _ in KINDS:
        for live in door.list(api_version, kind, selector=selector_of(installation)):
            metadata = live["metadata"]
            who = (api_version, kind, metadata.get("namespace", ""), metadata["name"])
            if who in wanted or metadata.get("deletionTimestamp"):
                continue
            team = metadata.get("labels", {}).get(TEAM)
            gone = team is not None and team not in teams
            if (gone or kind == "Namespace") and not delete_namespaces:
                kept.add(str(team))
                if kind == "Namespace":
                    line = f"team {team!r} has no team.yaml any more; --yes deletes this namespace, its queues and everything in it"
                    yield Change(action="keep", who=who, lines=(line,))
                continue
            yield Change(action="delete", who=who)


def apply_changes(changes: Iterable[Change], door: Door) -> Iterator[Change]:
    """Do them, one by one; each is yielded when it is done."""
    for change in changes:
        api_version, kind, namespace, name = change.who
        if change.action in ("create", "change") and change.item is not None:
            # force: the rendering is the truth about the fields that it names, and about no others
            door.apply(change.item, field_manager=MANAGER, force=True)
        elif change.action == "delete":
            door.delete(api_version, kind, namespace or None, name)
        yield change


def settled(live: Object) -> dict[str, Any]:
    """An object without what the server counts and observes."""
    metadata = {key: value for key, value in live.get("metadata", {}).items() if key not in VOLATILE}
    return {**{key: value for key, value in live.items() if key not in ("status", "metadata")}, "metadata": metadata}


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """`path: before -> after` for each leaf in which two values differ.

    Example:
        >>> list(differences({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1, 2]}))
        ['a.b: 1 -> 2', 'c[1]: nothing -> 2']
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            yield from differences(one.get(key, MISSING), other.get(key, MISSING), f"{path}.{key}" if path else str(key))
    elif isinstance(one, list) and isinstance(other, list):
        for place in range(max(len(one), len(other))):
            before, after = (items[place] if place < len(items) else MISSING for items in (one, other))
            yield from differences(before, after, f"{path}[{place}]")
    elif one != other:
        yield f"{path}: {one!r} -> {other!r}"


class Missing:
    """No value, as opposed to null."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()
