"""A signature says: this very manifest, of this very kind, by this very key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Corrupt, Denied, Invalid, NotFound
from tiffin.manifests.signing import Signer, Verifier, generate_key, read_key, write_key

SIGNER = Signer("11" * 32)
VERIFIER = Verifier(SIGNER.public_hex)
DIGEST = "ab" * 32


def test_a_signature_is_accepted_under_the_public_key() -> None:
    VERIFIER.check("deployment", DIGEST, SIGNER.sign("deployment", DIGEST), name="deployment 'eta/eta'")


def test_the_signed_message_is_a_stored_format_that_stays() -> None:
    found = SIGNER.sign("deployment", DIGEST).hex()

    assert found == (
        "8825642af30012275fefe0a96a18756e58cf4439c80192f8cf2b143bb71dfb989e48238b610c6a177047b0334d8f04afc6ed113542cc9d555139c5147ffd060b"
    )


def test_a_signature_for_another_kind_is_refused_by_name() -> None:
    with pytest.raises(Corrupt, match="deployment 'eta/eta'"):
        VERIFIER.check("deployment", DIGEST, SIGNER.sign("model", DIGEST), name="deployment 'eta/eta'")


def test_a_signature_of_the_bare_digest_is_refused() -> None:
    bare = SIGNER.key.sign(DIGEST.encode())

    with pytest.raises(Corrupt):
        VERIFIER.check("model", DIGEST, bare, name="model 'eta/eta'")


def test_a_signature_by_another_key_is_refused_with_the_setting_to_look_at() -> None:
    stranger = generate_key()

    with pytest.raises(Corrupt, match="TIFFIN_SIGNING_PUBLIC_KEY"):
        VERIFIER.check("model", DIGEST, stranger.sign("model", DIGEST), name="model 'eta/eta'")


@given(position=st.integers(0, 63), bit=st.integers(0, 7))
def test_a_signature_with_any_flipped_bit_is_refused(position: int, bit: int) -> None:
    signature = bytearray(SIGNER.sign("model", DIGEST))
    signature[position] ^= 1 << bit

    with pytest.raises(Corrupt):
        VERIFIER.check("model", DIGEST, bytes(signature), name="model 'eta/eta'")


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\0" * 65], ids=["empty", "zeros", "too long"])
def test_bytes_that_are_no_signature_are_refused(signature: bytes) -> None:
    with pytest.raises(Corrupt):
        VERIFIER.check("model", DIGEST, signature, name="model 'eta/eta'")


def test_signing_twice_gives_equal_bytes() -> None:
    assert SIGNER.sign("view", DIGEST) == SIGNER.sign("view", DIGEST)


def test_a_key_file_is_for_its_owner_only_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "signing_key.json"
    signer = generate_key()

    write_key(path, signer)

    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path).public_hex == signer.public_hex


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "signing_key.json"
    write_key(path, SIGNER)

    with pytest.raises(Denied, match="exists already"):
        write_key(path, generate_key())
    assert read_key(path).public_hex == SIGNER.public_hex


def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "signing_key.json"
    write_key(path, SIGNER)
    path.chmod(0o640)

    with pytest.raises(Denied, match="0640") as caught:
        read_key(path)
    assert caught.value.fix == f"chmod 600 {path}"


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"signing_key\.json"):
        read_key(tmp_path / "signing_key.json")


def test_a_damaged_key_file_does_not_show_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "signing_key.json"
    path.write_text('{"private_hex": "c0ffee-canary", "x": 1}')
    path.chmod(0o600)

    with pytest.raises(Invalid) as caught:
        read_key(path)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["zz" * 32, "11" * 31, ""], ids=["not hex", "too short", "empty"])
def test_a_wrong_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        Signer(text)
    assert not text or text not in str(caught.value)
    with pytest.raises(Invalid, match="TIFFIN_SIGNING_PUBLIC_KEY"):
        Verifier(text)


def test_a_signer_does_not_print_its_key() -> None:
    assert "11" * 32 not in f"{SIGNER!r} {vars(SIGNER)}"
