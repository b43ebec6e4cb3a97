"""Hands a program an argument that nobody reads in `/proc/PID/cmdline`, not even for an instant.

Everybody on the machine may read a command line, also from a jail, and some programs take a secret in no
other way. So the argument travels in the environment, which the kernel shows only to whoever may trace the
process. The program is stopped between its exec and its first instruction; there its list of arguments is made
to point at that text, and its list of variables no longer does: it starts as if given it, and no child inherits it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tiffin.core.errors import Unsupported
from tiffin.embedded.processes import Process, spawn, stop

__all__ = ["spawn_hiding"]

PTRACE_TRACEME, PTRACE_POKEDATA, PTRACE_DETACH = 0, 5, 17
VARIABLE = "HIDDEN_ARGUMENT_"
WORD = struct.calcsize("P")
# in /proc/PID/stat after the name: where the stack begins that the kernel laid out for the program
START_STACK = 28 - 3
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
LIBC.ptrace.restype = ctypes.c_long


def spawn_hiding(
    command: Sequence[str | Path], hidden: Mapping[str, str], *, log: Path, environ: Mapping[str, str], cwd: Path | None = None
) -> Process:
    """`processes.spawn`, but the program gets other arguments than its command line shows.

    Args:
        command: what everybody sees.
        hidden: by an argument of `command`, the one that the program gets in its place.
        environ: its environment, at least one variable.

    Raises:
        Unsupported: this machine does not let a process trace its own child.
    """
    carried = {f"{VARIABLE}{number}": text for number, text in enumerate(hidden.values())}
    child = spawn(command, log=log, environ={**environ, **carried}, cwd=cwd, before=be_traced)
    try:
        _, status = os.waitpid(child.pid, 0)
        if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGTRAP:
            raise OSError(f"it did not stop at its start (wait status {status:#x})")
        exchange(child.pid, dict(zip(hidden, carried, strict=True)))
        traced(PTRACE_DETACH, child.pid)
    except (OSError, ValueError, struct.error) as err:
        stop(child, grace_s=0)
        raise Unsupported(
            f"{Path(command[0]).name} cannot be given a secret unseen: {err}",
            fix="allow processes to trace their own children: kernel.yama.ptrace_scope at most 2, no seccomp filter on ptrace",
        ) from err
    return child


def be_traced() -> None:
    """In the child, before its exec."""
    traced(PTRACE_TRACEME, 0)


def traced(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    """`ptrace`. Raises OSError."""
    if LIBC.ptrace(request, pid, address, data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def exchange(pid: int, names: Mapping[str, str]) -> None:
    """Point every argument that is a key of `names` at the value of that variable, and drop the variable."""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        stack = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[START_STACK])
        # as the kernel lays it out: the count, the arguments, null, the variables, null
        arguments = list(slots(memory.fileno(), stack + WORD))
        variables = list(slots(memory.fileno(), arguments[-1][0] + 2 * WORD))
        seen = {text_at(memory.fileno(), pointer): slot for slot, pointer in arguments}
        found = {text_at(memory.fileno(), pointer).partition("=")[0]: (slot, pointer) for slot, pointer in variables}
    # the list cannot be shortened, since more lies behind it: a variable named twice does no harm
    harmless = next(pointer for name, (_, pointer) in found.items() if not name.startswith(VARIABLE))
    for shown, name in names.items():
        if shown not in seen or name not in found:
            raise ValueError(f"its argument {shown!r} is not where the kernel puts it")
        slot, pointer = found[name]
        traced(PTRACE_POKEDATA, pid, seen[shown], pointer + len(name) + 1)
        traced(PTRACE_POKEDATA, pid, slot, harmless)


def slots(memory: int, place: int) -> Iterator[tuple[int, int]]:
    """(address, pointer) of a list of pointers, up to its null."""
    while pointer := struct.unpack("P", os.pread(memory, WORD, place))[0]:
        yield place, pointer
        place += WORD


def text_at(memory: int, place: int) -> str:
    """The text that ends with a null byte."""
    found = b""
    while b"\0" not in found:
        # never beyond a page: the next one may not be there
        found += os.pread(memory, 4096 - (place + len(found)) % 4096, place + len(found))
    return os.fsdecode(found.partition(b"\0")[0])
