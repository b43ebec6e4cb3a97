"""Delta tables in a folder: commits that are atomic, conflicts that are told, content that is known by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from tiffin.core.errors import Conflict, Corrupt, Invalid, NotFound
from tiffin.storage.delta import DeltaStore
from tiffin.testing.table_store import check_table_store, rows_of_day

REF = "team/delays"
DAYS = ("2030-01-01", "2030-01-02", "2030-01-03")


@pytest.fixture
def store(tmp_path: Path) -> DeltaStore:
    return DeltaStore(str(tmp_path), sleep=lambda _: None)


def put_day(store: DeltaStore, day: str, values: list[int]) -> int:
    return store.replace(REF, rows_of_day(day, values), partitions=[day]).version


def values(store: DeltaStore, *days: str) -> list[int]:
    return sorted(store.read(REF, columns=["value"], partitions=days)["value"].to_pylist())


def between_files_and_commit(store: DeltaStore, other: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `other` run once, when the first writer has its files and not yet its commit."""
    commit, waiting = store.commit, [other]

    def interrupted(*args: object, **named: object) -> int:
        while waiting:
            waiting.pop()()
        return commit(*args, **named)

    monkeypatch.setattr(store, "commit", interrupted)


def test_delta_in_a_folder_passes_the_kit(tmp_path: Path) -> None:
    check_table_store(DeltaStore(str(tmp_path)), "kit", seed=3)


def test_of_two_writers_of_one_partition_the_second_is_told(store: DeltaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_day(store, DAYS[0], [0])
    between_files_and_commit(store, lambda: put_day(DeltaStore(str(tmp_path)), DAYS[0], [1]), monkeypatch)

    with pytest.raises(Conflict, match="partition '2030-01-01' of table 'team/delays'"):
        put_day(store, DAYS[0], [2])

    assert values(store, DAYS[0]) == [1]


def test_writers_of_two_partitions_both_commit(store: DeltaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_day(store, DAYS[0], [0])
    between_files_and_commit(store, lambda: put_day(DeltaStore(str(tmp_path)), DAYS[1], [1]), monkeypatch)

    assert put_day(store, DAYS[2], [2]) == 2

    assert values(store, *DAYS) == [0, 1, 2]


def test_a_named_partition_that_stays_as_it_was_is_guarded_too(store: DeltaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_day(store, DAYS[0], [0])
    between_files_and_commit(store, lambda: put_day(DeltaStore(str(tmp_path)), DAYS[0], [9]), monkeypatch)
    both = pa.concat_tables([rows_of_day(DAYS[0], [0]), rows_of_day(DAYS[1], [1])])

    with pytest.raises(Conflict):
        store.replace(REF, both, partitions=DAYS[:2])


def test_of_two_creators_with_other_columns_the_second_is_told(store: DeltaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = rows_of_day(DAYS[1], [1]).append_column("more", [[1.5]])
    between_files_and_commit(store, lambda: DeltaStore(str(tmp_path)).replace(REF, other, partitions=DAYS[1:2]), monkeypatch)

    with pytest.raises(Conflict, match="changed its columns"):
        put_day(store, DAYS[0], [0])


def test_two_creators_of_two_partitions_both_commit(store: DeltaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    between_files_and_commit(store, lambda: put_day(DeltaStore(str(tmp_path)), DAYS[1], [1]), monkeypatch)

    put_day(store, DAYS[0], [0])

    assert values(store, *DAYS) == [0, 1]


def test_two_overlapping_runs_of_one_attempt_commit_once(store: DeltaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_day(store, DAYS[0], [0])

    def same_attempt(writer: DeltaStore) -> int:
        return writer.replace(REF, rows_of_day(DAYS[0], [1]), partitions=DAYS[:1], attempt="run-1").version

    between_files_and_commit(store, lambda: same_attempt(DeltaStore(str(tmp_path))), monkeypatch)

    assert same_attempt(store) == 1
    assert store.version(REF) == 1


def test_a_commit_whose_answer_was_lost_is_found_in_the_log(store: DeltaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put_day(store, DAYS[0], [0])
    landed = DeltaTable.create_write_transaction

    def answer_lost(*args: object, **named: object) -> None:
        landed(*args, **named)
        raise CommitFailedError("version already exists")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", answer_lost)

    assert put_day(store, DAYS[0], [1]) == 1
    assert store.version(REF) == 1


def test_new_columns_come_with_all_partitions_at_once(store: DeltaStore) -> None:
    for place, day in enumerate(DAYS):
        put_day(store, day, [place])
    wider = pa.concat_tables([rows_of_day(day, [5]) for day in DAYS]).append_column("more", pa.array([1.5, None, 2.5], pa.float32()))

    with pytest.raises(Invalid, match="new more: float") as caught:
        store.replace(REF, wider.slice(0, 1), partitions=DAYS[:1])
    done = store.replace(REF, wider, partitions=DAYS)

    assert "all its partitions in one run (2 more, from '2030-01-02')" in caught.value.fix
    assert done.changed == DAYS
    assert store.read(REF)["more"].to_pylist() == [1.5, None, 2.5]
    assert "more" not in store.read(REF, version=2).column_names


def test_columns_in_another_order_are_the_same_table(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])
    table = rows_of_day(DAYS[0], [1])

    assert store.replace(REF, table.select(table.column_names[::-1]), partitions=DAYS[:1]).changed == ()
    assert store.replace(REF, rows_of_day(DAYS[0], [2]).select(table.column_names[::-1]), partitions=DAYS[:1]).changed == DAYS[:1]
    assert store.read(REF).column_names == table.column_names


def test_content_that_another_program_wrote_is_read_before_it_is_compared(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1, 2])
    foreign = rows_of_day(DAYS[0], [1, 3])
    write_deltalake(store.url(REF), foreign, mode="overwrite", predicate=f"partition = '{DAYS[0]}'", commit_properties=CommitProperties())

    again = store.replace(REF, foreign, partitions=DAYS[:1])
    back = store.replace(REF, rows_of_day(DAYS[0], [1, 2]), partitions=DAYS[:1])

    assert (again.version, again.changed, again.rows) == (1, (), {DAYS[0]: 2})
    assert back.changed == DAYS[:1]


def test_appended_files_are_read_before_they_are_compared(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])
    write_deltalake(store.url(REF), rows_of_day(DAYS[0], [7]), mode="append")

    assert store.replace(REF, rows_of_day(DAYS[0], [1]), partitions=DAYS[:1]).changed == DAYS[:1]
    assert values(store, DAYS[0]) == [1]


def test_files_are_zstd_parquet_without_the_partition_column(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])

    (file,) = Path(store.url(REF)).glob("partition=2030-01-01/*.parquet")

    found = pq.ParquetFile(file)
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    assert found.schema_arrow.names == ["key", "value", "written_at"]


def test_old_versions_are_kept_for_ever(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])

    configuration = DeltaTable(store.url(REF)).metadata().configuration

    assert configuration["delta.enableExpiredLogCleanup"] == "false"
    assert "36500 days" in configuration["delta.logRetentionDuration"]
    assert "36500 days" in configuration["delta.deletedFileRetentionDuration"]


def test_a_lost_file_is_corrupt_by_table_name(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])
    for file in Path(store.url(REF)).glob("partition=*/*.parquet"):
        file.unlink()

    with pytest.raises(Corrupt, match="'team/delays'"):
        store.read(REF)


def test_a_damaged_log_is_corrupt_by_table_name(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])
    (Path(store.url(REF)) / "_delta_log" / f"{0:020d}.json").write_text("{")

    with pytest.raises(Corrupt, match="'team/delays'"):
        store.read(REF)


def test_a_version_that_does_not_exist_is_told_with_those_that_do(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])

    with pytest.raises(NotFound, match="no version 7") as caught:
        store.read(REF, version=7)

    assert caught.value.fix == "its versions are 0 to 0"


def test_an_unknown_column_is_told_with_the_nearest(store: DeltaStore) -> None:
    put_day(store, DAYS[0], [1])

    with pytest.raises(Invalid, match="'valeu'") as caught:
        store.read(REF, columns=["valeu"])

    assert caught.value.fix == "did you mean 'value'?"


def test_a_bucket_without_credentials_is_refused_at_once() -> None:
    with pytest.raises(Invalid, match="aws_access_key_id"):
        DeltaStore("s3://dev")


def test_nothing_that_prints_holds_the_secret() -> None:
    store = DeltaStore.for_bucket("http://127.0.0.1:1", "dev", "key-id", "hidden")

    assert "hidden" not in repr(store) + store.identity + repr(store.files)
