"""An IO manager that refuses: assets store by digest or by table, and nothing is ever pickled."""

from __future__ import annotations

from typing import Any, NoReturn

import dagster as dg

from tiffin.core.errors import Unsupported
from tiffin.orchestration.failures import as_failure

__all__ = ["RefusingIOManager"]


class RefusingIOManager(dg.IOManager):
    """Stands where Dagster would otherwise pickle a step's return value into a folder."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> NoReturn:
        raise refusal(f"step {context.step_key!r} returned a {type(obj).__name__} to store")

    def load_input(self, context: dg.InputContext) -> NoReturn:
        raise refusal(f"a step asked for the stored value of {context.asset_key.to_user_string()!r}")


def refusal(found: str) -> dg.Failure:
    """The one answer, both ways."""
    return as_failure(
        Unsupported(
            f"{found}: values between steps would be pickled, which is never done here",
            fix="write a table or an object, return dg.MaterializeResult, and name the asset in deps=",
        )
    )
