"""What hostile code in a step would try, to get at secrets that it must not have; run inside a jail.

    python jail_attacker.py '{"home": ..., "promoter": PID, "needles": [...hex of each secret...], "free": folder}'

Prints one JSON object: `found` (ways that led to a secret), `done` (deeds that must be impossible and
succeeded) and `tried` (how many attempts of each sort were made, so that a test sees that it did try).
Imports only the standard library, and all of it before it starts.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator

LIBC = ctypes.CDLL(None, use_errno=True)
MAX_BYTES = 64 << 20
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206
NEWUSER, NEWNS = 0x10000000, 0x20000
BIND, REC, DETACH = 4096, 16384, 2


class Attack:
    """Keeps the score."""

    def __init__(self, home: str, promoter: int, needles: list[bytes], free: str) -> None:
        self.home, self.promoter, self.free = home, promoter, free
        self.needles = [form for needle in needles for form in (needle, base64.b64encode(needle).rstrip(b"="), needle[::-1])]
        self.found: list[str] = []
        self.done: list[str] = []
        self.tried: dict[str, int] = {}

    def search(self, way: str, data: bytes) -> None:
        """Whether some bytes hold a secret."""
        sort = way.partition(" ")[0]
        self.tried[sort] = self.tried.get(sort, 0) + 1
        if any(needle in data for needle in self.needles):
            self.found.append(way)

    def read(self, way: str, path: str) -> None:
        """Search a file, if it opens."""
        self.tried[way] = self.tried.get(way, 0) + 1
        # never waits: others' descriptors are often pipes
        with contextlib.suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                self.search(f"{way} {path}", file.read(MAX_BYTES))

    def walk(self, way: str, root: str) -> None:
        """Search every file below a folder."""
        self.tried[way] = self.tried.get(way, 0) + 1
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(os.stat(path).st_mode):
                        self.read(way, path)

    def deed(self, name: str, act: Callable[[], object]) -> None:
        """Something that must fail; a non-zero integer and False count as failure too."""
        self.tried["deed"] = self.tried.get("deed", 0) + 1
        try:
            answer = act()
        except OSError:
            return
        if answer is False or (isinstance(answer, int) and not isinstance(answer, bool) and answer != 0):
            return
        self.done.append(name)


def in_child(act: Callable[[], bool]) -> bool:
    """Run in a forked child, since some deeds change the process for good."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = b"0"
        with contextlib.suppress(BaseException):
            code = b"1" if act() else b"0"
        os.write(writer, code)
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as file:
        return file.read(1) == b"1"


def mount(source: str, target: str, kind: str | None, flags: int) -> int:
    return int(LIBC.mount(source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), None))


def writable(path: str) -> bool:
    """Open for writing, and write nothing: where the jail leaks, this machine must not suffer."""
    existed = os.path.exists(path)
    os.close(os.open(path, os.O_WRONLY if existed else os.O_WRONLY | os.O_CREAT))
    if not existed:
        os.unlink(path)
    return True


def memory_of(pid: int) -> Iterator[bytes]:
    """Readable memory of another process."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            first, last = (int(word, 16) for word in span.split("-"))
            if rights.startswith("r") and last - first <= MAX_BYTES:
                with contextlib.suppress(OSError, OverflowError, ValueError):
                    memory.seek(first)
                    yield memory.read(last - first)


def files(attack: Attack) -> None:
    attack.walk("home", attack.home)
    secrets = os.path.join(attack.home, "secrets")
    attack.walk("upward", os.path.join(secrets, "..", "secrets"))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for what in ("environ", "cmdline", "stack", "auxv"):
            attack.read(what, f"/proc/{pid}/{what}")
        for base in ("root", "cwd"):
            attack.walk("others-root", f"/proc/{pid}/{base}{attack.home if base == 'root' else ''}/secrets")
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                attack.read("others-files", f"/proc/{pid}/fd/{number}")
    for folder, _, names in os.walk("/dev"):
        for name in names:
            with contextlib.suppress(OSError):
                if stat.S_ISBLK(os.stat(os.path.join(folder, name)).st_mode):
                    attack.done.append(f"block device {folder}/{name} is visible")
    for path in ("/proc/kcore", "/dev/mem", "/dev/kmem"):
        attack.deed(f"open {path}", lambda path=path: os.close(os.open(path, os.O_RDONLY)))  # type: ignore[misc]


def memory(attack: Attack) -> None:
    pid = attack.promoter
    with contextlib.suppress(OSError):
        for chunk in memory_of(pid):
            attack.search("memory", chunk)
    attack.tried["memory"] = attack.tried.get("memory", 0) + 1
    attack.deed("ptrace attach", lambda: in_child(lambda: LIBC.ptrace(PTRACE_ATTACH, pid, 0, 0) == 0))
    attack.deed("ptrace seize", lambda: in_child(lambda: LIBC.ptrace(PTRACE_SEIZE, pid, 0, 0) == 0))
    attack.deed("open memory", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR)))
    pidfd = LIBC.syscall(434, pid, 0)
    attack.deed("take its files", lambda: any(LIBC.syscall(438, pidfd, number, 0) >= 0 for number in range(3, 30)))
    for kind in ("mnt", "user", "pid"):
        attack.deed(f"enter its {kind} namespace", lambda kind=kind: in_child(lambda: enter(pid, kind)))  # type: ignore[misc]


def enter(pid: int, kind: str) -> bool:
    """setns, then look at what became visible."""
    return bool(LIBC.setns(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), 0) == 0)


def mounts(attack: Attack) -> None:
    secrets, spot = os.path.join(attack.home, "secrets"), os.path.join(attack.free, "spot")
    os.makedirs(spot, exist_ok=True)

    def uncovered() -> bool:
        """Whether the secrets folder, or the copy of home at `spot`, now shows anything."""
        return any(os.path.isdir(path) and os.listdir(path) for path in (secrets, os.path.join(spot, "secrets")))

    def attempts(before: Callable[[], object]) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "umount", lambda: LIBC.umount2(secrets.encode(), 0)
        yield "detach", lambda: LIBC.umount2(secrets.encode(), DETACH)
        yield "bind home", lambda: mount(attack.home, spot, None, BIND)
        yield "bind home with all below", lambda: mount(attack.home, spot, None, BIND | REC)
        yield "bind the root", lambda: mount("/", spot, None, BIND)
        yield "move the cover away", lambda: mount(secrets, spot, None, 8192)
        yield "overlay", lambda: LIBC.mount(b"overlay", spot.encode(), b"overlay", 0, f"lowerdir={attack.home}:{attack.free}".encode())
        yield "new proc", lambda: mount("proc", spot, "proc", 0)
        yield "clone the tree", lambda: clone_tree(attack.home, spot)

    def try_all(prefix: str, before: Callable[[], object]) -> None:
        for name, act in attempts(before):

            def one(act: Callable[[], object] = act) -> bool:
                before()
                act()
                return uncovered()

            attack.deed(f"{prefix}{name}", lambda one=one: in_child(one))  # type: ignore[misc]

    try_all("", lambda: None)
    try_all("in a user namespace: ", lambda: LIBC.unshare(NEWUSER | NEWNS))
    attack.deed("mount a file system", lambda: mount("tmpfs", spot, "tmpfs", 0))
    attack.deed("chroot", lambda: in_child(lambda: LIBC.chroot(attack.free.encode()) == 0))
    attack.deed("pivot", lambda: in_child(lambda: LIBC.pivot_root(attack.free.encode(), attack.free.encode()) == 0))
    attack.deed("make a disk node", lambda: os.mknod(os.path.join(attack.free, "disk"), 0o600 | stat.S_IFBLK, os.makedev(254, 0)))
    attack.deed("make a memory node", lambda: os.mknod(os.path.join(attack.free, "mem"), 0o600 | stat.S_IFCHR, os.makedev(1, 1)))


def clone_tree(source: str, target: str) -> bool:
    """open_tree(OPEN_TREE_CLONE) without what is mounted below, then move_mount."""
    tree = LIBC.syscall(428, -100, source.encode(), 1)
    return bool(tree >= 0 and LIBC.syscall(429, tree, b"", -100, target.encode(), 4) == 0)


def privileges(attack: Attack) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    full = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    attack.deed("take capabilities back", lambda: in_child(lambda: LIBC.capset(header, full) == 0))
    attack.deed("allow new privileges", lambda: LIBC.prctl(38, 0, 0, 0, 0))
    attack.deed("raise an ambient capability", lambda: LIBC.prctl(47, 2, 21, 0, 0))
    probe = [sys.executable, "-c", "print(next(line for line in open('/proc/self/status') if line.startswith('CapEff')))"]
    with contextlib.suppress(OSError):
        held = int(subprocess.run(probe, capture_output=True, text=True, check=False).stdout.split()[1], 16)
        attack.deed("a child with more capabilities", lambda: bool(held & ~0b11011))
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"):
        attack.deed(f"write {path}", lambda path=path: writable(path))  # type: ignore[misc]
    attack.deed("load a module", lambda: LIBC.syscall(313, os.open("/dev/null", os.O_RDONLY), b"", 0))
    here = os.path.dirname(os.path.abspath(__file__))
    for path in (
        f"{attack.home}/state.json",
        f"{attack.home}/logs/x",
        f"{here}/x.py",
        f"{sys.prefix}/x.pth",
        "/etc/cron.d/x",
        "/root/.bashrc",
    ):
        attack.deed(f"write {path}", lambda path=path: writable(path))  # type: ignore[misc]


def services(attack: Attack) -> None:
    for path in ("/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"):

        def call(path: str = path) -> bool:
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(path)
            return True

        attack.deed(f"call {path}", call)


def main() -> None:
    given = json.loads(sys.argv[1])
    attack = Attack(given["home"], given["promoter"], [bytes.fromhex(word) for word in given["needles"]], given["free"])
    for part in (files, memory, mounts, privileges, services):
        part(attack)
    print(json.dumps({"found": attack.found, "done": attack.done, "tried": attack.tried}))


if __name__ == "__main__":
    main()
