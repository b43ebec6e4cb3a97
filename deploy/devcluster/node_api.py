"""The node's way to the API server: it asks until it gets an answer, for an end that is not reported is lost for ever."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3

from deploy.devcluster.home import Home

__all__ = ["Api", "Refused"]

logger = logging.getLogger(__name__)

MERGE = "application/strategic-merge-patch+json"
LONGEST_WAIT_S = 2.0


class Refused(Exception):
    """The API server understood and said no; asking again would not help."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Api:
    """JSON in, JSON out, with the administrator's certificate.

    Connection errors, 429 and 5xx are asked again without end: the API server may be away for as long as it
    likes while processes end here. Other answers of 4xx raise `Refused`.
    """

    def __init__(self, home: Home, port: int) -> None:
        self.root = f"https://127.0.0.1:{port}"
        pki = home.pki
        self.authority = (pki / "ca.crt").read_bytes()
        self.pool = urllib3.PoolManager(
            maxsize=32,
            cert_file=f"{pki}/admin.crt",
            key_file=f"{pki}/admin.key",
            ca_certs=f"{pki}/ca.crt",
            timeout=urllib3.Timeout(connect=5, read=60),
            retries=False,
        )
        self.stopped = threading.Event()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Read one object or list."""
        return self.ask("GET", path, query=query)

    def ask(
        self, method: str, path: str, body: object = None, *, kind: str = "application/json", query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """One request, until it is answered.

        Raises:
            Refused: answered with 4xx.
        """
        wait = 0.05
        while True:
            try:
                answer = self.pool.request(
                    method,
                    f"{self.root}{path}?{urlencode(query)}" if query else self.root + path,
                    body=None if body is None else json.dumps(body).encode(),
                    headers={"Content-Type": kind, "Accept": "application/json"},
                )
            except urllib3.exceptions.HTTPError as err:
                trouble = repr(err)
            else:
                if answer.status < 400:
                    return dict(json.loads(answer.data))
                trouble = answer.data.decode(errors="replace")
                if answer.status != 429 and answer.status < 500:
                    raise Refused(answer.status, trouble)
            logger.debug("asking again: %s %s: %s", method, path, trouble[:200])
            self.stopped.wait(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)

    def watch(self, path: str, version: str, **query: str) -> Iterator[dict[str, Any]]:
        """Events from a version on, until the stream ends for whatever reason; the caller lists again then."""
        asked = {**query, "watch": "true", "resourceVersion": version, "timeoutSeconds": "300", "allowWatchBookmarks": "true"}
        try:
            address, patience = f"{self.root}{path}?{urlencode(asked)}", urllib3.Timeout(connect=5, read=330)
            stream = self.pool.request("GET", address, preload_content=False, timeout=patience)
            rest = b""
            for chunk in stream.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        except (urllib3.exceptions.HTTPError, ValueError) as err:
            logger.debug("watch ended: %r", err)
