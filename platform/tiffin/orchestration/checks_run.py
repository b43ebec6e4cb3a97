"""A run's rows before their commit: judged, told to Dagster as check results, and stopped where one does not pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from tiffin.core.errors import Invalid, NotFound, PlatformError, nearest
from tiffin.features.partitions import Window
from tiffin.features.source_rows import ViewRows
from tiffin.features.view import FeatureView
from tiffin.orchestration.checks import Finding
from tiffin.orchestration.checks_training import LABEL_LEAKAGE, label_leakage
from tiffin.orchestration.checks_view import CHECKS, earlier_partitions, judge_rows
from tiffin.orchestration.plot_lines import series_markdown
from tiffin.storage.content import PARTITION
from tiffin.storage.tables import TableStore
from tiffin.training.table import TrainingTable

__all__ = ["ACCEPT", "Judge", "TableJudge", "accepted_checks", "check_result", "view_check_specs"]

ACCEPT = "tiffin/accept"
"""Run tag with names of checks, by commas: their findings are shown as warnings and stop nothing."""


def view_check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """What `Judge` answers, as Dagster declares it."""
    return [dg.AssetCheckSpec(name, asset=key, blocking=True, description=text) for name, text in CHECKS.items()]


def accepted_checks(tags: Mapping[str, str]) -> frozenset[str]:
    """The checks that whoever launched a run has waved through.

    Raises:
        Invalid: a name that no check has.
    """
    names = frozenset(name.strip() for name in tags.get(ACCEPT, "").split(",") if name.strip())
    known = {*CHECKS, LABEL_LEAKAGE}
    for name in sorted(names - known):
        raise Invalid(f"run tag {ACCEPT} names {name!r}, which is no check", fix=nearest(name, known))
    return names


def check_result(name: str, finding: Finding, *, accepted: bool = False) -> dg.AssetCheckResult:
    """A finding as Dagster shows it: numbers, picture and fix."""
    shown: dict[str, Any] = (
        {} if finding.picture is None else {"picture": dg.MetadataValue.md(series_markdown(finding.picture, says=finding.description))}
    )
    fault: dict[str, Any] = (
        {} if finding.passed else {"fix": finding.fix, "partitions": ", ".join(finding.partitions), "accepted": accepted}
    )
    return dg.AssetCheckResult(
        check_name=name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN if accepted else dg.AssetCheckSeverity.ERROR,
        description=finding.description,
        metadata={**{key: as_metadata(value) for key, value in finding.evidence.items()}, **shown, **fault},
    )


def as_metadata(value: Any) -> Any:
    """Lists and mappings as JSON; plain values as they are."""
    return dg.MetadataValue.json(value) if isinstance(value, (list, tuple, dict)) else value


class Judge:
    """Judges a run's rows before `materialise` writes them; an instance is its `judge` argument.

    Args:
        ref: `"team/view"`, whose table holds the earlier partitions.
        rows: the view's sources, asked about partitions without rows.
        accepted: checks whose findings stop nothing.
    """

    def __init__(
        self, view: FeatureView, windows: Sequence[Window], *, ref: str, tables: TableStore, rows: ViewRows, accepted: frozenset[str]
    ) -> None:
        self.view, self.windows, self.ref = view, {window.partition: window for window in windows}, ref
        self.tables, self.rows, self.accepted = tables, rows, accepted
        self.findings: dict[str, Finding] = {}

    def __call__(self, data: pa.Table) -> None:
        """Judge everything that was computed.

        Raises:
            Invalid: a check that nobody accepted did not pass; names the worst, its partitions and the fix.
        """
        windows = list(self.windows.values())
        self.findings = judge_rows(self.view, data, judged=list(self.windows), before=self.before(windows), source_rows=self.source_rows)
        failed = {name: one for name, one in self.findings.items() if not one.passed and name not in self.accepted}
        if failed:
            name, worst = next(iter(failed.items()))
            partitions = sorted({partition for one in failed.values() for partition in one.partitions})
            context: dict[str, object] = {"checks": ", ".join(failed), "partitions": ", ".join(partitions)}
            if partitions:
                context["partition"] = partitions[0]  # where a backfill is cut
            more = f" (and {len(failed) - 1} more checks)" if len(failed) > 1 else ""
            raise Invalid(f"feature view {self.ref!r}, nothing written: {name}: {worst.description}{more}", fix=worst.fix, context=context)

    def before(self, windows: Sequence[Window]) -> pa.Table | None:
        """What the table holds in the partitions before these: one read for the whole run."""
        names = earlier_partitions(self.view, windows)
        if not names:
            return None
        columns = [PARTITION, *(feature.name for feature in self.view.features)]
        try:
            return self.tables.read(self.ref, columns=columns, partitions=names)
        except NotFound:
            return None
        except Invalid:
            # its columns are others: the write replaces all partitions, or refuses and says so
            return None

    def source_rows(self, partition: str) -> int:
        """Rows of the source that became known within a partition."""
        window = self.windows[partition]
        return int(self.rows.source.between(window.start, window.end).num_rows)

    def results(self, err: PlatformError | None = None) -> Iterator[dg.AssetCheckResult]:
        """What to tell Dagster: every finding there is, and the one that an error of the computation is about."""
        told = dict(self.findings)
        if err is not None and (name := str(err.context.get("check", ""))) in CHECKS:
            numbers = {key: value for key, value in err.context.items() if key in ("duplicates", "found", "column")}
            partition = str(err.context.get("partition", ""))
            told[name] = Finding(False, numbers, err.message, fix=err.fix, partitions=(partition,) if partition else ())
        for name, finding in told.items():
            yield check_result(name, finding, accepted=name in self.accepted)


class TableJudge:
    """Judges a training table's rows before `build` writes them; an instance is its `judge` argument."""

    def __init__(self, table: TrainingTable, *, ref: str, accepted: frozenset[str]) -> None:
        self.table, self.ref, self.accepted = table, ref, accepted
        self.finding: Finding | None = None

    def __call__(self, rows: pa.Table) -> None:
        """Raises Invalid when a column gives the label away and nobody accepted that."""
        spine = self.table.spine
        known = {spine.time, spine.label.name, *(field.name for field in spine.key_fields)}
        columns = [name for name in rows.column_names if name not in known]
        self.finding = label_leakage(rows, label=spine.label.name, columns=columns)
        if not self.finding.passed and LABEL_LEAKAGE not in self.accepted:
            context = {"checks": LABEL_LEAKAGE}
            raise Invalid(
                f"training table {self.ref!r}, nothing written: {self.finding.description}", fix=self.finding.fix, context=context
            )

    def results(self) -> Iterator[dg.AssetCheckResult]:
        """The finding, once there is one."""
        if self.finding is not None:
            yield check_result(LABEL_LEAKAGE, self.finding, accepted=LABEL_LEAKAGE in self.accepted)
