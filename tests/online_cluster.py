"""A real cluster on loopback: three primaries, and a replica for each when a failover is to be seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tiffin.embedded.processes import Process, free_ports, spawn, stop
from tiffin.embedded.valkey import valkey_binary
from tiffin.online.places import SLOTS

NODE_TIMEOUT_MS = 1500


@dataclass
class Node:
    """One server; `bus` is the port on which nodes talk."""

    port: int
    bus: int
    process: Process

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def info(self) -> dict[str, str]:
        return self.client.execute_command("CLUSTER INFO")

    @property
    def id(self) -> str:
        found = self.client.execute_command("CLUSTER MYID")
        return found.decode() if isinstance(found, bytes) else found


@dataclass
class RealCluster:
    """Primaries in the order of their slots, and their replicas."""

    primaries: list[Node]
    replicas: list[Node]

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.primaries]

    def names(self) -> list[bytes]:
        return sorted(name for node in self.primaries for name in node.client.scan_iter(match="*", count=5000))

    def move_slot(self, slot: int, source: Node, target: Node, *, between: Callable[[int], None] = lambda moved: None) -> None:
        """What `redis-cli --cluster reshard` does; `between` is called after each batch of keys."""
        target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.id)
        moved, giver = 0, source.client
        giver.set_response_callback("CLUSTER GETKEYSINSLOT", lambda keys: keys)  # they are bytes, not text
        while keys := giver.execute_command("CLUSTER GETKEYSINSLOT", slot, 3):
            giver.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
            between(moved)
        for node in (target, source, *self.primaries):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", target.id)


def until(true: Callable[[], object], *, seconds: float = 20) -> None:
    """Wait for the servers, which settle in their own time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "the cluster does not settle"
        time.sleep(0.05)


def answers(node: Node) -> bool:
    try:
        return bool(node.client.ping())
    except redis.RedisError:
        return False


@contextmanager
def cluster(folder: Path, *, replicas: int = 0, binary: Path | str | None = None) -> Iterator[RealCluster]:
    """Started and settled; stopped by pid."""
    ports = free_ports(6 * (1 + replicas))
    nodes: list[Node] = []
    try:
        for number in range(3 * (1 + replicas)):
            port, bus = ports[2 * number], ports[2 * number + 1]
            home = folder / str(port)
            home.mkdir(parents=True)
            options = {
                "port": port,
                "cluster-port": bus,
                "bind": "127.0.0.1",
                "dir": home,
                "cluster-enabled": "yes",
                "cluster-node-timeout": NODE_TIMEOUT_MS,
                "cluster-replica-validity-factor": 0,
                "appendonly": "no",
                "save": "",
            }
            command = [str(binary or valkey_binary()), *(str(word) for name, value in options.items() for word in (f"--{name}", value))]
            nodes.append(Node(port, bus, spawn(command, log=home / "log", environ={}, cwd=home)))
        primaries, others = nodes[:3], nodes[3:]
        for node in nodes:
            until(lambda node=node: answers(node))
        share = -(-SLOTS // 3)
        for number, node in enumerate(primaries):
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", number * share, min((number + 1) * share, SLOTS) - 1)
        for node in nodes[1:]:
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, nodes[0].bus)
        until(lambda: all(node.info()["cluster_known_nodes"] == str(len(nodes)) for node in nodes))
        for node, primary in zip(others, primaries, strict=False):
            until(lambda node=node, primary=primary: replicates(node, primary))
        until(lambda: all(node.info()["cluster_state"] == "ok" for node in nodes))
        until(lambda: all(node.client.info("replication")["master_link_status"] == "up" for node in others))
        yield RealCluster(primaries, others)
    finally:
        for node in nodes:
            stop(node.process, grace_s=0.1)


def replicates(node: Node, primary: Node) -> bool:
    try:
        node.client.execute_command("CLUSTER REPLICATE", primary.id)
    except redis.RedisError:
        return False
    return True
