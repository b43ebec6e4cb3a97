"""The door to a Kubernetes API server: plain JSON over HTTP, errors in our words, retries that end.

Everything else in the library sees dicts and `tiffin.core.errors`. What changes something is only ever sent in a form
that may be sent twice (a create that recognises its own Job, an apply, a delete by uid), because an answer can be lost.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from tiffin.core.errors import Conflict, Denied, Invalid, NotFound, NotReady, PlatformError

__all__ = ["IN_CLUSTER", "Api", "Expired", "connect"]

logger = logging.getLogger(__name__)

IN_CLUSTER = "in-cluster"
PATIENCE_S = 90.0  # an API server that restarts is away for 10 to 25 s, Kueue's webhook for as long
LONGEST_PAUSE_S = 10.0
CONNECT_S = 5.0

Query = Sequence[tuple[str, str]]


class Expired(NotReady):
    """A list or watch began too long ago: begin again."""


def connect(kubeconfig: str | Path, *, context: str | None = None, impersonate: str | None = None, agent: str = "tiffin") -> ApiClient:
    """A client, with nothing sent yet.

    Args:
        kubeconfig: a file, or "in-cluster" for the pod's own ServiceAccount.
        impersonate: act as this user; for tests of what an identity may do.

    Raises:
        Invalid: the file cannot be used.
    """
    configuration = Configuration()
    configuration.retries = False  # ours are below: urllib3's would hide how long a server is away
    configuration.connection_pool_maxsize = 64
    try:
        if str(kubeconfig) == IN_CLUSTER:
            load_incluster_config(client_configuration=configuration)
        else:
            load_kube_config(str(kubeconfig), context=context, client_configuration=configuration)
    except (ConfigException, OSError) as err:
        fix = "give the path of a kubeconfig file, or 'in-cluster' inside a pod with a ServiceAccount"
        raise Invalid(f"reading the Kubernetes configuration {str(kubeconfig)!r}: {err}", fix=fix) from err
    client = ApiClient(configuration)
    client.user_agent = agent
    if impersonate is not None:
        client.set_default_header("Impersonate-User", impersonate)
    return client


class Api:
    """Requests to one API server, counted. Safe from any thread.

    Args:
        patience_s: how long a server that cannot answer is asked again.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.client = client
        self.patience_s = patience_s
        self.sleep = sleep
        self.monotonic = monotonic
        self.chance = chance
        self.counted: Counter[str] = Counter()
        self.lock = threading.Lock()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        patience_s: float | None = None,
    ) -> Any:
        """One request and its JSON; asked again while the server cannot answer.

        Raises:
            NotReady: it could not answer for `patience_s`.
            NotFound, Conflict, Denied, Invalid: its answer.
        """
        return json.loads(self.send(method, path, query, body, content_type, patience_s) or b"null")

    def text(self, path: str, *, query: Query = ()) -> str:
        """One request and its text."""
        return self.send("GET", path, query, None, "application/json", None).decode(errors="replace")

    def send(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, content_type: str, patience_s: float | None
    ) -> bytes:
        began, attempt = self.monotonic(), 0
        patience = self.patience_s if patience_s is None else patience_s
        while True:
            try:
                response = self.once(method, path, query, body, content_type, read_s=60.0)
                data: bytes = response.data
                return data
            except urllib3.exceptions.HTTPError as err:
                problem: PlatformError = unreachable(method, path, err)
            except PlatformError as err:
                if isinstance(err, Expired) or not isinstance(err, NotReady):
                    raise
                problem = err
            pause = self.pause(attempt, problem.context.get("retry_after_s"))
            if self.monotonic() - began + pause > patience:
                raise problem
            logger.debug("asking again", extra={"path": path, "pause_s": pause})
            self.sleep(pause)
            attempt += 1

    def pause(self, attempt: int, asked: object) -> float:
        """Seconds until the next try: what the server asks for, else doubling, with chance against stampedes."""
        if isinstance(asked, float):
            return min(asked, LONGEST_PAUSE_S) + 0.2 * self.chance()
        return float(min(LONGEST_PAUSE_S, 0.1 * 2 ** min(attempt, 10)) * (0.5 + self.chance()))

    def once(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, content_type: str, *, read_s: float
    ) -> urllib3.HTTPResponse:
        """One try. The response's body is not read yet."""
        with self.lock:
            self.counted["WATCH" if ("watch", "1") in query else method] += 1
        try:
            response: urllib3.HTTPResponse = self.client.call_api(
                path,
                method,
                query_params=list(query),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=(CONNECT_S, read_s),
            )
            return response
        except ApiException as err:
            raise translated(err, f"{method} {path}") from err

    @property
    def requests(self) -> int:
        """Requests sent so far, the repeated ones too."""
        with self.lock:
            return sum(self.counted.values())

    def pages(self, path: str, *, query: Query = (), limit: int = 500, patience_s: float | None = None) -> Iterator[dict[str, Any]]:
        """A list, page by page, all of one moment."""
        more = ""
        while True:
            going_on = [("continue", more)] if more else []
            page = self.call("GET", path, query=[*query, ("limit", str(limit)), *going_on], patience_s=patience_s)
            yield page
            more = (page.get("metadata") or {}).get("continue") or ""
            if not more:
                return

    def close(self) -> None:
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unreachable(method: str, path: str, err: Exception) -> NotReady:
    """The server could not be reached, or stopped in the middle of its answer."""
    return NotReady(
        f"{method} {path}: the Kubernetes API server does not answer: {type(err).__name__}: {err}",
        fix="is the cluster up, and is its address in the kubeconfig right? Asking again later is safe",
    )


def translated(err: ApiException, doing: str) -> PlatformError:
    """The server's answer in our words."""
    try:
        status = json.loads(err.body or "{}")
    except ValueError:
        status = {}
    said = status.get("message") or (err.body or err.reason or "no reason")
    context: dict[str, object] = {"status": err.status, "reason": status.get("reason", "")}
    message = f"{doing}: {str(said).strip()[:1000]}"
    if err.status in (401, 403):
        return Denied(message, fix="ask the platform team for this right, or act as an identity that has it", context=context)
    if err.status == 404:
        return NotFound(message, fix="is the name right, and was it deleted?", context=context)
    if err.status == 410:
        return Expired(message, fix="list again", context=context)
    if err.status == 409:
        return Conflict(message, fix="read it again and retry", context=context)
    if err.status == 429 or not err.status or err.status >= 500:
        after = retry_after(err)
        return NotReady(message, fix="the server is busy or starting: ask again later", context={**context, "retry_after_s": after})
    return Invalid(message, fix="change what the server complains about", context=context)


def retry_after(err: ApiException) -> float | None:
    """Seconds, as the server asks; a date instead of seconds is not used by Kubernetes."""
    value = (err.headers or {}).get("Retry-After", "")
    return float(value) if str(value).isdigit() else None
