"""Code versions: what an asset's content depends on besides its inputs, as one short digest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tiffin.core.digests import digest_json
from tiffin.features.view import Source
from tiffin.manifests.records import ViewRecord
from tiffin.serving.deployment import Deployment
from tiffin.training.model import Model
from tiffin.training.table import TrainingTable

__all__ = ["deployment_version", "model_version", "module_source", "short", "source_version", "table_version", "view_version"]


def short(digest: str) -> str:
    """Enough of a digest to compare by eye."""
    return digest[:12]


def module_source(fn: Callable[..., Any] | None) -> str:
    """The whole module that defines `fn`: what it calls beside itself counts too."""
    if fn is None:
        return ""
    path = inspect.getsourcefile(inspect.unwrap(fn))
    return "" if path is None else Path(path).read_text(encoding="utf-8")


def source_version(source: Source) -> str:
    """Changes with the module that lands the table."""
    return short(digest_json([source.name, source.time, module_source(source.load)]))


def view_version(record: ViewRecord) -> str:
    """The view's definition: transform or SQL, source, columns, times."""
    return short(record.definition)


def table_version(table: TrainingTable, views: Mapping[str, ViewRecord]) -> str:
    """Changes with the spine, the period and the definition of every joined view."""
    spine = table.spine
    return short(
        digest_json(
            {
                "spine": [spine.name, spine.source.name, spine.keys, spine.time, spine.code],
                "columns": [[f.name, f.type.encoding, f.nullable] for f in (*spine.fields, spine.label)],
                "period": [str(table.start), str(table.end)],
                "views": {ref: record.address for ref, record in views.items()},
            }
        )
    )


def model_version(model: Model, views: Mapping[str, ViewRecord]) -> str:
    """Changes with the table's definition, the preprocess module, the trainer and its parameters."""
    return short(
        digest_json(
            {
                "table": table_version(model.table, views),
                "preprocess": module_source(model.preprocess),
                "trainer": model.trainer,
                "params": model.params,
                "holdout_s": model.holdout.total_seconds(),
                "gates": [repr(gate) for gate in model.gates],
            }
        )
    )


def deployment_version(deployment: Deployment, views: Mapping[str, ViewRecord]) -> str:
    """Changes with the model's definition, the postprocess module and the limits."""
    limits = [deployment.max_rows, deployment.max_bytes, deployment.golden_rows]
    return short(digest_json([model_version(deployment.model, views), module_source(deployment.postprocess), limits]))
