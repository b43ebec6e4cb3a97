from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tiffin.core.errors import Denied, Invalid
from tiffin.embedded.secret_files import make_private, new_password, read_private_json, write_private


def test_a_private_file_is_readable_by_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = write_private(tmp_path / "key", b"secret")
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"secret"


def test_replacing_a_private_file_leaves_no_scratch_file_and_narrows_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)

    write_private(path, "new")

    assert [one.name for one in tmp_path.iterdir()] == ["key"]
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


def test_a_private_folder_may_be_entered_by_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o755)

    assert stat.S_IMODE(make_private(tmp_path / "secrets").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_open_is_refused_with_the_command_that_closes_it(tmp_path: Path, mode: int) -> None:
    path = write_private(tmp_path / "state.json", "{}")
    path.chmod(mode)

    with pytest.raises(Denied, match="is open to others: mode") as caught:
        read_private_json(path, what="state file", mend="mend it")

    assert caught.value.fix == f"chmod 600 {path}"


def test_a_file_that_is_not_json_is_refused_with_its_mend(tmp_path: Path) -> None:
    path = write_private(tmp_path / "state.json", '{"format": "tiff')

    with pytest.raises(Invalid, match="is damaged") as caught:
        read_private_json(path, what="state file", mend="mend it")

    assert caught.value.fix == "mend it"


def test_passwords_differ_and_are_safe_in_urls() -> None:
    passwords = {new_password() for _ in range(50)}

    assert len(passwords) == 50
    assert all(set(word) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") for word in passwords)
