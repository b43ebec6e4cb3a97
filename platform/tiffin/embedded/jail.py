"""A jail for programs that run other people's code: what they must not read is not there.

    python -m tiffin.embedded.jail --hide .tiffin/secrets --write .tiffin/dagster -- dagster-daemon run

Steps run as the same user as the promoter, often as root, so file modes keep nothing from them. The
program gets a mount namespace in which the file system is read-only but for the folders named, hidden
folders are empty, and `/dev` holds only harmless devices. Then every capability that leads around
that is dropped for good, and the program replaces us. All that it starts inherits this.

What keeps it from looking through other processes (`/proc/PID/root`, `mem`, `environ`, ptrace): it lives
in a user namespace of its own, and the kernel lets nobody look out of one.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tiffin.core.errors import Invalid, PlatformError, Unsupported
from tiffin.core.settings import inherited_environment

__all__ = ["Jail", "enter", "main", "why_impossible"]

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 8192, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
SYS_MOUNT_SETATTR = 442  # one number on all architectures
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
CAP_SETUID = 7
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
CAPABILITY_VERSION = 0x20080522
# What a step may need when it is root: own and unpack files. Every other one goes, by number, also
# those that a newer kernel invents: SYS_ADMIN, SYS_PTRACE, SYS_CHROOT, DAC_READ_SEARCH, MKNOD, ...
KEPT_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "dri", "kfd")
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}
DEVICE_FOLDERS = ("pts",)
SHARED_MEMORY = "shm"
OPEN_INSTEAD = "set TIFFIN_ISOLATION=none to run steps without a jail: they can then read the promoter's keys"


@dataclass(frozen=True, slots=True)
class Jail:
    """What is hidden, what may be written, and what stays read-only although a folder above it may be written."""

    hide: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()

    def command(self, program: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs `program` in this jail."""
        options: list[str | Path] = []
        for name, folders in (("--hide", self.hide), ("--write", self.write), ("--read", self.read)):
            for folder in folders:
                options += [name, folder]
        return [sys.executable, "-m", "tiffin.embedded.jail", *options, "--", *program]


class Kernel:
    """The few system calls that Python does not offer; a failed one is `Unsupported` and says which."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)

    def check(self, result: int, what: str) -> None:
        if result != 0:
            raise Unsupported(f"jail: {what}: {os.strerror(ctypes.get_errno())}", fix=OPEN_INSTEAD)

    def unshare(self, flags: int) -> None:
        self.check(self.libc.unshare(flags), "making namespaces")

    def mount(self, source: str, target: Path | str, kind: str | None, flags: int, options: str = "") -> None:
        arguments = (source.encode(), os.fsencode(target), kind.encode() if kind else None, ctypes.c_ulong(flags), options.encode())
        self.check(self.libc.mount(*arguments), f"mounting {source} on {target}")

    def set_readonly(self, target: Path | str, *, readonly: bool, recursive: bool = False) -> None:
        change = MOUNT_ATTR_RDONLY
        attributes = (ctypes.c_uint64 * 4)(change if readonly else 0, 0 if readonly else change, 0, 0)
        flags = AT_RECURSIVE if recursive else 0
        done = self.libc.syscall(
            SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, attributes, ctypes.c_size_t(ctypes.sizeof(attributes))
        )
        self.check(done, f"making {target} {'read-only' if readonly else 'writable'}")

    def prctl(self, option: int, argument: int) -> int:
        return int(self.libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0))

    def keep_only(self, capabilities: Iterable[int]) -> None:
        """Drop the rest from every set, and make sure that no later exec brings one back."""
        mask = sum(1 << number for number in capabilities)
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        for number in range(last + 1):
            # EPERM would mean that we hold no SETPCAP, and then a set-uid program could regain it
            if not mask >> number & 1:
                self.check(self.prctl(PR_CAPBSET_DROP, number), f"dropping capability {number}")
        self.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        self.check(self.prctl(PR_SET_NO_NEW_PRIVS, 1), "forbidding new privileges")
        call = SYS_CAPSET.get(platform.machine())
        if call is None:
            raise Unsupported(f"jail: no system call numbers for {platform.machine()}", fix=OPEN_INSTEAD)
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        held = effective_capabilities() & mask
        # two words each of effective, permitted, inheritable: low words first
        data = (ctypes.c_uint32 * 6)(held & 0xFFFFFFFF, held & 0xFFFFFFFF, 0, held >> 32, held >> 32, 0)
        self.check(self.libc.syscall(call, header, data), "dropping capabilities")


def effective_capabilities() -> int:
    """Our effective set, as a mask."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return int(line.split()[1], 16)


def own_namespaces(kernel: Kernel) -> None:
    """A user namespace with the same ids as outside, and a mount namespace that it owns.

    The user namespace is made for root too: without it, programs in two jails hold equal capabilities
    and could look through each other's `/proc/PID/root` at what only one of them may see.
    """
    users, groups = identity_map("uid_map"), identity_map("gid_map")
    if not effective_capabilities() >> CAP_SETUID & 1:
        users, groups = f"{os.getuid()} {os.getuid()} 1", f"{os.getgid()} {os.getgid()} 1"
        kernel.unshare(CLONE_NEWUSER | CLONE_NEWNS)
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(users)
            Path("/proc/self/gid_map").write_text(groups)
        except OSError as err:
            raise Unsupported(f"jail: the user namespace's ids could not be mapped: {err.strerror}", fix=OPEN_INSTEAD) from err
    else:
        # all ids can be mapped only from outside: by a child that stays there
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            map_ids(os.getppid(), users, groups, when=reader)
        kernel.unshare(CLONE_NEWUSER | CLONE_NEWNS)
        os.write(writer, b"1")
        if os.waitpid(child, 0)[1] != 0:
            raise Unsupported("jail: the user namespace's ids could not be mapped", fix=OPEN_INSTEAD)
    kernel.mount("none", "/", None, MS_REC | MS_PRIVATE)


def identity_map(name: str) -> str:
    """Every id that we know, as itself."""
    lines = Path("/proc/self", name).read_text().splitlines()
    return "\n".join(f"{first} {first} {count}" for first, _, count in (line.split() for line in lines))


def map_ids(process: int, users: str, groups: str, *, when: int) -> NoReturn:
    """In the child: wait for the word, write the maps, end."""
    try:
        os.read(when, 1)
        Path(f"/proc/{process}/uid_map").write_text(users)
        Path(f"/proc/{process}/gid_map").write_text(groups)
    except OSError:
        os._exit(1)
    os._exit(0)


def harmless_devices(kernel: Kernel) -> None:
    """Replace `/dev`: root can open a disk's node without any capability, and read every file from it."""
    with tempfile.TemporaryDirectory(prefix="dev-") as scratch:
        stage = Path(scratch)
        kernel.mount("tmpfs", stage, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k")
        for name in sorted({*DEVICES, *DEVICE_FOLDERS, *(path.name for path in Path("/dev").glob("nvidia*"))}):
            source, target = Path("/dev", name), stage / name
            if source.exists():
                target.mkdir() if source.is_dir() else target.touch()
                kernel.mount(str(source), target, None, MS_BIND | MS_REC)
        for name, pointed in LINKS.items():
            (stage / name).symlink_to(pointed)
        # its own: rows on their way between Triton and its programs lie in shared memory
        (stage / SHARED_MEMORY).mkdir()
        kernel.mount("tmpfs", stage / SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=1777")
        kernel.mount(str(stage), "/dev", None, MS_MOVE)


def service_sockets() -> Iterator[Path]:
    """Sockets of system services: a container engine or an init system runs commands for whoever is root."""
    for parent, _, names in os.walk("/run"):
        for path in (Path(parent, name) for name in names):
            if path.is_socket() and not path.is_symlink():
                yield path


def enter(jail: Jail) -> None:
    """Put this very process in the jail, for good.

    Raises:
        Invalid: a folder is not there. Unsupported: this machine does not allow it.
    """
    hide, write, read = ([folder.resolve() for folder in folders] for folders in (jail.hide, jail.write, jail.read))
    for folder in (*hide, *write, *read):
        if not folder.is_dir():
            raise Invalid(f"jail: {folder} is not a folder", fix="make it first, or do not name it")
    kernel, here = Kernel(), Path.cwd()
    own_namespaces(kernel)
    harmless_devices(kernel)
    for path in service_sockets():
        kernel.mount("/dev/null", path, None, MS_BIND)
    # shallow first: a deeper folder gets its own mount on top of the one around it
    for folder in sorted({*write, *read}, key=lambda path: len(path.parts)):
        kernel.mount(str(folder), folder, None, MS_BIND | MS_REC)
    # from here on also /proc/sys and /sys: root could name a program there that the kernel runs as root
    kernel.set_readonly("/", readonly=True, recursive=True)
    for folder in (*write, *(Path("/dev", name) for name in (SHARED_MEMORY, *DEVICE_FOLDERS) if Path("/dev", name).is_dir())):
        kernel.set_readonly(folder, readonly=False)
    for folder in hide:
        kernel.mount("tmpfs", folder, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0555,size=4k")
    # our working folder and open files still lead to what lies under the new mounts
    os.chdir(here)
    os.closerange(3, 1 << 16)
    kernel.keep_only(KEPT_CAPABILITIES.values())


def why_impossible() -> PlatformError | None:
    """Try a jail in a child; None when it works here, else the error that `enter` would raise."""
    with tempfile.TemporaryDirectory() as scratch:
        jail = Jail(hide=(Path(scratch),))
        tried = subprocess.run(jail.command(["true"]), capture_output=True, text=True, check=False, env=inherited_environment())
    if tried.returncode == 0:
        return None
    return Unsupported(
        f"steps cannot be kept from the promoter's keys on this machine: {tried.stderr.strip().splitlines()[0]}", fix=OPEN_INSTEAD
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Enter the jail and become the program."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.embedded.jail", description=(__doc__ or "").partition("\n")[0])
    for name in ("--hide", "--write", "--read"):
        parser.add_argument(name, type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("program", nargs="+")
    given = parser.parse_args(arguments)
    program = shutil.which(given.program[0])
    try:
        if program is None:
            raise Invalid(f"jail: there is no program {given.program[0]!r}", fix="give its full path")
        enter(Jail(tuple(given.hide), tuple(given.write), tuple(given.read)))
    except PlatformError as err:
        sys.exit(str(err))
    os.execv(program, given.program)  # noqa: S606


if __name__ == "__main__":
    main()
