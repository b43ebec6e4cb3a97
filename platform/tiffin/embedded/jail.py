"""A jail for programs that run other people's code: what they must not read is not there.

    python -m tiffin.embedded.jail --hide .tiffin/secrets --write .tiffin -- dagster-daemon run

Steps run as the same user as the promoter, often as root, so file modes keep nothing from them.
The program gets a mount namespace in which the whole file system is read-only but for the folders
named, hidden folders are empty, and devices and sockets that lead around that are masked; then every
dangerous capability is dropped for good and the program replaces us. What it starts inherits all of it.

What keeps it from looking through other processes (`/proc/PID/root`, `mem`, `environ`, ptrace): the
kernel wants a caller to hold every capability that the target holds, or the same user namespace.

See docs/adr for what this does and does not promise.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tiffin.core.errors import Denied, Invalid, PlatformError

__all__ = ["Jail", "jail_command", "main", "probe"]

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 24, 47, 4
SYS_MOUNT_SETATTR = 442  # the same number on every architecture
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
CAPABILITY_VERSION_3 = 0x20080522

# what a build, a test or a step may need as root; all others go, also those invented later
KEPT_CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "NET_BIND_SERVICE": 10,
    "SYS_NICE": 23,
}
