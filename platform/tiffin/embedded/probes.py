"""Asking our own servers whether they work: by what they are for, not by an open port."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from tiffin.core.errors import Denied, NotFound, PlatformError
from tiffin.core.settings import Settings

__all__ = ["agent_status", "agent_trouble", "live_manifest", "promoter_trouble", "why_not_live"]

NO_SUCH_MANIFEST = "0" * 64
# the agent tries again by itself: a store that stumbled is no refusal
GIVE_UP_AFTER = 5


def agent_status(port: int, path: str = "/status", *, timeout_s: float = 5) -> tuple[int, dict[str, Any]]:
    """The agent's own account. Raises OSError when it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (http.client.HTTPException, ValueError) as err:
        raise OSError(f"no answer from the agent on port {port}: {err!r}") from err
    finally:
        connection.close()


def agent_trouble(port: int) -> str | None:
    """None when the agent tells its status; what it serves is another question (`/ready`)."""
    try:
        status, _ = agent_status(port)
    except OSError as err:
        return str(err)
    return None if status == 200 else f"its /status answers {status}"


def promoter_trouble(settings: Settings, *, timeout_s: float = 5) -> str | None:
    """None when the promoter gives a verdict; it is asked for a manifest that cannot exist.

    The way there and back is the one that steps take, with their keys.
    """
    from tiffin.registry.promoter import request_promotion  # 0.5 s of boto3, and not every command asks
    from tiffin.storage.s3 import S3Store  # as above

    endpoint, region = settings.need("s3_endpoint"), settings.s3_region
    dev = S3Store(settings.dev_bucket, endpoint, settings.need("dev_access_key"), settings.need("dev_secret_key"), region)
    prod = S3Store(settings.prod_bucket, endpoint, settings.need("prod_read_access_key"), settings.need("prod_read_secret_key"), region)
    try:
        request_promotion(dev, prod, "deployment", NO_SUCH_MANIFEST, timeout_s=timeout_s, poll_s=0.05)
    except NotFound:
        return None
    except PlatformError as err:
        return err.message
    return "it promoted a manifest that does not exist"


def live_manifest(status: Mapping[str, Any], ref: str) -> str | None:
    """The manifest from which the agent says that deployment `team/name` answers."""
    found = deployment_entry(status, ref).get("manifest")
    return None if found is None else str(found)


def why_not_live(status: Mapping[str, Any], ref: str, manifest: str) -> str | None:
    """None when `team/name` answers from this manifest, else the agent's reason.

    Raises:
        Denied: the agent has looked at this manifest again and again and will not serve it.
    """
    if not status:
        return "the agent does not answer"
    entry = deployment_entry(status, ref)
    refused = entry.get("refused")
    if refused and refused["manifest"] == manifest:
        if refused["attempts"] >= GIVE_UP_AFTER:
            raise Denied(f"the agent refuses manifest {manifest[:12]} of '{ref}': {refused['reason']}", fix=refused["fix"])
        return f"refused: {refused['reason']}"
    if entry.get("manifest") != manifest:
        return f"it still answers from {entry['manifest'][:12]}" if entry.get("manifest") else "it has not been loaded yet"
    return None if entry.get("ready") else str(entry.get("reason") or "it is not ready")


def deployment_entry(status: Mapping[str, Any], ref: str) -> dict[str, Any]:
    """What the status says about one deployment."""
    found = status.get("deployments", {}).get(ref, {})
    return found if isinstance(found, dict) else {}
