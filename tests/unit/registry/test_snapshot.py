"""A code snapshot: the same files give the same bytes, and it says nothing about where we are."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.object_store_fake import MemoryStore
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Denied, Invalid, NotFound
from tiffin.registry import snapshot as module
from tiffin.registry.snapshot import archive, snapshot
from tiffin.storage.layout import blob_key

FILES = {"__init__.py": "", "model.py": "import numpy\n", "sql/view.sql": "select 1"}


def make_package(top: Path, files: dict[str, str] = FILES) -> Path:
    """`top/assets/eta` as a package below a package."""
    folder = top / "assets" / "eta"
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (top / "assets" / "__init__.py").write_text("")
    return folder


def make_library(top: Path) -> Path:
    folder = top / "library"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "core.py").write_text("x = 1\n")
    return folder


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]  # all are files


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True, env=clean).stdout.strip()


def test_a_snapshot_holds_every_file_of_the_package_under_its_import_path(tmp_path: Path) -> None:
    found = snapshot(make_package(tmp_path))

    assert members(found.archive) == {f"assets/eta/{path}": text.encode() for path, text in FILES.items()}
    assert found.code.package == "assets.eta"


def test_the_record_describes_the_archive(tmp_path: Path) -> None:
    found = snapshot(make_package(tmp_path))

    assert found.code.archive.digest == digest_bytes(found.archive)
    assert found.code.archive.size_bytes == len(found.archive)
    assert found.code.archive.path == "assets.eta.tar.gz"


def test_equal_files_give_equal_bytes_whatever_their_times_modes_and_place(tmp_path: Path) -> None:
    one, two = make_package(tmp_path / "one"), make_package(tmp_path / "two", dict(reversed(FILES.items())))
    os.utime(two / "model.py", (1, 1))
    (two / "model.py").chmod(0o700)

    assert snapshot(one).archive == snapshot(two).archive


def test_caches_and_hidden_files_stay_out(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    before = snapshot(folder).archive
    for path in ("__pycache__/model.cpython-311.pyc", "stale.pyc", ".env", ".venv/lib/x.py", "sql/.secret"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("canary")

    assert snapshot(folder).archive == before


def test_a_changed_file_gives_another_digest(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    before = snapshot(folder).code.archive.digest

    (folder / "model.py").write_text("import numpy as np\n")

    assert snapshot(folder).code.archive.digest != before


def test_the_archive_says_nothing_about_who_and_when(tmp_path: Path) -> None:
    data = snapshot(make_package(tmp_path)).archive

    assert data[4:8] == b"\0\0\0\0", "gzip time"
    assert not data[3], "gzip flags: no file name, no comment"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {(e.mtime, e.uid, e.gid, e.uname, e.gname, e.mode) for e in tar} == {(0, 0, 0, "", "", 0o644)}
    assert str(tmp_path).encode() not in gzip.decompress(data)


@given(files=st.dictionaries(st.from_regex(r"[a-z]{1,8}\.py", fullmatch=True), st.binary(max_size=50), max_size=6), seed=st.randoms())
def test_the_order_in_which_files_are_found_does_not_matter(files: dict[str, bytes], seed: object) -> None:
    shuffled = list(files.items())
    seed.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random

    assert archive(files, folder="p") == archive(dict(shuffled), folder="p")
    assert members(archive(files, folder="p")) == {f"p/{path}": data for path, data in files.items()}


@pytest.mark.parametrize("name", ["weights.pkl", "weights.joblib"])
def test_a_package_with_a_pickle_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = make_package(tmp_path)
    (folder / name).write_bytes(b"anything")

    with pytest.raises(Denied, match=f"file '{name}' of package 'assets.eta'"):
        snapshot(folder)


def test_a_package_with_a_pickle_under_an_innocent_name_is_refused(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    (folder / "lookup.dat").write_bytes(b"\x80\x04\x95\x05\0\0\0\0\0\0\0N.")

    with pytest.raises(Denied, match=r"lookup\.dat"):
        snapshot(folder)


@pytest.mark.parametrize("target", ["/etc/passwd", "model.py", "nowhere"])
def test_a_symbolic_link_is_refused_because_its_target_is_not_part_of_the_package(tmp_path: Path, target: str) -> None:
    folder = make_package(tmp_path)
    (folder / "link.py").symlink_to(target)

    with pytest.raises(Invalid, match=r"symbolic link, 'link\.py'"):
        snapshot(folder)


def test_a_package_full_of_data_is_refused_with_the_largest_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ARCHIVE_BYTES", 1000)
    folder = make_package(tmp_path)
    (folder / "flights.csv").write_text("x" * 2000)

    with pytest.raises(Invalid, match=r"the largest is 'flights\.csv'"):
        snapshot(folder)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        snapshot(tmp_path / "nowhere")


def test_the_library_is_known_by_version_and_by_its_python_sources(tmp_path: Path) -> None:
    package, library = make_package(tmp_path), make_library(tmp_path)
    first = snapshot(package, library_dir=library).code
    (library / "__pycache__").mkdir()
    (library / "__pycache__" / "core.pyc").write_text("cache")
    (library / "notes.md").write_text("not code")
    same = snapshot(package, library_dir=library).code
    (library / "core.py").write_text("x = 2\n")
    other = snapshot(package, library_dir=library).code

    assert first.library_version == "0.1.0"
    assert first.library_digest == same.library_digest != other.library_digest


def test_without_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    code = snapshot(make_package(tmp_path)).code

    assert (code.git_commit, code.git_dirty) == (None, None)


def test_a_committed_package_names_its_commit_and_is_clean(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://canary.example/secret.git")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")

    code = snapshot(folder).code

    assert (code.git_commit, code.git_dirty) == (git(tmp_path, "rev-parse", "HEAD"), False)
    assert b"canary" not in code.to_bytes()


@pytest.mark.parametrize("path", ["model.py", "new.py"])
def test_a_package_that_differs_from_its_commit_is_dirty(tmp_path: Path, path: str) -> None:
    folder = make_package(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    (folder / path).write_text("changed")

    assert snapshot(folder).code.git_dirty is True


def test_a_change_elsewhere_in_the_repository_does_not_make_the_package_dirty(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "notes.txt").write_text("elsewhere")

    assert snapshot(folder).code.git_dirty is False


def test_a_package_that_the_repository_around_it_does_not_track_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / "readme").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "readme")
    git(tmp_path, "commit", "-qm", "one")

    code = snapshot(make_package(tmp_path / "site-packages")).code

    assert (code.git_commit, code.git_dirty) == (None, None)


def test_a_package_before_the_first_commit_has_no_commit(tmp_path: Path) -> None:
    folder = make_package(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")

    assert snapshot(folder).code.git_commit is None


def test_the_callers_git_variables_play_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_package(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")

    assert snapshot(folder).code.git_commit is not None


def test_saving_a_snapshot_stores_the_archive_under_its_digest(tmp_path: Path) -> None:
    dev = MemoryStore()
    found = snapshot(make_package(tmp_path))

    code = found.save(dev)

    assert dev.objects == {blob_key(code.archive.digest): found.archive}
