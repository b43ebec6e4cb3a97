"""`tiffin doctor`: what is missing, and the command that mends it."""

from __future__ import annotations

import sys

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import show, show_table

__all__ = ["doctor"]


def doctor(home: HomeOption = None, json: JsonOption = False) -> None:
    """Check this machine and the stack's folder; exit 1 when something must be mended first.

    Example: tiffin doctor --json
    """
    from tiffin.embedded.doctor import doctor as examine  # 0.4 s

    findings = examine(home_of(home))
    bad = [finding for finding in findings if finding.verdict == "bad"]
    if json:
        show({"ok": not bad, "findings": [finding.to_json() for finding in findings]}, as_json=True, text="")
    else:
        show_table("", ["", "check", "found", "mend it with"], [[one.verdict, one.check, one.found, one.mend] for one in findings])
    sys.exit(1 if bad else 0)
