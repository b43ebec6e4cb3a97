"""How etcd and the three programs of Kubernetes are started: command lines as values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.devcluster.certificates import SERVICE_IP
from deploy.devcluster.home import Home

__all__ = ["api_server", "controller_manager", "etcd", "scheduler"]

LOOPBACK = "127.0.0.1"
# the clients' own limits (20 a second) would hold a test cluster to three Jobs a second
FAST = {"kube-api-qps": "300", "kube-api-burst": "500"}


def command(program: Path, flags: Mapping[str, str]) -> list[str]:
    """A program and its flags."""
    return [str(program), *(f"--{name}={value}" for name, value in flags.items())]


def etcd(programs: Path, home: Home, ports: Mapping[str, int]) -> list[str]:
    """The store. It survives the end of its process, and a loss of power is nobody's concern here."""
    client, peer = (f"http://{LOOPBACK}:{ports[name]}" for name in ("etcd", "etcd_peer"))
    flags = {
        "data-dir": str(home.folder / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "log-level": "warn",
        "unsafe-no-fsync": "true",
    }
    return command(programs / "etcd", flags)


def api_server(programs: Path, home: Home, ports: Mapping[str, int]) -> list[str]:
    """The API server, for clients with our certificates and for the tokens of ServiceAccounts."""
    pki = home.pki
    flags = {
        "etcd-servers": f"http://{LOOPBACK}:{ports['etcd']}",
        "bind-address": LOOPBACK,
        "advertise-address": LOOPBACK,
        "secure-port": str(ports["api"]),
        # it would publish its own address, and 127.0.0.1 is refused there
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": f"{SERVICE_IP.rsplit('.', 1)[0]}.0/24",
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "client-ca-file": f"{pki}/ca.crt",
        "tls-cert-file": f"{pki}/apiserver.crt",
        "tls-private-key-file": f"{pki}/apiserver.key",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": f"{pki}/accounts.pub",
        "service-account-signing-key-file": f"{pki}/accounts.key",
        # a node has no DNS name: logs are fetched by address
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-certificate-authority": f"{pki}/ca.crt",
        "kubelet-client-certificate": f"{pki}/apiserver-kubelet.crt",
        "kubelet-client-key": f"{pki}/apiserver-kubelet.key",
        "requestheader-client-ca-file": f"{pki}/front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": f"{pki}/front-proxy.crt",
        "proxy-client-key-file": f"{pki}/front-proxy.key",
        "event-ttl": "4h",
        "profiling": "false",
    }
    return command(programs / "kube-apiserver", flags)


def controller_manager(programs: Path, home: Home, ports: Mapping[str, int]) -> list[str]:
    """The controllers, among them the one that makes a Job's pods."""
    flags = {
        **component(home, "kube-controller-manager", ports["controller"]),
        # nodes are ours alone: nobody else allots their addresses, disks, or declares them lost
        "controllers": "*,-nodeipam,-nodelifecycle,-attachdetach",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": f"{home.pki}/accounts.key",
        "root-ca-file": f"{home.pki}/ca.crt",
    }
    return command(programs / "kube-controller-manager", flags)


def scheduler(programs: Path, home: Home, ports: Mapping[str, int]) -> list[str]:
    """The scheduler."""
    return command(programs / "kube-scheduler", component(home, "kube-scheduler", ports["scheduler"]))


def component(home: Home, name: str, port: int) -> dict[str, str]:
    """What both components share: who they are, where they listen, and that there is one of each."""
    kubeconfig = str(home.folder / f"{name}.kubeconfig")
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": LOOPBACK,
        "secure-port": str(port),
        "leader-elect": "false",
        "profiling": "false",
        **FAST,
    }
