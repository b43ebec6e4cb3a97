"""One cluster for all tests of this folder; the user's own where `KUBECONFIG` is set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.devcluster.home import Wishes
from tests.cluster_case import Cluster, TeamsSpace, own_cluster, teams_space, users_cluster
from tiffin.embedded.seaweed import Seaweed, start_seaweed


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The shared cluster: tests use names of their own and leave its parts alone."""
    given = os.environ.get("KUBECONFIG")
    if given:
        yield users_cluster(Path(given))
        return
    with own_cluster(tmp_path_factory.mktemp("cluster") / "shared") as found:
        yield found


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """An object store with the buckets of a stack; tests of one module share it."""
    server = start_seaweed(tmp_path_factory.mktemp("seaweed"))
    yield server
    server.stop()


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters of this test alone, to kill parts of or to configure otherwise."""
    with ExitStack() as stack:

        def make(name: str = "cluster", **wishes: Any) -> Cluster:
            return stack.enter_context(own_cluster(tmp_path / name, Wishes(**wishes)))

        yield make


@pytest.fixture(name="teams_space")
def make_teams_space(cluster: Cluster) -> Iterator[Callable[..., TeamsSpace]]:
    """Makes teams in the shared cluster; they are removed after the test."""
    with ExitStack() as stack:

        def make(quotas: Mapping[str, Mapping[str, str | int]], *, on: Cluster | None = None, **over: Any) -> TeamsSpace:
            return stack.enter_context(teams_space(on or cluster, quotas, **over))

        yield make
