"""Resources hold no secret, refuse misspelt fields, and say what is missing."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from resources.agent import AgentEndpoint, judge
from resources.stack import EndpointResource, PromotionsResource, object_store, stack_resources
from tiffin.core.errors import Denied, Invalid, NotReady
from tiffin.core.settings import Settings
from tiffin.orchestration.resource_keys import REQUIRED
from tiffin.serving.http import serve_status

SETTINGS = {
    "TIFFIN_S3_ENDPOINT": "http://127.0.0.1:9",
    "TIFFIN_DEV_ACCESS_KEY": "dev",
    "TIFFIN_DEV_SECRET_KEY": "canary-dev",
    "TIFFIN_PROD_READ_ACCESS_KEY": "reader",
    "TIFFIN_PROD_READ_SECRET_KEY": "canary-reader",
}


def one(**given: Any) -> dict[str, Any]:
    found = {"ready": True, "reason": None, "manifest": "new", "refused": None, **given}
    return {"ready": True, "reasons": [], "deployments": {"eta/eta": found}}


def test_every_required_part_is_bound() -> None:
    assert set(stack_resources()) == set(REQUIRED)


@pytest.mark.parametrize("kind", [pytest.param(PromotionsResource, id="promotions"), pytest.param(EndpointResource, id="endpoint")])
def test_a_misspelt_field_is_refused(kind: Any) -> None:
    with pytest.raises((ValidationError, dg.DagsterInvalidConfigError)):
        kind(timeout=3)


def test_definitions_load_without_a_stack_and_hold_no_address_or_key() -> None:
    shown = " ".join(str(vars(resource)) for resource in stack_resources().values())

    assert "TIFFIN" not in shown
    assert "key" not in shown.lower().replace("keys", "")


def test_each_identity_gets_its_own_bucket_and_key() -> None:
    settings = Settings.from_environment(SETTINGS)

    dev, prod = object_store(settings, "dev"), object_store(settings, "prod_read")

    assert (dev.bucket, prod.bucket) == ("dev", "prod")  # type: ignore[attr-defined]
    assert "canary" not in f"{dev!r} {prod!r}"


def test_a_missing_setting_is_named_with_how_to_get_it() -> None:
    with pytest.raises(Invalid, match=r"TIFFIN_S3_ENDPOINT is not set(.|\n)*tiffin up"):
        object_store(Settings.from_environment({}), "dev")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        pytest.param(one(), None, id="live"),
        pytest.param({"deployments": {}}, "the agent has not seen it yet", id="unseen"),
        pytest.param(one(manifest="old"), "it still answers from manifest old", id="old edition"),
        pytest.param(one(ready=False, reason="golden rows differ"), "golden rows differ", id="not ready"),
        pytest.param(
            one(manifest="old", refused={"manifest": "new", "reason": "no generation", "fix": "publish", "attempts": 1}),
            "the agent refused it 1 times: no generation",
            id="refused once",
        ),
        pytest.param(one(refused={"manifest": "older", "reason": "x", "fix": "y", "attempts": 9}), None, id="another one refused"),
    ],
)
def test_only_an_answer_from_this_manifest_is_live(status: dict[str, Any], why: str | None) -> None:
    assert judge(status, "eta", "eta", "new") == why


def test_a_manifest_refused_again_and_again_is_given_up_with_the_agents_fix() -> None:
    refused = {"manifest": "new", "reason": "step 'a' has changed", "fix": "promote it again", "attempts": 5}

    with pytest.raises(Denied, match=r"step 'a' has changed(.|\n)*promote it again"):
        judge(one(manifest="old", refused=refused), "eta", "eta", "new")


def test_waiting_ends_when_the_agent_has_turned() -> None:
    answers = iter([one(manifest="old"), one(ready=False, reason="loading"), one()])
    agent = serve_status(0, lambda: next(answers))
    try:
        endpoint = AgentEndpoint(f"http://127.0.0.1:{agent.server_port}", sleep=lambda _: None)

        assert endpoint.wait_live("eta", "eta", "new") >= 0
    finally:
        agent.shutdown()
        agent.server_close()
    assert next(answers, None) is None


def test_an_agent_that_never_turns_is_told_with_its_own_reason() -> None:
    clock = iter(range(0, 1000, 50))
    agent = serve_status(0, lambda: one(ready=False, reason="the stub is dead"))
    try:
        endpoint = AgentEndpoint(
            f"http://127.0.0.1:{agent.server_port}", timeout_s=100, sleep=lambda _: None, monotonic=lambda: float(next(clock))
        )

        with pytest.raises(NotReady, match="not live after 100 s: the stub is dead"):
            endpoint.wait_live("eta", "eta", "new")
    finally:
        agent.shutdown()
        agent.server_close()


def test_an_agent_that_does_not_answer_is_named() -> None:
    with pytest.raises(NotReady, match=r"http://127\.0\.0\.1:9/status does not answer"):
        AgentEndpoint("http://127.0.0.1:9").status()


def test_only_http_is_asked() -> None:
    with pytest.raises(Denied, match="not http"):
        AgentEndpoint("file:///etc/passwd")
