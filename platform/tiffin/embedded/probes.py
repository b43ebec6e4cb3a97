"""Asking our own servers whether they work: by what they are for, not by an open port."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tiffin.core.errors import NotFound, PlatformError
from tiffin.core.settings import Settings

__all__ = ["agent_status", "agent_trouble", "promoter_trouble"]

NO_SUCH_MANIFEST = "0" * 64


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
