"""Whether a part of the cluster answers."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.devcluster.certificates import KUBELET_IP, SERVICE_IP
from deploy.devcluster.containers import ctr
from deploy.devcluster.home import Home
from tiffin.core.errors import NotReady

__all__ = ["Probe", "probes"]

Probe = Callable[[], bool]


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:  # noqa: S310  (we made the address)
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return False


def ours(pki: Path) -> ssl.SSLContext:
    """As the administrator, trusting our authority only."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return context


def anybody() -> ssl.SSLContext:
    """For components that made their certificate themselves."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def engine_answers(home: Home) -> bool:
    """Whether containerd says its version."""
    try:
        recorded = home.read()
        ctr(Path(recorded.programs) / "containers", recorded.processes["containerd"].pid, "version")
    except NotReady:
        return False
    return True


def probes(home: Home, ports: Mapping[str, int]) -> dict[str, Probe]:
    """One question per part; asked only once the certificates exist."""

    def at(port: str, path: str, scheme: str = "https") -> str:
        return f"{scheme}://127.0.0.1:{ports[port]}{path}"

    return {
        "etcd": lambda: answers(at("etcd", "/health", "http")),
        "kube-apiserver": lambda: answers(at("api", "/readyz"), ours(home.pki)),
        "kube-controller-manager": lambda: answers(at("controller", "/healthz"), anybody()),
        "kube-scheduler": lambda: answers(at("scheduler", "/healthz"), anybody()),
        "kueue": lambda: answers(at("health", "/readyz", "http")),
        "certificate-sync": lambda: (home.webhook_certificates / "tls.key").exists(),
        "containerd": lambda: engine_answers(home),
        "kubelet": lambda: answers(f"https://{KUBELET_IP}:{ports['node']}/healthz", ours(home.pki)),
        "forward": lambda: answers(f"https://{SERVICE_IP}:443/readyz", ours(home.pki)),
        "node": lambda: answers(at("node", "/healthz"), ours(home.pki)),
    }
