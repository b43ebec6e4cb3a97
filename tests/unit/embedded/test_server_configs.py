from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from tiffin.embedded.jail import KEPT_CAPABILITIES, Jail
from tiffin.embedded.seaweed import PORTS, command, identities, new_keys, seaweed_keys
from tiffin.embedded.seaweed_security import write_security
from tiffin.embedded.sigv4 import KeyPair, signed_headers
from tiffin.embedded.valkey import USERS, config_text, valkey_passwords

NUMBERS = {name: 20_000 + number for number, name in enumerate(PORTS)}


def test_valkeys_configuration_holds_hashes_and_no_password(tmp_path: Path) -> None:
    passwords = valkey_passwords(tmp_path)

    text = config_text(port=20_001, folder=tmp_path, passwords=passwords)

    assert not any(word in text for word in passwords.values())
    assert all(f"user {name} on #{hashlib.sha256(passwords[name].encode()).hexdigest()}" in text for name in USERS)
    assert "user default off" in text
    assert "bind 127.0.0.1\n" in text
    assert "maxmemory-policy noeviction" in text


def test_passwords_and_keys_are_made_once(tmp_path: Path) -> None:
    assert valkey_passwords(tmp_path) == valkey_passwords(tmp_path)
    assert seaweed_keys(tmp_path) == seaweed_keys(tmp_path)


def test_the_dev_identity_may_do_nothing_in_prod() -> None:
    document = identities({name: new_keys() for name in ("dev", "prod_write", "prod_read", "admin")})
    actions = {one["name"]: one["actions"] for one in document["identities"]}  # type: ignore[attr-defined]

    assert all(action.endswith(":dev") for action in actions["dev"])
    assert set(actions["prod_read"]) == {"Read:prod", "List:prod"}
    assert {action for action in actions["prod_write"] if not action.endswith(":prod")} == {"Read:dev", "List:dev"}


def test_seaweeds_command_line_holds_no_secret_and_listens_on_this_machine_alone(tmp_path: Path) -> None:
    seaweed_keys(tmp_path)
    words = [str(word) for word in command(NUMBERS, data=tmp_path, config=tmp_path / "weed.json")]

    secrets = [one["credentials"][0]["secretKey"] for one in json.loads((tmp_path / "weed.json").read_text())["identities"]]
    assert not any(secret in word for secret in secrets for word in words)
    assert "-ip.bind=127.0.0.1" in words
    assert "-disableHttp" in words
    assert "-s3.port.lance=0" in words
    assert all(any(f"={number}" in word for word in words) for number in NUMBERS.values())


def test_seaweeds_servers_demand_certificates_and_tokens_of_each_other(tmp_path: Path) -> None:
    found = tomllib.loads(write_security(tmp_path).read_text())

    assert all(found["grpc"][name]["cert"] == str(tmp_path / "weed.crt") for name in ("master", "volume", "filer", "s3", "client"))
    assert found["grpc"]["ca"] == str(tmp_path / "weed.crt")
    tokens = [found["jwt"]["signing"]["key"], found["jwt"]["signing"]["read"]["key"]]
    tokens += [found["jwt"]["filer_signing"]["key"], found["jwt"]["filer_signing"]["read"]["key"]]
    assert len(set(tokens)) == 4
    assert all(len(token) > 40 for token in tokens)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_a_signed_request_is_the_one_that_botocore_makes() -> None:
    # the keys of AWS' own examples; the signature is what botocore 1.44 gives for this request
    keys = KeyPair("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    now = datetime(2013, 5, 24, tzinfo=UTC)

    headers = signed_headers("GET", "/test file.txt", b"", host="examplebucket.s3.amazonaws.com", keys=keys, region="us-east-1", now=now)

    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"").hexdigest()
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=1842874afec513180fe92fa998591c6bf71567f576c8b5332e8db0e6db251d1c"
    )


def test_a_key_pair_does_not_print_its_secret() -> None:
    assert "hush" not in repr(KeyPair("who", "hush"))


def test_a_jail_names_its_folders_before_the_program() -> None:
    words = [str(word) for word in Jail(hide=(Path("/a"),), write=(Path("/b"),), read=(Path("/c"),)).command(["prog", "--flag"])]

    assert words[1:] == ["-m", "tiffin.embedded.jail", "--hide", "/a", "--write", "/b", "--read", "/c", "--", "prog", "--flag"]


def test_a_jail_keeps_no_capability_that_leads_out() -> None:
    leads_out = {2, 6, 7, 8, 14, 16, 17, 18, 19, 20, 21, 22, 27, 31, 33, 34, 37, 38, 39, 40}

    assert not leads_out & set(KEPT_CAPABILITIES.values())
