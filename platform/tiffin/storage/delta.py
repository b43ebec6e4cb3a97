"""Delta tables by delta-rs: a partition is replaced whole, in one commit or none."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import create_table_with_add_actions

from tiffin.core.digests import digest_json
from tiffin.core.errors import Conflict, Invalid, NotFound, Unsupported, nearest
from tiffin.storage.content import PARTITION, content_digests, plain
from tiffin.storage.data_files import DataFile, Held, digest_in, rows_of, write_files
from tiffin.storage.delta_errors import translated
from tiffin.storage.delta_log import add_action, arrow_schema, difference, files_by_partition, lost_the_race, paths_of, rows_by_partition
from tiffin.storage.fencing import Fence, refuse_older
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import table_path
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store
from tiffin.storage.tables import Replaced

__all__ = ["DeltaStore"]

ALLOWED_PARTITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
COMMIT_TURNS = 100
# old versions stay readable: a model names the exact version that it was trained on
KEEP = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}
WRITER = "tiffin.attempt"
LOST = "another run wrote the same: see which one is wanted, then repeat the step"
HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


class DeltaStore:
    """Tables under one root: a bucket (`s3://bucket`) or a local folder.

    Data files go through an `ObjectStore`, the log through delta-rs. A commit is tried against
    exactly the version that was read: if somebody else committed first, the writer looks at which
    partitions changed and either repeats the commit or reports a conflict. delta-rs' own retries are
    off, because they decide by predicates and not by files.

    Args:
        storage_options: as delta-rs takes them; needed for a bucket.
        sleep, jitter: what a writer does between two tries.
        now_s: seconds since 1970, noted in the log beside each file.
    """

    def __init__(
        self,
        root_url: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.root_url = str(root_url).rstrip("/")
        self.options = dict(storage_options) if storage_options else None
        self.sleep = sleep
        self.jitter = jitter
        self.now_s = now_s
        self.files: ObjectStore
        self.files, self.prefix, self.identity = file_store(self.root_url, self.options or {})

    @classmethod
    def for_bucket(cls, endpoint: str, bucket: str, access_key: str, secret_key: str, region: str = "us-east-1") -> Self:
        """The tables of a bucket of an S3 service; commits are conditional writes."""
        options = {
            "aws_endpoint_url": endpoint,
            "aws_access_key_id": access_key,
            "aws_secret_access_key": secret_key,
            "aws_region": region,
            "aws_allow_http": "true",
            "aws_conditional_put": "etag",
            "connect_timeout": "5s",
            "timeout": "60s",
            "max_retries": "3",
            "retry_timeout": "30s",
        }
        return cls(f"s3://{bucket}", options)

    def __repr__(self) -> str:
        return f"DeltaStore({self.root_url!r}, {self.identity})"

    def url(self, ref: str) -> str:
        """Where plain `deltalake` finds the table."""
        return f"{self.root_url}/{table_path(ref)}"

    def version(self, ref: str) -> int | None:
        """The current version, or None when the table does not exist."""
        table = self.open(ref)
        return None if table is None else table.version()

    def contents(self, ref: str, *, version: int | None = None) -> dict[str, str]:
        """By partition, its files: they are named by their content. See `TableStore`."""
        table = self.open(ref, version)
        if table is None:
            raise NotFound(f"looking at table {ref!r}: there is no such table", fix="materialise it first", context={"table": ref})
        return {name: digest_in(paths) or digest_json(list(paths)) for name, paths in files_by_partition(table).items()}

    def read(
        self,
        ref: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        partitions: Sequence[str] | None = None,
    ) -> pa.Table:
        """Read at a pinned version; partitions in order of their names, rows as they were written.

        Raises:
            NotFound: no such table or version. Invalid: no such column, or it is not partitioned.
        """
        table = self.open(ref, version)
        if table is None:
            raise NotFound(
                f"reading table {ref!r}: there is no such table", fix="materialise it first, or correct its name", context={"table": ref}
            )
        schema = arrow_schema(table)
        wanted = list(schema.names if columns is None else columns)
        for name in wanted:
            if name not in schema.names:
                raise Invalid(f"table {ref!r} has no column {name!r}", fix=nearest(name, schema.names))
        return self.rows(ref, table, wanted, partitions)

    def local_files(self, ref: str, *, version: int, folder: Path) -> list[Path]:
        """The files of a version as they lie in the folder of the table, or copies from its bucket; see `StagesFiles`."""
        table = self.open(ref, version)
        if table is None:
            raise NotFound(f"reading table {ref!r}: there is no such table", fix="materialise it first", context={"table": ref})
        if table.metadata().partition_columns:
            raise Unsupported(f"table {ref!r} is partitioned: its files lack a column", fix="read it with TableStore.read")
        home = f"{self.prefix}{table_path(ref)}"
        paths = sorted(paths_of(table)[1])
        if isinstance(self.files, FolderStore):
            return [self.files.path / home / path for path in paths]
        copies = [folder / path.rpartition("/")[2] for path in paths]
        for path, copy in zip(paths, copies, strict=True):
            copy.write_bytes(self.files.get(f"{home}/{path}").data)
        return copies

    def replace(
        self,
        ref: str,
        data: pa.Table,
        *,
        partitions: Sequence[str] | None,
        attempt: str | None = None,
        since: int | None = None,
        fence: Fence | None = None,
    ) -> Replaced:
        """Make `data` the whole content of these partitions; see `TableStore.replace`.

        A call that replaces the whole table, every partition that has rows included, may change its
        columns. Under an `attempt` that has committed these partitions before, nothing is written: the
        answer is the version which that commit made.

        A `fence` is shown by every commit, so that one whose base is older than a newer attempt's commit loses the race for
        the version and then sees by whom. That is why a try after the first leaves its number even where nothing changed.
        """
        if fence is not None:
            fence.check(f"writing table {ref!r}")
        names = check_partitions(ref, data, partitions)
        data = plain(data)
        tables = rows_of(data, names)
        # one attempt may write several ranges of one table: each is fenced by itself
        writer, attempt = attempt, None if attempt is None else f"{attempt}/{digest_json(sorted(names))[:16]}"
        base = self.open(ref)
        if base is not None and fence is not None:
            refuse_older(f"writing table {ref!r}", fence, base.transaction_version(shown_as(fence)))
        if base is not None and attempt is not None and (done := base.transaction_version(attempt)) is not None:
            return self.as_committed(ref, done, names)
        digests = content_digests(data, by=None if partitions is None else PARTITION, groups=names)
        rows = {name: tables[name].num_rows for name in names}
        held = self.held(ref, base, names)
        reshaped = base is not None and self.reshapes(ref, base, data, names, partitioned=partitions is not None)
        changed = tuple(names) if base is None or reshaped else tuple(name for name in names if held[name].digest != digests[name])
        if base is not None and not changed and (fence is None or fence.number == 1):
            return Replaced(base.version(), digests, (), rows, 0)
        if base is not None and since is not None and since < base.version():
            began = None if since < 0 else self.open(ref, since)
            self.check_unchanged(ref, began, base, changed, own=None if fence is None else writer)

        files = write_files(self.files, f"{self.prefix}{table_path(ref)}", {name: tables[name] for name in changed}, digests)
        made = data.schema if partitions is None else ordered(data.schema)
        schema = made if base is None or reshaped else arrow_schema(base)
        version, ours = self.commit(
            ref,
            base,
            held,
            files,
            schema,
            changed,
            partitioned=partitions is not None,
            reshaped=reshaped,
            attempt=attempt,
            writer=writer,
            fence=fence,
        )
        if not ours:
            return self.as_committed(ref, version, names)
        return Replaced(version, digests, changed, rows, sum(file.size_bytes for file in files))

    def commit(
        self,
        ref: str,
        base: DeltaTable | None,
        held: Mapping[str, Held],
        files: Sequence[DataFile],
        schema: pa.Schema,
        changed: Sequence[str],
        *,
        partitioned: bool,
        reshaped: bool,
        attempt: str | None,
        writer: str | None,
        fence: Fence | None,
    ) -> tuple[int, bool]:
        """Name the written files in the log, unless a partition of ours changed since `base`.

        Without files for a table that stands, only the fence is shown.

        Returns:
            The version, and whether these files are in it: an earlier call under `attempt` may have made it from others.
        """
        start, own = base, None if fence is None else writer
        for turn in range(COMMIT_TURNS):
            next_version = 0 if base is None else base.version() + 1
            shown = [] if attempt is None else [Transaction(attempt, next_version)]
            if fence is not None:
                shown.append(Transaction(shown_as(fence), fence.number))
                fence.check(f"writing table {ref!r}")
            told = {} if writer is None else {WRITER: writer}
            properties = CommitProperties(max_commit_retries=0, app_transactions=shown, custom_metadata=told)
            adds = [add_action(file, now_ms=int(self.now_s() * 1000)) for file in files]
            by = [PARTITION] if partitioned else []
            with translated("writing", ref, identity=self.identity):
                try:
                    if base is None:
                        create_table_with_add_actions(
                            self.url(ref),
                            Schema.from_arrow(schema),
                            adds,
                            "error",
                            by,
                            configuration=KEEP,
                            storage_options=self.options,
                            commit_properties=properties,
                            post_commithook_properties=HOOKS,
                        )
                    else:
                        only = [(PARTITION, "in", list(changed))] if partitioned and not reshaped else None
                        base.create_write_transaction(
                            [*adds],
                            "overwrite" if changed else "append",
                            Schema.from_arrow(schema),
                            by,
                            only,
                            commit_properties=properties,
                            post_commithook_properties=HOOKS,
                        )
                except DeltaError as err:
                    if not lost_the_race(err):
                        raise
                else:
                    return next_version, True
            now = self.open(ref)
            if now is None:
                raise Conflict(f"writing table {ref!r}: it was removed meanwhile", fix="repeat the step")
            paths = set(paths_of(now)[1])
            if files and all(file.path in paths for file in files):
                # the commit landed although its answer was lost; it can only have become this version
                return next_version, True
            if fence is not None:
                refuse_older(f"writing table {ref!r}", fence, now.transaction_version(shown_as(fence)))
            if attempt is not None and (done := now.transaction_version(attempt)) is not None:
                return int(done), False
            expected = schema if start is None else arrow_schema(start)
            self.check_unchanged(ref, start, now, list(files_by_partition(now)) if reshaped else list(held), own=own)
            if difference(expected, arrow_schema(now)) or now.metadata().partition_columns != by:
                raise Conflict(f"writing table {ref!r}: another writer changed its columns meanwhile", fix=LOST, context={"table": ref})
            base = now
            self.sleep(self.jitter() * min(1.0, 0.02 * 2 ** min(turn, 6)))
        raise Conflict(
            f"writing table {ref!r}: {COMMIT_TURNS} other commits came first", fix="repeat the step; write less often, in larger ranges"
        )

    def check_unchanged(self, ref: str, before: DeltaTable | None, now: DeltaTable, names: Sequence[str], *, own: str | None) -> None:
        """Refuse to overwrite what another writer put into our partitions meanwhile; `own` is no other writer."""
        held = {} if before is None else files_by_partition(before)
        found = files_by_partition(now)
        for name in names:
            if held.get(name, ()) != found.get(name, ()):
                winner = self.writer_of(ref, now, name, after=-1 if before is None else before.version())
                if own is not None and winner == own:
                    continue  # an older attempt at our own step
                what = f"partition {name!r} of table {ref!r}" if name else f"table {ref!r}"
                raise Conflict(
                    f"writing {what}: {'another writer' if winner is None else f'run {winner}'} changed it meanwhile",
                    fix=LOST,
                    context={"table": ref, "partition": name, **({} if winner is None else {"winner": winner})},
                )

    def writer_of(self, ref: str, now: DeltaTable, name: str, *, after: int) -> str | None:
        """The attempt that wrote a partition last, looked for in the versions after `after`; None when it had no name."""
        held = files_by_partition(now).get(name, ())
        told = {entry["version"]: entry.get(WRITER) for entry in now.history(now.version() - after)}
        for version in range(now.version(), after, -1):
            earlier = None if version == 0 else self.open(ref, version - 1)
            if earlier is None or files_by_partition(earlier).get(name, ()) != held:
                return told.get(version)
        return None

    def reshapes(self, ref: str, base: DeltaTable, data: pa.Table, names: Sequence[str], *, partitioned: bool) -> bool:
        """Whether this call replaces everything and with it the columns. Raises Invalid when it may not."""
        by = list(base.metadata().partition_columns)
        if by != ([PARTITION] if partitioned else []):
            found = f"partitioned by {by}" if by else "not partitioned"
            raise Invalid(
                f"table {ref!r} is {found}", fix="write it the way it was made, or give the new table another name", context={"table": ref}
            )
        changes = difference(arrow_schema(base), data.schema)
        if not changes:
            return False
        others = [] if not partitioned else sorted(name for name, paths in files_by_partition(base).items() if paths and name not in names)
        if not others:
            return True
        raise Invalid(
            f"table {ref!r} has other columns: {changes}",
            fix=f"materialise all its partitions in one run ({len(others)} more, from {others[0]!r}), or give the view another name",
            context={"table": ref},
        )

    def held(self, ref: str, table: DeltaTable | None, names: Sequence[str]) -> dict[str, Held]:
        """What the table holds in these partitions; content that no name tells is read."""
        if table is None:
            return {name: Held((), "", 0) for name in names}
        files = files_by_partition(table)
        rows = rows_by_partition(table)
        schema = arrow_schema(table)
        empty = content_digests(schema.empty_table(), by=None)[""]
        known = {name: empty if not files.get(name) else digest_in(files[name]) for name in names}
        unknown = [name for name in names if known[name] is None]
        if unknown:
            partitioned = unknown != [""]
            found = self.rows(ref, table, list(schema.names), unknown if partitioned else None)
            known |= content_digests(found, by=PARTITION if partitioned else None, groups=unknown)
            rows |= {name: table.num_rows for name, table in rows_of(found, unknown).items()}
        return {name: Held(files.get(name, ()), str(known[name]), rows.get(name, 0)) for name in names}

    def as_committed(self, ref: str, version: int, names: Sequence[str]) -> Replaced:
        """The answer to an attempt that is in the history."""
        held = self.held(ref, self.open(ref, version), names)
        return Replaced(version, {name: held[name].digest for name in names}, (), {name: held[name].rows for name in names}, 0)

    def rows(self, ref: str, table: DeltaTable, columns: list[str], partitions: Sequence[str] | None) -> pa.Table:
        """Read columns of an open table."""
        by = list(table.metadata().partition_columns)
        if partitions is not None and by != [PARTITION]:
            raise Invalid(f"reading partitions of table {ref!r}, which is not partitioned by {PARTITION!r}", fix="leave out partitions=")
        read = list(dict.fromkeys([*columns, *by]))
        if partitions is not None and not partitions:
            return pa.schema([field for field in arrow_schema(table) if field.name in columns]).empty_table().select(columns)
        with translated("reading", ref, identity=self.identity):
            predicate = None if partitions is None else [(PARTITION, "in", list(partitions))]
            found = plain(table.to_pyarrow_dataset(file_pruning_predicate=predicate).to_table(columns=read))
        if by == [PARTITION]:
            found = found.take(pc.sort_indices(found[PARTITION]))  # stable
        return found.select(columns)

    def open(self, ref: str, version: int | None = None) -> DeltaTable | None:
        """A handle that stays at its version; None when there is no table. Raises NotFound for a version."""
        with translated("opening", ref, identity=self.identity):
            try:
                table = DeltaTable(self.url(ref), storage_options=self.options)
            except TableNotFoundError:
                return None
            newest = table.version()
            if version is None or version == newest:
                return table
            if not 0 <= version < newest:
                raise NotFound(
                    f"table {ref!r} has no version {version}",
                    fix=f"its versions are 0 to {newest}",
                    context={"table": ref, "version": version},
                )
            table.load_as_version(version)
            return table


def shown_as(fence: Fence) -> str:
    """The transaction under which a table keeps the number of a step's newest commit."""
    return f"fence/{fence.step}"


def file_store(root_url: str, options: Mapping[str, str]) -> tuple[ObjectStore, str, str]:
    """The store for data files, the key prefix of the root in it, and who we are there."""
    if not root_url.startswith("s3://"):
        return FolderStore(root_url), "", f"the user of folder {root_url!r}"
    bucket, _, prefix = root_url.removeprefix("s3://").partition("/")
    given = {name.lower(): value for name, value in options.items()}
    try:
        access, secret = given["aws_access_key_id"], given["aws_secret_access_key"]
    except KeyError as err:
        raise Invalid(
            f"tables in {root_url!r} need {err.args[0]!r}", fix="use DeltaStore.for_bucket(endpoint, bucket, access_key, secret_key)"
        ) from err
    store = S3Store(bucket, given.get("aws_endpoint_url"), access, secret, given.get("aws_region", "us-east-1"))
    return store, f"{prefix}/" if prefix else "", f"access key {access!r}"


def check_partitions(ref: str, data: pa.Table, partitions: Sequence[str] | None) -> list[str]:
    """The partition values in order; `[""]` for an unpartitioned table."""
    if partitions is None:
        if PARTITION in data.column_names:
            raise Invalid(f"table {ref!r} gets a column {PARTITION!r} but no partitions=", fix="name the partitions, or drop the column")
        return [""]
    names = list(dict.fromkeys(partitions))
    for name in names:
        if not ALLOWED_PARTITION.fullmatch(name):
            raise Invalid(
                f"partition {name!r} of table {ref!r} is not allowed",
                fix="use letters, digits and _.:- like '2013-01-31' or '2013-01-31-06:00'",
            )
    if PARTITION not in data.column_names:
        raise Invalid(f"data for partitions of table {ref!r} has no column {PARTITION!r}", fix="add it, as a string column")
    for value in pc.unique(data[PARTITION]).to_pylist():
        if value not in names:
            raise Invalid(
                f"data for table {ref!r} has rows of partition {value!r}, which is not among the {len(names)} to be replaced",
                fix="name it in partitions=, or leave its rows out",
            )
    return names


def ordered(schema: pa.Schema) -> pa.Schema:
    """The partition column last."""
    return pa.schema([*(field for field in schema if field.name != PARTITION), schema.field(PARTITION)])
