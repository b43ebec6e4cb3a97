"""The compiled catalog: every team's views as records, so that a code location loads alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.core.spec import Spec
from tiffin.features.view import FeatureView
from tiffin.manifests.records import ViewRecord
from tiffin.orchestration.asset_keys import online_path
from tiffin.serving.deployment import Deployment
from tiffin.training.model import Model
from tiffin.training.table import TrainingTable

__all__ = ["compile_catalog", "edges_of", "read_catalog", "read_edges", "resolve_views", "view_records"]

FORMAT = "tiffin.catalog.v1"
REFRESH = "compile it again with `python scripts/compile_catalog.py`"


def view_records(team: Team, specs: Iterable[Spec]) -> list[ViewRecord]:
    """The compiled form of every view among `specs`."""
    return [spec.record(team=team.name, owner=team.owner) for spec in specs if isinstance(spec, FeatureView)]


def edges_of(team: Team, specs: Iterable[Spec]) -> dict[str, list[str]]:
    """By asset of the team what it directly stands on: a view on its tables, a model on its training table."""
    found: dict[str, list[str]] = {}
    for spec in specs:
        match spec:
            case FeatureView():
                found[f"{team.name}/{spec.name}"] = sorted({spec.source.name, *(source.name for source in spec.inputs)})
                if spec.online is not None:
                    found["/".join(online_path(f"{team.name}/{spec.name}"))] = [f"{team.name}/{spec.name}"]
            case TrainingTable():
                views = [view if isinstance(view, str) else f"{team.name}/{view.name}" for view in spec.features]
                found[f"{team.name}/{spec.name}"] = sorted({spec.spine.source.name, *views})
            case Model():
                found[f"{team.name}/{spec.name}"] = [f"{team.name}/{spec.table.name}"]
            case Deployment():
                views = [view if isinstance(view, str) else f"{team.name}/{view.name}" for view in spec.model.table.features]
                found[f"{team.name}/{spec.name}"] = sorted(
                    {f"{team.name}/{spec.model.name}", *("/".join(online_path(view)) for view in views)}
                )
    return found


def compile_catalog(records: Iterable[ViewRecord], edges: Mapping[str, Sequence[str]] | None = None) -> bytes:
    """The catalog file: sorted and indented, so that a change reads well in a review.

    Args:
        edges: of all teams, see `edges_of`.

    Raises:
        Invalid: two records have one reference.
    """
    views: dict[str, object] = {}
    for record in records:
        ref = f"{record.team}/{record.name}"
        if ref in views:
            raise Invalid(f"compiling the catalog: view {ref!r} is declared twice", fix="rename one of the two")
        views[ref] = record.model_dump(mode="json")
    content = {"format": FORMAT, "views": views, "stands_on": {ref: sorted(found) for ref, found in (edges or {}).items()}}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read_edges(path: Path) -> dict[str, list[str]]:
    """What stands on what, of all teams; none in a catalog that was compiled without. Raises like `read_catalog`."""
    found: dict[str, list[str]] = read_content(path).get("stands_on", {})
    return found


def read_catalog(path: Path) -> dict[str, ViewRecord]:
    """Views by `"team/view"`.

    Raises:
        NotFound: there is no such file. Invalid: it is not a catalog.
    """
    return {
        ref: ViewRecord.from_bytes(json.dumps(value).encode(), name=f"{path}: {ref}") for ref, value in read_content(path)["views"].items()
    }


def read_content(path: Path) -> dict[str, Any]:
    """The file's object, checked for its form."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise NotFound(f"there is no catalog at {str(path)!r}", fix=REFRESH) from err
    except ValueError as err:
        raise Invalid(f"catalog {str(path)!r} is not JSON: {err}", fix=REFRESH) from err
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("views"), dict):
        raise Invalid(f"{str(path)!r} is not a catalog: expected an object with format {FORMAT!r} and views", fix=REFRESH)
    return content


def resolve_views(table: TrainingTable, *, team: Team, catalog: Mapping[str, ViewRecord]) -> dict[str, ViewRecord]:
    """The records a training table joins, by `"team/view"`, in its order.

    This team's own views come from their specs; another team's from the catalog.

    Raises:
        NotFound: with the nearest reference.
    """
    found: dict[str, ViewRecord] = {}
    for view in table.features:
        if isinstance(view, str):
            if view not in catalog:
                raise NotFound(
                    f"training table {table.name!r} of team {team.name!r}: no feature view {view!r} in the catalog",
                    fix=f"{nearest(view, catalog)}; after declaring a view, {REFRESH}",
                )
            found[view] = catalog[view]
        else:
            found[f"{team.name}/{view.name}"] = view.record(team=team.name, owner=team.owner)
    return found
