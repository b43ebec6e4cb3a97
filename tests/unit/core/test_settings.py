"""Settings: read once, misspellings refused, secrets never shown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from tiffin.core.clock import wall_clock
from tiffin.core.errors import Invalid
from tiffin.core.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})

    assert (settings.home, settings.dev_bucket, settings.prod_bucket) == (Path(".tiffin"), "dev", "prod")


def test_only_variables_with_the_prefix_are_read() -> None:
    settings = Settings.from_environment({"TIFFIN_DEV_BUCKET": "mine", "DEV_BUCKET": "other", "PATH": "/bin"})

    assert settings.dev_bucket == "mine"


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_PROD_BUCKET", "live")

    assert Settings.from_environment().prod_bucket == "live"


def test_a_misspelt_variable_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(Invalid, match="TIFFIN_S3_ENDPIONT") as caught:
        Settings.from_environment({"TIFFIN_S3_ENDPIONT": "http://x"})
    assert "'s3_endpoint'" in caught.value.fix


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().dev_bucket = "other"  # type: ignore[misc]  # the mistake under test


def test_a_setting_that_is_needed_and_missing_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(Invalid, match="TIFFIN_S3_ENDPOINT is not set") as caught:
        Settings().need("s3_endpoint")
    assert "tiffin up" in caught.value.fix


def test_a_needed_secret_is_given_as_text() -> None:
    assert Settings(dev_secret_key=SecretStr("s3cret")).need("dev_secret_key") == "s3cret"


SECRETS = {"dev_secret_key", "prod_read_secret_key", "online_url"}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_is_not_shown(name: str) -> None:
    settings = Settings.from_environment({f"TIFFIN_{name.upper()}": "canary"})

    for shown in (repr(settings), str(settings), f"{settings.model_dump()}", settings.model_dump_json()):
        assert "canary" not in shown


def test_a_child_process_gets_the_same_settings() -> None:
    settings = Settings(home=Path("/x"), as_of="2013-12-31", dev_secret_key=SecretStr("s3cret"), triton_grpc="h:1")

    assert Settings.from_environment(settings.to_environment()) == settings


def test_every_setting_survives_the_way_to_a_child_process() -> None:
    numbers = dict.fromkeys(("TIFFIN_ATTEMPT", "TIFFIN_GANG_RANK", "TIFFIN_GANG_SIZE"), "3")
    given = {f"TIFFIN_{name.upper()}": "2013-12-31" for name in Settings.model_fields} | numbers

    assert Settings.from_environment(given).to_environment() == given


def test_without_a_replay_the_clock_is_the_wall() -> None:
    assert Settings().clock is wall_clock
    assert Settings().replay_instant is None


def test_a_replayed_stack_stands_at_its_instant() -> None:
    settings = Settings(as_of="2013-12-31T06:00:00Z")

    assert settings.clock() == settings.replay_instant == datetime(2013, 12, 31, 6, tzinfo=UTC)


def test_an_instant_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(Invalid, match="'yesterday'"):
        _ = Settings(as_of="yesterday").clock


def test_a_pod_is_known_by_the_names_that_field_references_give_it() -> None:
    settings = Settings.from_environment({"POD_NAME": "step-1", "POD_UID": "1234"})

    assert (settings.pod_name, settings.pod_uid) == ("step-1", "1234")
