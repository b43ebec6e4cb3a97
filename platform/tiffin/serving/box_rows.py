"""Features of a box from the offline tables: what the online store would hold at an instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from tiffin.features.offline import latest_rows, read_view, to_online
from tiffin.manifests.records import ViewRecord
from tiffin.storage.tables import TableStore
from tiffin.wire.columns import Ragged, Values, take
from tiffin.wire.keys import encode_keys

__all__ = ["OfflineRows"]


@dataclass(frozen=True, slots=True, eq=False)
class FoundRows:
    """The part of `tiffin.online.reader.ViewRows` that the features step looks at."""

    columns: dict[str, Values | Ragged]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A view's newest rows: position by key bytes, and the columns."""

    view: ViewRecord
    places: dict[bytes, int]
    columns: dict[str, Values | Ragged]
    version: int | None


class OfflineRows:
    """The newest row of every key that a label at `as_of` would get, in memory.

    Args:
        views: what the deployment reads.
        as_of: rows known later, or expired by then, read as null.

    Raises:
        NotFound: a view was never materialised.
    """

    def __init__(self, views: Sequence[ViewRecord], *, tables: TableStore, as_of: datetime) -> None:
        self.as_of = as_of
        self.held = [hold(view, tables, as_of) for view in views]

    def read(self, keys: Mapping[str, Any]) -> dict[str, FoundRows]:
        """Rows of every view, in the order of the keys; an unknown key is all null. See `FeatureReader.read`."""
        found: dict[str, FoundRows] = {}
        for one in self.held:
            asked, valid = encode_keys([(field.name, field.type) for field in one.view.entity.keys], keys)
            index = np.fromiter((one.places.get(bytes(key), -1) for key in asked), dtype=np.int64, count=len(asked))
            index = np.where(valid, index, -1)
            found[f"{one.view.team}/{one.view.name}"] = FoundRows({name: take(column, index) for name, column in one.columns.items()})
        return found

    @property
    def versions(self) -> dict[str, int | None]:
        """The table version behind each view, by `"team/view"`."""
        return {f"{one.view.team}/{one.view.name}": one.version for one in self.held}


def hold(view: ViewRecord, tables: TableStore, as_of: datetime) -> Held:
    """Read one view at its current version."""
    version = tables.version(f"{view.team}/{view.name}")
    keys, columns, _ = to_online(view, latest_rows(view, read_view(view, tables=tables, version=version), as_of=as_of))
    return Held(view, {bytes(key): place for place, key in enumerate(keys)}, columns, version)
