"""The folder that Triton loads from holds what was verified and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.serving_case import make_case
from tiffin.core.errors import Corrupt, Denied, Invalid
from tiffin.manifests.records import DeploymentRecord
from tiffin.serving.repository import RepositoryFolder, edition_names


@pytest.fixture(scope="module")
def bundle() -> tuple[DeploymentRecord, dict[str, bytes]]:
    rendered = make_case().render()
    return rendered.record, {file.path: rendered.blobs[file.digest] for file in rendered.record.files}


@pytest.fixture
def folder(tmp_path: Path) -> RepositoryFolder:
    return RepositoryFolder(tmp_path / "repository")


Bundle = tuple[DeploymentRecord, dict[str, bytes]]


def test_an_edition_is_written_with_a_folder_per_model(folder: RepositoryFolder, bundle: Bundle) -> None:
    record, files = bundle
    folder.write(record, files)

    assert folder.names() == edition_names(record)
    assert all((folder.root / path).read_bytes() == data for path, data in files.items())


def test_writing_it_again_touches_nothing(folder: RepositoryFolder, bundle: Bundle) -> None:
    record, files = bundle
    folder.write(record, files)
    before = {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")}

    folder.write(record, files)

    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")} == before


@pytest.mark.parametrize("planted", ["1/extra.pkl", "1/tiffin/wire/extra.py", "2/model.py"])
def test_a_file_that_nobody_signed_does_not_stay(folder: RepositoryFolder, bundle: Bundle, planted: str) -> None:
    record, files = bundle
    folder.write(record, files)
    path = folder.root / record.steps[0] / planted
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"planted")

    folder.write(record, files)

    assert not path.exists()


def test_a_changed_file_is_put_right(folder: RepositoryFolder, bundle: Bundle) -> None:
    record, files = bundle
    folder.write(record, files)
    path = folder.root / record.steps[1] / "1" / "step.json"
    path.write_bytes(b"{}")

    folder.write(record, files)

    assert path.read_bytes() == files[f"{record.steps[1]}/1/step.json"]


def test_python_cannot_leave_bytecode_beside_a_step(folder: RepositoryFolder, bundle: Bundle) -> None:
    record, files = bundle
    folder.write(record, files)

    assert all((folder.root / step / "1" / "__pycache__").is_file() for step in record.steps)
    assert all(b"sys.dont_write_bytecode = True" in files[f"{step}/1/model.py"] for step in record.steps)


@pytest.mark.parametrize(
    ("path", "data", "kind", "message"),
    [
        pytest.param("1/model.pkl", b"\x80\x04K\x01.", Denied, "model.pkl", id="pickle by name"),
        pytest.param("1/__pycache__/model.cpython-311.pyc", b"", Corrupt, "compiled code", id="bytecode"),
        pytest.param("1/../../../escape.py", b"", Invalid, "could leave its folder", id="climbing path"),
    ],
)
def test_files_that_do_not_belong_in_a_step_are_refused(
    folder: RepositoryFolder, bundle: Bundle, path: str, data: bytes, kind: type[Exception], message: str
) -> None:
    record, files = bundle

    with pytest.raises(kind, match=message):
        folder.write(record, {**files, f"{record.steps[0]}/{path}": data})

    assert folder.names() == set()


def test_a_missing_model_py_is_refused_because_triton_would_hang_on_it(folder: RepositoryFolder, bundle: Bundle) -> None:
    record, files = bundle
    fewer = {path: data for path, data in files.items() if path != f"{record.steps[2]}/1/model.py"}

    with pytest.raises(Corrupt, match=r"lacks config\.pbtxt or model\.py"):
        folder.write(record, fewer)


@pytest.mark.parametrize(
    ("changes", "files", "message"),
    [
        pytest.param({}, {"eta/config.pbtxt": b""}, "disagree about 'eta'", id="a public name among the files"),
        pytest.param({"ensemble": "eta"}, {}, "disagree about", id="a public name as ensemble"),
    ],
)
def test_a_bundle_cannot_take_a_public_name(
    folder: RepositoryFolder, bundle: Bundle, changes: dict[str, str], files: dict[str, bytes], message: str
) -> None:
    record, all_files = bundle

    with pytest.raises(Corrupt, match=message):
        folder.write(record.model_copy(update=changes), {**all_files, **files})


def test_the_public_name_is_the_checked_ensemble_under_another_name(folder: RepositoryFolder, bundle: Bundle) -> None:
    record, files = bundle
    folder.write(record, files)

    folder.give_name(record)

    lines = (folder.root / "eta" / "config.pbtxt").read_text().splitlines()
    assert lines[0] == 'name: "eta"'
    assert lines[1:] == files[f"{record.ensemble}/config.pbtxt"].decode().splitlines()[1:]


def test_the_surroundings_are_private_and_known_when_they_change(folder: RepositoryFolder) -> None:
    assert folder.write_runtime(online_url="redis://reader:secret@127.0.0.1:1/0", as_of_us=7)
    assert not folder.write_runtime(online_url="redis://reader:secret@127.0.0.1:1/0", as_of_us=7)
    assert folder.write_runtime(online_url="redis://reader:secret@127.0.0.1:2/0", as_of_us=7)

    path = folder.root / "runtime.json"
    assert json.loads(path.read_bytes()) == {"online_url": "redis://reader:secret@127.0.0.1:2/0", "as_of_us": 7}
    assert path.stat().st_mode & 0o777 == 0o600
