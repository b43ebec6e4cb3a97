"""The cluster's programs, built once from Go modules and kept in the user's cache.

The result is kept, not the compiler's cache, under a key of everything that could change it. Building
takes about 17 minutes on two cores with nothing cached, 1 minute when Go's own cache is warm; about
550 MB are kept. A build is made beside its place and renamed, and other builders wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.devcluster.containers import unpack
from deploy.devcluster.golang import Go, find_go
from tiffin.core.errors import Invalid, NotReady

__all__ = ["PROGRAMS", "Program", "build", "built"]

HERE = Path(__file__).parent
# part of the key: raise it when a line below changes what comes out
RECIPE = 1


@dataclass(frozen=True, slots=True)
class Program:
    """One binary: its file name, the module folder that pins it, its main package, and how it learns its version."""

    name: str
    module: str
    package: str
    stamp: str = ""


PROGRAMS = (
    *(
        Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", "kubernetes")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    Program("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", "kubernetes"),
    Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    Program("kueue", "kueue", "sigs.k8s.io/kueue/cmd/kueue", "kueue"),
    # under this name kubectl finds it as `kubectl kueue`
    Program("kubectl-kueue", "kueue", "sigs.k8s.io/kueue/cmd/kueuectl", "kueue"),
)
# only a node with real containers needs it, so only then it is built
KUBELET = Program("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet", "kubernetes")


def pinned(module: str, dependency: str) -> str:
    """The version that a module folder requires of a dependency, such as "v1.36.2"."""
    found = re.search(rf"^(?:require)?\s+{re.escape(dependency)} (v\S+)$", (HERE / module / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise Invalid(f"{module}/go.mod requires no {dependency}", fix="add the line: the build reads the version there")
    return found[1]


def linker_flags(stamp: str) -> str:
    """What is written into a binary: no debug tables, and the version it reports (a program without one is taken for v0.0.0)."""
    if stamp == "kubernetes":
        version = pinned("kubernetes", "k8s.io/kubernetes")
        major, minor = version.removeprefix("v").split(".")[:2]
        fields = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in fields.items())])
    if stamp == "kueue":
        return f"-s -w -X sigs.k8s.io/kueue/pkg/version.GitVersion={pinned('kueue', 'sigs.k8s.io/kueue')}"
    return "-s -w"


def build_key(go_version: str) -> str:
    """A name for what this recipe, these pins and this compiler build."""
    digest = hashlib.sha256(f"{RECIPE} {go_version} {os.uname().machine}".encode())
    for module in ("kubernetes", "kueue"):
        for name in ("go.mod", "go.sum"):
            digest.update((HERE / module / name).read_bytes())
    return f"{pinned('kubernetes', 'k8s.io/kubernetes')}-kueue-{pinned('kueue', 'sigs.k8s.io/kueue')}-{digest.hexdigest()[:12]}"


def build(cache: Path, *, kubelet: bool = False, say: Callable[[str], None]) -> Path:
    """The folder with the programs and `kueue.yaml`, filled first if need be.

    Args:
        cache: the user's cache folder (`Settings.cache`).
        kubelet: also what only a node with real containers needs.
    """
    home = cache / "devcluster"
    home.mkdir(parents=True, exist_ok=True)
    try:
        folder = built(cache)
    except NotReady:
        folder = None  # the usual reason to be here
    if folder is not None and not (kubelet and lacks_containers(folder)):
        return folder
    go = find_go(home, say=say)
    with one_builder(home, say):
        if folder is None:
            folder = home / build_key(go.version)
            if not (folder / "built.json").exists():
                fill(folder, go, say)
        if kubelet and lacks_containers(folder):
            compile_one(go, KUBELET, folder, say)
            unpack(folder / "containers")
    return folder


def lacks_containers(folder: Path) -> bool:
    """Whether what only a node with real containers needs is missing."""
    return not ((folder / KUBELET.name).exists() and (folder / "containers").exists())


def built(cache: Path) -> Path:
    """The newest folder that was filled for the pins of this checkout, without asking for a compiler.

    Raises:
        NotReady: nothing was built yet.
    """
    prefix = f"{pinned('kubernetes', 'k8s.io/kubernetes')}-kueue-{pinned('kueue', 'sigs.k8s.io/kueue')}-"
    found = []
    for record in (cache / "devcluster").glob(f"{prefix}*/built.json"):
        if build_key(json.loads(record.read_text())["go"]) == record.parent.name:
            found.append(record)
    if not found:
        raise NotReady(
            f"the cluster's programs are not in {cache / 'devcluster'}",
            fix="run `python -m deploy.devcluster build` (about 17 minutes on two cores, once)",
        )
    return max(found, key=lambda record: record.stat().st_mtime).parent


@contextmanager
def one_builder(home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let one builder of this cache work at a time."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("somebody else is building: waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fill(folder: Path, go: Go, say: Callable[[str], None]) -> None:
    """Build everything beside the folder, then give it its name."""
    started = time.monotonic()
    # a builder that was killed leaves its half behind; we hold the lock, so nobody works in them
    for old in folder.parent.glob("building-*"):
        shutil.rmtree(old)
    say(f"building {len(PROGRAMS)} programs with Go {go.version} into {folder} (about 17 minutes on two cores; 1 when Go's cache is warm)")
    place = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    for program in PROGRAMS:
        compile_one(go, program, place, say)
    (place / "kueue.yaml").write_text(kueue_manifests(go, place))
    seconds = round(time.monotonic() - started)
    (place / "built.json").write_text(json.dumps({"go": go.version, "seconds": seconds}) + "\n")
    place.chmod(0o755)
    place.replace(folder)
    say(f"filled in {seconds} s")


def compile_one(go: Go, program: Program, folder: Path, say: Callable[[str], None]) -> None:
    """Build one program into a folder."""
    started = time.monotonic()
    part = folder / f".{program.name}.part"
    go.run("build", "-trimpath", "-ldflags", linker_flags(program.stamp), "-o", str(part), program.package, cwd=HERE / program.module)
    part.replace(folder / program.name)
    say(f"  {program.name}: {time.monotonic() - started:.0f} s")


def kueue_manifests(go: Go, programs: Path) -> str:
    """Kueue's own installation, rendered once, so that a start needs neither Go nor the module cache."""
    source = go.run("list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kueue", cwd=HERE / "kueue").strip()
    done = subprocess.run([programs / "kubectl", "kustomize", f"{source}/config/default"], text=True, capture_output=True, check=False)
    if done.returncode:
        raise NotReady(
            f"Kueue's manifests in {source} do not render: {done.stderr.strip()[-600:]}", fix="clean Go's module cache and build again"
        )
    return done.stdout
