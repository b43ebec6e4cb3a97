"""The folder that Triton loads from. Only the agent writes there, and only what it verified."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tiffin.core.errors import Corrupt
from tiffin.manifests.records import DeploymentRecord
from tiffin.registry.pickles import refuse_pickle
from tiffin.registry.references import check_path
from tiffin.serving.config_text import renamed
from tiffin.serving.steps.features import RUNTIME_FILE

__all__ = ["RepositoryFolder", "edition_names"]

MARK = "--"
# Python would write model.py's bytecode here before model.py can forbid it, and Triton would take that for
# a changed model; an empty file in the folder's place keeps it from doing so
BYTECODE_FOLDER = "1/__pycache__"


def edition_names(record: DeploymentRecord) -> set[str]:
    """Every model of one edition: its steps and both ensembles."""
    return {record.ensemble, record.golden_ensemble, *record.steps}


class RepositoryFolder:
    """One subfolder per model.

    Content-hashed names hold `--`; a name without it is public and is written by `give_name` alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)

    def write(self, record: DeploymentRecord, files: Mapping[str, bytes]) -> None:
        """Bring an edition's folders to exactly these bytes; a folder that has them is not touched.

        Args:
            files: verified, by path relative to the root.

        Raises:
            Corrupt: the record's files are not those of its steps and ensembles.
            Denied: a file could be a pickle.
        """
        of = f"deployment '{record.team}/{record.name}'"
        folders: dict[str, dict[str, bytes]] = {}
        for path, data in files.items():
            check_path(path, of=of)
            if "__pycache__" in path or path.endswith((".pyc", ".so")):
                raise Corrupt(f"{of}: file {path!r} is compiled code, which no digest of a source explains", fix="materialise it again")
            refuse_pickle(path, data, name=f"file {path!r} of {of}")
            model, _, inside = path.partition("/")
            folders.setdefault(model, {})[inside] = data
        check_shape(record, folders, of=of)
        for model, content in folders.items():
            if model in record.steps:
                content[BYTECODE_FOLDER] = b""
            if read_tree(self.root / model) != content:
                self.replace(model, content)

    def replace(self, model: str, content: Mapping[str, bytes]) -> None:
        """Put a whole folder in place by renaming: Triton never sees half of one."""
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self.root.parent) as workshop:
            fresh = Path(workshop) / "fresh"
            for inside, data in content.items():
                target = fresh / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            if (self.root / model).exists():
                os.rename(self.root / model, Path(workshop) / "old")
            os.rename(fresh, self.root / model)

    def give_name(self, record: DeploymentRecord) -> None:
        """Make the public name mean this edition, from Triton's next load of it on."""
        config = (self.root / record.ensemble / "config.pbtxt").read_text()
        content = read_tree(self.root / record.ensemble)
        content["config.pbtxt"] = renamed(config, record.name).encode()
        if read_tree(self.root / record.name) != content:
            self.replace(record.name, content)

    def touch(self, step: str) -> None:
        """Make Triton see a change: it does not load an unchanged model again, not even a dead one."""
        os.utime(self.root / step / "1" / "model.py")

    def is_step(self, name: str) -> bool:
        """Whether a model is a program; the others are ensembles."""
        return (self.root / name / "1" / "model.py").is_file()

    def names(self) -> set[str]:
        """Models that have a folder."""
        return {folder.name for folder in self.root.iterdir() if folder.is_dir()}

    def remove(self, names: Iterable[str]) -> None:
        """Delete folders; missing ones are no error."""
        for name in names:
            shutil.rmtree(self.root / name, ignore_errors=True)

    def write_runtime(self, *, online_url: str | None, as_of_us: int | None) -> bool:
        """What the features step needs to know of this place, readable by its owner only.

        Returns:
            Whether it changed: a running features step must then be loaded again.
        """
        path = self.root / RUNTIME_FILE
        body = json.dumps({"online_url": online_url, "as_of_us": as_of_us}).encode()
        if path.is_file() and path.read_bytes() == body:
            return False
        handle, temporary = tempfile.mkstemp(dir=self.root.parent)  # mkstemp makes it 0600
        with os.fdopen(handle, "wb") as file:
            file.write(body)
        os.rename(temporary, path)
        return True


def check_shape(record: DeploymentRecord, folders: Mapping[str, Mapping[str, bytes]], *, of: str) -> None:
    """Refuse what Triton would hang on, and names that could shadow somebody else's."""
    expected = edition_names(record)
    if set(folders) != expected:
        odd = sorted(set(folders) ^ expected)[0]
        raise Corrupt(f"{of}: its files and its steps disagree about {odd!r}", fix="materialise the deployment again")
    for model in expected:
        if MARK not in model:
            raise Corrupt(f"{of}: model {model!r} has no content hash in its name", fix="materialise the deployment again")
        if "config.pbtxt" not in folders[model] or (model in record.steps and "1/model.py" not in folders[model]):
            raise Corrupt(f"{of}: model {model!r} lacks config.pbtxt or model.py", fix="materialise the deployment again")


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by path; empty when there is none."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
