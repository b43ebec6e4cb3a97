"""Nothing is pickled between steps, and an error says what to do."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tiffin.core.errors import Invalid, NotReady
from tiffin.orchestration.failures import as_failure, failures
from tiffin.orchestration.no_pickles import RefusingIOManager


def run(*assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(list(assets), resources={"io_manager": RefusingIOManager()}, instance=instance, raise_on_error=False)


def told(result: dg.ExecuteInProcessResult) -> str:
    failed = [event for event in result.all_events if event.is_step_failure]
    return "\n".join(str(event.step_failure_data.user_failure_data or event.step_failure_data.error) for event in failed)


def test_a_step_that_returns_a_value_fails_instead_of_pickling_it() -> None:
    @dg.asset
    def leaky() -> dict[str, int]:
        return {"a": 1}

    result = run(leaky)

    assert not result.success
    assert "step 'leaky' returned a dict to store" in told(result)
    assert "return dg.MaterializeResult" in told(result)


def test_a_step_that_asks_for_a_value_fails_too() -> None:
    @dg.asset
    def upstream() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult()

    @dg.asset
    def downstream(upstream: object) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult()

    result = run(upstream, downstream)

    assert not result.success
    assert "asked for the stored value of 'upstream'" in told(result)


def test_an_asset_that_returns_metadata_never_meets_the_io_manager() -> None:
    @dg.asset
    def plain() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"rows": 1})

    assert run(plain).success


def test_an_error_raised_on_purpose_becomes_a_failure_with_its_fix() -> None:
    failure = as_failure(Invalid("view 'a' has no rows", fix="land its source", context={"partition": "2013-01-01"}))

    assert failure.description == "view 'a' has no rows"
    assert failure.metadata["fix"].text == "land its source"
    assert failure.metadata["partition"].text == "2013-01-01"
    assert failure.allow_retries is False


def test_only_an_error_that_a_retry_can_help_is_retried() -> None:
    with pytest.raises(dg.Failure) as caught, failures():
        raise NotReady("the promoter does not answer", fix="start it")

    assert caught.value.allow_retries is True
    assert isinstance(caught.value.__cause__, NotReady)


def test_an_error_nobody_meant_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), failures():
        raise ZeroDivisionError


def test_the_library_has_no_pickling_io_manager() -> None:
    sources = (Path(__file__).parents[3] / "platform" / "tiffin" / "orchestration").glob("*.py")

    assert not [path.name for path in sources if "FilesystemIOManager" in path.read_text() or "import pickle" in path.read_text()]
