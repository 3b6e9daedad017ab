"""A Slurm cluster for the tests of this folder."""

import os
from collections.abc import Iterator

import pytest

from e2e.slurm.one_node_slurm import Cluster, missing_daemons, one_node


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a cluster of one node with two CPUs."""
    missing = missing_daemons()
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)}: not installed (apt-get install slurm-wlm munge)")
    # In CI they have to be there: without them this fails.
    with one_node(tmp_path_factory.mktemp("cluster") / "slurm") as running:
        yield running
