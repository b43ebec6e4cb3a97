from __future__ import annotations

import subprocess
import sys

HEAVY = ("boto3", "dagster", "numpy", "pyarrow", "pydantic", "redis", "rich", "tritonclient", "lightgbm", "cryptography", "psutil")


def test_the_command_answers_before_it_imports_anything_heavy() -> None:
    code = f"import sys, tiffin.cli.app; print([name for name in {HEAVY!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout.strip() == "[]", done.stderr
