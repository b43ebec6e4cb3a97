"""The pods of a gang beside rank 0: they run the team's function and never Dagster's step.

`python -m tiffin.orchestration.gang_entry module:function` runs it in every pod, for gangs outside of Dagster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from tiffin.core.errors import Invalid, PlatformError
from tiffin.core.gang import Gang
from tiffin.core.settings import Settings

__all__ = ["main", "member_of", "run_beside"]


def run_beside(settings: Settings) -> int | None:
    """Run this pod's part and return its exit code; None in rank 0 and outside of a gang: the caller runs the step.

    Raises:
        Invalid: the gang's function is not named, or cannot be imported.
    """
    if settings.gang_rank is None or settings.gang_rank == 0:
        return None
    if settings.gang_member is None:
        fix = "give the asset op_tags={'tiffin/gang': 'module:function'}, called with a tiffin.core.gang.Gang"
        raise Invalid("this step has several pods, and nothing says what those beside rank 0 do", fix=fix)
    member_of(settings.gang_member)(Gang.here(settings))
    return 0


def member_of(name: str) -> Callable[[Gang], object]:
    """`module:function`, imported. Raises Invalid."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as err:
        fix = "write module:function, and see that the image has the module"
        raise Invalid(f"the gang's function {name!r} cannot be imported: {err}", fix=fix) from err
    if not callable(found):
        raise Invalid(f"the gang's function {name!r} is a {type(found).__name__}", fix="name a function that takes a Gang")
    member: Callable[[Gang], object] = found
    return member


def main(arguments: list[str]) -> int:
    """Run the function in whichever pod this is."""
    try:
        member_of(arguments[0] if arguments else "")(Gang.here(Settings.from_environment()))
    except PlatformError as err:
        sys.stderr.write(f"error: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
