"""`kernel.c` to a shared library, where there is a C compiler. Imports nothing of the project: its installation runs this.

A plain library, called through ctypes: it needs no header of Python's and serves every version of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["LIBRARY", "SOURCE", "compile_kernel", "compiler"]

SOURCE, LIBRARY = "kernel.c", "libkernel.so"
FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC")


def compiler() -> str | None:
    """The first that is on PATH."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def compile_kernel(source: Path, target: Path) -> bool:
    """Whether `target` is made. A compiler's complaint is told, and is no error: numpy does the same, slower."""
    found = compiler()
    if found is None or sys.byteorder != "little":
        return False
    made = target.with_name(f"{target.name}.{os.getpid()}")  # nobody loads half a library, or loses the one that is loaded
    done = subprocess.run([found, *FLAGS, "-o", made, source], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(f"tiffin: {found} does not compile {source.name}, so numpy reads rows:\n{done.stderr[-2000:]}\n")
        made.unlink(missing_ok=True)
        return False
    made.replace(target)
    return True
