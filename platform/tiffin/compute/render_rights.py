"""Who may do what in a team's namespace: each part of Dagster just its work, people by their groups, steps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiffin.compute.allotment import Allotment
from tiffin.compute.platform_file import PlatformFile
from tiffin.compute.render_labels import labelled

__all__ = ["DAGSTER_PARTS", "Rule", "shared_rights", "team_rights"]

Rule = tuple[str, str, str]
"""API group, resources and verbs, each with spaces between."""
RBAC = "rbac.authorization.k8s.io"
QUEUES, VISIBILITY = "kueue.x-k8s.io", "visibility.kueue.x-k8s.io"
SEE: tuple[Rule, ...] = (
    ("batch", "jobs jobs/status", "get list watch"),
    ("", "pods pods/log events", "get list watch"),
    ("events.k8s.io", "events", "get list watch"),
    (QUEUES, "workloads workloads/status localqueues localqueues/status", "get list watch"),
    (VISIBILITY, "localqueues/pendingworkloads", "get"),
)
JUDGE: tuple[Rule, ...] = ((QUEUES, "clusterqueues cohorts resourceflavors workloadpriorityclasses", "get list watch"),)
"""Cluster-wide, so that what could never be admitted is refused before it is made."""

# "patch" of jobs is the priority's label, of workloads the pause; neither can change what a pod runs
RUN_WORKER: tuple[Rule, ...] = (*SEE, ("batch", "jobs", "create delete patch"), (QUEUES, "workloads", "patch"))
DAEMON: tuple[Rule, ...] = (
    ("batch", "jobs jobs/status", "get list watch"),
    ("batch", "jobs", "create delete deletecollection"),
    ("", "pods pods/log events", "get list watch"),
    (QUEUES, "workloads localqueues", "get list watch"),
)
WEBSERVER: tuple[Rule, ...] = (
    ("batch", "jobs jobs/status", "get list"),
    ("batch", "jobs", "delete deletecollection"),
    ("", "pods", "get list"),
    (QUEUES, "workloads", "get list"),
)
"""It stops runs; the launcher does that in the webserver's process, and ends the steps of a run whose worker is gone."""
PLATFORM: tuple[Rule, ...] = (
    ("batch", "jobs", "get list watch delete"),
    (QUEUES, "workloads localqueues", "get list watch"),
    (QUEUES, "localqueues", "patch"),
)
"""Janitor and budget."""
COLLECT: tuple[Rule, ...] = ((QUEUES, "workloads localqueues", "get list"),)
"""The usage collector looks at the whole cohort: what is borrowed is only told right when everybody in it is seen."""
DAGSTER_PARTS: dict[str, tuple[Rule, ...]] = {"dagster-daemon": DAEMON, "dagster-webserver": WEBSERVER, "dagster-platform": PLATFORM}

DEVELOPER: tuple[Rule, ...] = (*SEE, ("batch", "jobs", "delete patch"), (QUEUES, "workloads", "patch"))
ON_CALL: tuple[Rule, ...] = (
    *DEVELOPER,
    ("", "pods", "delete"),
    (QUEUES, "localqueues", "patch"),
    ("apps", "deployments", "get list watch patch"),
)
PEOPLE: dict[str, tuple[Rule, ...]] = {"viewer": SEE, "developer": DEVELOPER, "on-call": ON_CALL}
ACCOUNTS = {"run-worker": True, "step": False, "code-location": False}
"""ServiceAccounts, and whether their pods get a token at all."""


def team_rights(one: Allotment, platform: PlatformFile) -> list[dict[str, Any]]:
    """ServiceAccounts, Roles and RoleBindings of a namespace. Nobody reads Secrets."""
    found = [account(one, platform, name, token=token) for name, token in ACCOUNTS.items()]
    # its own namespace's labels decide which queues are open to it
    own: Rule = ("", "namespaces", "get")
    found += granted(one, platform, "run-worker", [*RUN_WORKER, own], [subject("run-worker", one.namespace)])
    home = platform.prefix + platform.namespace
    for part, rules in DAGSTER_PARTS.items():
        found += granted(one, platform, part, rules, [subject(part, home)])
    for role, rules in PEOPLE.items():
        members = getattr(one.groups, role.replace("-", "_"))
        found += granted(one, platform, f"people-{role}", rules, [group(name) for name in members]) if members else []
    return found


def shared_rights(found: Sequence[Allotment], platform: PlatformFile) -> list[dict[str, Any]]:
    """What run workers, the daemon and the janitor may read of the whole cluster: queues, and nothing that holds data."""
    home = platform.prefix + platform.namespace
    asking = [subject("dagster-daemon", home), subject("dagster-platform", home), *(subject("run-worker", one.namespace) for one in found)]
    return [
        *granted_everywhere(platform, f"{platform.prefix}{platform.name}-queues", JUDGE, asking),
        *granted_everywhere(platform, f"{platform.prefix}{platform.name}-usage", COLLECT, [subject("dagster-platform", home)]),
    ]


def granted_everywhere(platform: PlatformFile, name: str, rules: Sequence[Rule], subjects: list[dict[str, str]]) -> list[dict[str, Any]]:
    """A ClusterRole and who has it."""
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules_of(rules)}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": subjects,
    }
    return [labelled(role, platform), labelled(binding, platform)]


def granted(
    one: Allotment, platform: PlatformFile, name: str, rules: Sequence[Rule], subjects: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """A Role and who has it."""
    metadata = {"name": name, "namespace": one.namespace}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules_of(rules)}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": subjects,
    }
    return [labelled(role, platform, team=one.team), labelled(binding, platform, team=one.team)]


def account(one: Allotment, platform: PlatformFile, name: str, *, token: bool) -> dict[str, Any]:
    """A ServiceAccount."""
    metadata = {"name": name, "namespace": one.namespace}
    found = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": token}
    return labelled(found, platform, team=one.team)


def rules_of(rules: Sequence[Rule]) -> list[dict[str, list[str]]]:
    """As RBAC writes them."""
    # a Role inside a namespace that names `namespaces` means the one that it is in, and no other can be reached by it
    return [{"apiGroups": [api], "resources": resources.split(), "verbs": verbs.split()} for api, resources, verbs in rules]


def subject(name: str, namespace: str) -> dict[str, str]:
    """A ServiceAccount that a right is given to."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def group(name: str) -> dict[str, str]:
    """A group of the identity provider."""
    return {"apiGroup": RBAC, "kind": "Group", "name": name}
