"""Code in a step is hostile here: it tries to get at the promoter's keys, as the promoter's own user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tiffin.embedded.identities import make_secrets
from tiffin.embedded.jail import Jail

ATTACKER = Path(__file__).parents[1] / "jail_attacker.py"
NOBODY = 65534
# stands in for the promoter: read its keys from a file, hold them in memory, keep the folder open
PROMOTER = """
import ctypes, os, sys
if len(sys.argv) > 2: os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2])); ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
held = [open(path, "rb").read() for path in sorted(os.path.join(sys.argv[1], name) for name in os.listdir(sys.argv[1]))]
folder = os.open(sys.argv[1], os.O_RDONLY)
print("ready", flush=True)
sys.stdin.read()
"""
# an unprivileged user may not be able to reach this python, so everything is loaded before becoming one
UNPRIVILEGED = """
import os, sys
from pathlib import Path
from tiffin.embedded.jail import Jail, enter
user, attacker, home, free = int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5])
code = compile(Path(attacker).read_text(), attacker, "exec")
import base64, contextlib, ctypes, json, socket, stat, subprocess
if os.getuid() == 0:
    os.setgroups([]); os.setgid(user); os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after an exec: changing the user makes a process undumpable
if sys.argv[6] == "jailed":
    enter(Jail(hide=(home / "secrets",), write=(free,), read=(home,)))
exec(code, {"__name__": "__main__", "__file__": attacker})
"""


@dataclass(frozen=True)
class Scene:
    """A home with real secrets, a process that holds them, and a folder that the attacker may write."""

    home: Path
    free: Path
    promoter: int
    question: str


def needles(folder: Path) -> list[str]:
    identities = {one["name"]: one["credentials"][0] for one in json.loads((folder / "weed.json").read_text())["identities"]}
    signing = json.loads((folder / "signing_key.json").read_text())["private_hex"]
    found = [identities["prod_write"]["secretKey"], identities["prod_write"]["accessKey"], identities["admin"]["secretKey"], signing]
    return [word.encode().hex() for word in found]


def wait_for(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    yield from staged(tmp_path, user=None)


def staged(tmp_path: Path, *, user: int | None) -> Iterator[Scene]:
    home, free = tmp_path / "home", tmp_path / "free"
    home.mkdir()
    free.mkdir()
    folder = make_secrets(home)
    (home / "state.json").write_text("{}")
    (home / "logs").mkdir()
    words = needles(folder)
    if user is not None:
        for path in (home, free, *home.rglob("*")):
            os.chown(path, user, user)
        # pytest's own folders are private, at whatever depth a worker puts them
        for path in (tmp_path, *(parent for parent in tmp_path.parents if parent.name.startswith(("pytest-", "popen-")))):
            path.chmod(path.stat().st_mode | 0o055)
    command = [sys.executable, "-c", PROMOTER, str(folder), *([str(user)] if user is not None else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_for(process)
        question = json.dumps({"home": str(home), "promoter": process.pid, "needles": words, "free": str(free)})
        yield Scene(home, free, process.pid, question)
        process.kill()


def test_hostile_code_in_the_jail_finds_no_key_of_the_promoter(scene: Scene) -> None:
    jail = Jail(hide=(scene.home / "secrets",), write=(scene.free,), read=(scene.home, Path(sys.prefix)))

    done = subprocess.run([str(word) for word in jail.command([sys.executable, ATTACKER, scene.question])], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["found"] == []
    assert result["done"] == []
    for way in ("home", "environ", "cmdline", "others-root", "memory", "deed"):
        assert result["tried"][way] > 0
    assert result["tried"]["deed"] > 40


def test_the_same_code_outside_the_jail_finds_them_in_files_and_in_memory(scene: Scene) -> None:
    done = subprocess.run([sys.executable, "-c", HARMLESS, str(ATTACKER), scene.question], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    ways = {way.partition(" ")[0] for way in json.loads(done.stdout)["found"]}
    assert {"home", "others-root", "memory"} <= ways


# only the looking, none of the deeds: they would work on this machine
HARMLESS = """
import runpy, sys
path = sys.argv.pop(1)
module = runpy.run_path(path)
given = module["json"].loads(sys.argv[1])
attack = module["Attack"](given["home"], given["promoter"], [bytes.fromhex(word) for word in given["needles"]], given["free"])
module["files"](attack)
for chunk in module["memory_of"](given["promoter"]): attack.search("memory", chunk)
print(module["json"].dumps({"found": attack.found}))
"""


def test_an_unprivileged_user_is_jailed_as_well(tmp_path: Path) -> None:
    user = NOBODY if os.getuid() == 0 else os.getuid()
    for scene in staged(tmp_path, user=user):
        command = [sys.executable, "-c", UNPRIVILEGED, scene.question, str(user), str(ATTACKER), str(scene.home), str(scene.free), "jailed"]

        done = subprocess.run(command, cwd=scene.free, capture_output=True, text=True)  # the checkout may be private

        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["found"] == []
        assert result["done"] == []
        assert result["tried"]["deed"] > 40


def test_each_jail_has_shared_memory_of_its_own(scene: Scene) -> None:
    jail = Jail(hide=(), write=(scene.free,), read=(scene.home,))
    code = "import os; print(os.listdir('/dev/shm')); open('/dev/shm/ours', 'w').write('x'); from multiprocessing import Lock; Lock()"
    outside = Path("/dev/shm") / f"planted-{os.getpid()}"
    outside.write_text("rows of somebody else")

    try:
        done = subprocess.run([str(word) for word in jail.command([sys.executable, "-c", code])], capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        assert done.stdout == "[]\n"
        assert not Path("/dev/shm/ours").exists()
    finally:
        outside.unlink()


def test_a_jailed_program_reads_and_writes_where_it_may(scene: Scene) -> None:
    jail = Jail(hide=(scene.home / "secrets",), write=(scene.free,), read=(scene.home,))
    script = (
        f"cat {scene.home}/state.json > {scene.free}/copy && echo made > /dev/shm/jail-test && rm /dev/shm/jail-test"
        f" && ls {scene.home}/secrets && head -c 4 /dev/urandom > /dev/null"
    )

    done = subprocess.run([str(word) for word in jail.command(["sh", "-c", script])], capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (scene.free / "copy").read_text() == "{}"


def test_a_folder_below_a_writable_one_stays_read_only_when_asked(scene: Scene) -> None:
    jail = Jail(write=(scene.home.parent,), read=(scene.home,))

    done = subprocess.run(
        [str(word) for word in jail.command(["sh", "-c", f"touch {scene.free}/a; touch {scene.home}/b"])], capture_output=True, text=True
    )

    assert "Read-only file system" in done.stderr
    assert (scene.free / "a").exists()
    assert not (scene.home / "b").exists()


def test_what_a_jailed_program_starts_is_jailed_and_outlives_it(scene: Scene) -> None:
    jail = Jail(hide=(scene.home / "secrets",), write=(scene.free,))
    grandchild = f"sleep 0.3; ls {scene.home}/secrets | wc -l > {scene.free}/seen"

    subprocess.run([str(word) for word in jail.command(["setsid", "-f", "sh", "-c", grandchild])], check=True)

    end = time.monotonic() + 10
    while not ((scene.free / "seen").exists() and (scene.free / "seen").read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert (scene.free / "seen").read_text().strip() == "0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--hide", "/nowhere/at/all", "--", "true"], "/nowhere/at/all is not a folder", id="no folder"),
        pytest.param(["--", "no-such-program"], "there is no program 'no-such-program'", id="no program"),
    ],
)
def test_a_jail_that_cannot_be_closed_runs_nothing_and_says_why(arguments: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tiffin.embedded.jail", *arguments], capture_output=True, text=True)

    assert done.returncode == 1
    assert message in done.stderr
    assert "fix:" in done.stderr


def test_where_no_jail_can_be_made_the_fix_names_the_switch_that_goes_without(scene: Scene) -> None:
    # inside a jail there is none: a machine that forbids namespaces looks like this
    ask = "from tiffin.embedded.jail import why_impossible; found = why_impossible(); print(found.message, '|', found.fix)"
    jail = Jail(write=(scene.free, Path("/tmp")))

    done = subprocess.run([str(word) for word in jail.command([sys.executable, "-c", ask])], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    message, _, fix = done.stdout.partition("|")
    assert "steps cannot be kept from the promoter's keys on this machine" in message
    assert "TIFFIN_ISOLATION=none" in fix
