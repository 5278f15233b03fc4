"""A real SLURM for the tests here, which run only with ``-m slurm``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cluster
import pytest
from jobs import Folder

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is here, and leave it out unless it was asked for."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.slurm)
    if ours and "slurm" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


def cannot(reason: str) -> None:
    """Skip, or fail where a SLURM is known to be possible."""
    if os.environ.get("PHS_MPI_REQUIRE_SLURM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def started(nodes: int) -> Iterator[cluster.Cluster]:
    if missing := cluster.missing():
        cannot(f"SLURM is not installed: {missing}")
    if nodes > 1 and not cluster.can_be_apart():
        cannot("several virtual nodes need root, and name spaces")
    made = cluster.Cluster(nodes)
    yield made
    made.close()


@pytest.fixture(scope="session")
def one_node() -> Iterator[cluster.Cluster]:
    """A node of 64 cores, so SLURM believes."""
    yield from started(1)


@pytest.fixture
def two_nodes() -> Iterator[cluster.Cluster]:
    """Two nodes, for one test that may break them."""
    yield from started(2)


@pytest.fixture
def folder(one_node: cluster.Cluster, tmp_path: Path) -> Iterator[Folder]:
    """An empty folder for jobs of the cluster of one node."""
    yield Folder(one_node, tmp_path)
    one_node.empty()
