"""A container engine without installing one: Debian's packages unpacked, and two small images made here."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tiffin.core.errors import NotReady, Unsupported

__all__ = ["BUSYBOX", "PAUSE", "SOCKET", "ctr", "image", "unpack"]

PACKAGES = ("containerd", "runc", "containernetworking-plugins", "busybox-static")
BUSYBOX, PAUSE = "localhost/busybox:1", "localhost/pause:1"
NSENTER = "/usr/bin/nsenter"
# in the mount namespace of containerd
SOCKET = "/run/containerd/containerd.sock"
FOLDERS = ("bin", "dev", "etc", "proc", "root", "sys", "var")


def unpack(folder: Path) -> None:
    """Fetch and unpack the packages and make the images, in one piece; nothing is installed on the machine.

    Raises:
        Unsupported: no `apt-get`. NotReady: a package cannot be fetched.
    """
    if folder.exists():
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Unsupported("containerd and runc come from Debian's packages, and there is no apt-get here", fix="use `--nodes process`")
    place = Path(tempfile.mkdtemp(prefix="building-containers-", dir=folder.parent))
    place.chmod(0o755)
    packages = place / "packages"
    packages.mkdir()
    run(["apt-get", "download", "--quiet", *PACKAGES], packages)
    for package in sorted(packages.glob("*.deb")):
        run(["dpkg", "-x", str(package), str(place)], packages)
    shutil.rmtree(packages)
    busybox = place / "bin" / "busybox"
    applets = run([str(busybox), "--list"], place).split()
    (place / "busybox.tar").write_bytes(image(BUSYBOX, busybox.read_bytes(), applets, ["sh"]))
    # a sandbox's first process only has to be there
    (place / "pause.tar").write_bytes(image(PAUSE, busybox.read_bytes(), applets, ["sleep", "2147483647"]))
    place.replace(folder)


def run(command: Sequence[str], folder: Path) -> str:
    """Run a program of the machine."""
    done = subprocess.run(list(command), cwd=folder, text=True, capture_output=True, check=False)
    if done.returncode:
        raise NotReady(f"`{' '.join(command)}` failed: {done.stderr.strip()[-800:]}", fix="`apt-get update`, then try again")
    return done.stdout


def image(name: str, busybox: bytes, applets: Sequence[str], command: Sequence[str]) -> bytes:
    """An image of one layer in the form that `ctr images import` reads."""

    def fill(layer: tarfile.TarFile) -> None:
        for one in FOLDERS:
            put(layer, one, None)
        put(layer, "tmp", None, mode=0o1777)
        put(layer, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", mode=0o644)
        put(layer, "bin/busybox", busybox)
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                layer.addfile(link)

    layer = packed(fill)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    about = {
        "architecture": machine,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": list(command)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    index = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    parts = {"layer.tar": layer, "config.json": json.dumps(about).encode(), "manifest.json": json.dumps(index).encode()}

    def gather(whole: tarfile.TarFile) -> None:
        for path, content in parts.items():
            put(whole, path, content, mode=0o644)

    return packed(gather)


def packed(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    """A tar file in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        fill(archive)
    return buffer.getvalue()


def put(archive: tarfile.TarFile, path: str, content: bytes | None, *, mode: int = 0o755) -> None:
    """A file, or a folder when it has no content."""
    entry = tarfile.TarInfo(path)
    entry.mode = mode
    if content is None:
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    else:
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def ctr(engine: Path, pid: int, *arguments: str) -> str:
    """Ask the containerd that has this pid, where it lives: its socket is short there, as a socket's path must be.

    Raises:
        NotReady: it does not answer, or refuses.
    """
    command = [str(engine / "usr/bin/ctr"), "--address", SOCKET, "--namespace", "k8s.io", *arguments]
    done = subprocess.run([NSENTER, "--mount", f"--target={pid}", *command], text=True, capture_output=True, check=False)
    if done.returncode:
        raise NotReady(f"`ctr {' '.join(arguments)}`: {done.stderr.strip()[-400:]}", fix="look into containerd's log")
    return done.stdout
