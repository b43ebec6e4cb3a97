"""What the views of a house hold: the compiled catalog, the offline tables, the online editions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from tiffin.asof.join import INSTANT, join
from tiffin.core.errors import Invalid, NotFound, PlatformError, nearest
from tiffin.core.settings import Settings
from tiffin.core.units import from_us, to_us
from tiffin.embedded.operate import prod_reader
from tiffin.embedded.stack import load
from tiffin.embedded.status import view as promoted_edition
from tiffin.features.compute import EVENT_TIME, KEY_ARROW
from tiffin.features.offline import read_view
from tiffin.manifests.records import ViewRecord
from tiffin.manifests.signing import Verifier
from tiffin.online.reader import FeatureReader
from tiffin.online.row_sources import open_rows
from tiffin.orchestration.catalog import read_catalog
from tiffin.serving.repository_files import online_view
from tiffin.storage.delta import DeltaStore
from tiffin.storage.tables import TableStore
from tiffin.wire.batch import from_wire
from tiffin.wire.schema import RowSchema

__all__ = ["Found", "ViewReport", "dev_tables", "find_record", "live_values", "offline_values", "read_key", "view_reports"]

ASKED_AT = "__asked_at"  # no name that a team may declare holds a double underscore at its start


@dataclass(frozen=True, slots=True)
class ViewReport:
    """A view as declared, and what is there of it.

    Args:
        online: what `tiffin.embedded.status.view` says of its promoted edition; None: no stack runs, or nothing is promoted.
        table_version: of its offline table; None: no stack runs, or nothing is materialised.
    """

    record: ViewRecord
    online: dict[str, Any] | None
    table_version: int | None

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.record.model_dump(mode="json"), "online": self.online, "table_version": self.table_version}


@dataclass(frozen=True, slots=True)
class Found:
    """Values of one key, and where they stand.

    Args:
        values: by column, plain Python; all null when the key is unknown or its row expired.
        event_time: of the row; None when there is none.
        source: the edition or the table version that they were read from, for people.
    """

    values: dict[str, Any]
    event_time: datetime | None
    source: str


def view_reports(catalog: Path, home: Path) -> list[ViewReport]:
    """Every view of the catalog, by reference; editions and tables when a stack runs in `home`.

    Raises:
        NotFound, Invalid: there is no readable catalog.
    """
    records = read_catalog(catalog)
    settings = running_settings(home)
    if settings is None:
        return [ViewReport(record, None, None) for _, record in sorted(records.items())]
    tables, prod, verifier = dev_tables(settings), prod_reader(settings), Verifier(settings.need("signing_public_key"))
    found = []
    for ref, record in sorted(records.items()):
        try:
            online: dict[str, Any] | None = promoted_edition(prod, verifier, record.team, record.name)
        except NotFound:
            online = None
        except PlatformError as err:
            online = {"trouble": err.message}
        found.append(ViewReport(record, online, tables.version(ref)))
    return found


def running_settings(home: Path) -> Settings | None:
    """Of the stack in `home`; None when there is none, or its object store is down."""
    try:
        stack = load(home)
    except NotFound:
        return None
    return stack.settings() if "seaweed" in stack.running() else None


def dev_tables(settings: Settings) -> DeltaStore:
    """The tables of a running stack."""
    return DeltaStore.for_bucket(
        settings.need("s3_endpoint"), settings.dev_bucket, settings.need("dev_access_key"), settings.need("dev_secret_key")
    )


def find_record(catalog: Path, ref: str) -> ViewRecord:
    """One view. Raises NotFound with the nearest reference."""
    records = read_catalog(catalog)
    if ref not in records:
        raise NotFound(f"there is no feature view {ref!r} in the catalog", fix=nearest(ref, records))
    return records[ref]


def read_key(record: ViewRecord, given: Mapping[str, Any]) -> pa.Table:
    """One row with a view's key, typed as declared.

    Raises:
        Invalid: a part is missing, unknown or of another type.
    """
    parts = {field.name: field.type for field in record.entity.keys}
    ref = f"{record.team}/{record.name}"
    for name in given:
        if name not in parts:
            raise Invalid(f"view {ref!r} has no key part {name!r}", fix=nearest(name, parts))
    columns = {}
    for name, kind in parts.items():
        if given.get(name) is None:
            raise Invalid(f"the key of view {ref!r} lacks {name!r}", fix=f"add {name}=VALUE ({kind})")
        value = str(given[name]) if kind == "string" else given[name]  # carrier 16 is a text, whatever it looks like
        try:
            columns[name] = pa.array([value], KEY_ARROW[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as err:
            raise Invalid(f"key part {name!r} of view {ref!r} is {value!r}, expected {kind}", fix=f"give a {kind}") from err
    return pa.table(columns)


def offline_values(record: ViewRecord, key: pa.Table, *, as_of: datetime, tables: TableStore) -> Found:
    """What a label at `as_of` would get for a key, by the same join as training."""
    ref = f"{record.team}/{record.name}"
    names = [column.name for column in RowSchema.from_json(record.row_schema).columns]
    rows = read_view(record, tables=tables)
    labels = key.append_column(ASKED_AT, pa.array([as_of], INSTANT))
    keys = [field.name for field in record.entity.keys]
    # the event time travels as one more feature, under a name that no feature has
    rows = rows.append_column(f"__{EVENT_TIME}", rows[EVENT_TIME])
    joined = join(
        labels,
        rows,
        keys=keys,
        label_time=ASKED_AT,
        features=[*names, f"__{EVENT_TIME}"],
        ttl_us=record.ttl_us,
        rename=lambda name: f"f__{name}",
    )
    one = joined.to_pylist()[0]
    return Found({name: one[f"f__{name}"] for name in names}, one[f"f____{EVENT_TIME}"], f"{ref} version {tables.version(ref)}")


def live_values(record: ViewRecord, key: pa.Table, *, settings: Settings) -> Found:
    """What a request now would get for a key, by the same reader as in Triton."""
    instant = settings.clock()
    reader = FeatureReader(open_rows(settings.need("online_url")), [online_view(record)], now_us=lambda: to_us(instant))
    ref = f"{record.team}/{record.name}"
    rows = reader.read({name: key[name].to_pylist() for name in key.column_names})[ref]
    values = {name: plain(array[0]) for name, array in from_wire(rows.columns).items()}
    found = from_us(int(rows.event_time_us[0])) if rows.found[0] else None
    return Found(values, found, f"generation {rows.generation}, complete up to {from_us(rows.watermark_us).isoformat()}")


def plain(value: Any) -> Any:
    """A cell of a batch as Python has it: a null is None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and any(item != item for item in value):
        return None  # a null vector is all NaN
    return None if value != value else value
