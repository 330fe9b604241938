"""What the tests on a real Kubernetes stand on.

Law: where no cluster can be had these tests fail and say why; none is skipped.
"""

import os
import re
from collections.abc import Iterator

import pytest

from real_cluster import (
    QUICK,
    Cluster,
    find_cluster,
    helm_install,
    load_images,
    namespace,
    wait_deleted,
)

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
LONGEST_FIRST = ("test_scaling", "test_streams", "test_conflicts", "test_injection")
"""So that none of them, side by side, begins when the others end."""


READY = "TIDEGATE_E2E_READY"
"""Set in the environment by ``scripts/e2e``: cluster, images and chart are there already."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A cluster whose node has our images."""
    ready = bool(os.environ.get(READY))
    try:
        found = find_cluster(os.environ, is_up=ready)
    except LookupError as error:
        pytest.fail(str(error))
    if not ready:
        load_images(os.environ)
    return found


@pytest.fixture(scope="session")
def tidegate(cluster: Cluster) -> Cluster:
    """The cluster with Tidegate on it, by its chart."""
    if not os.environ.get(READY):
        cluster.kubectl("apply", "--server-side", "-f", "crds/")
        helm_install(cluster, *QUICK)
    return cluster


@pytest.fixture(scope="session")
def leaving(cluster: Cluster) -> Iterator[list[str]]:
    """Namespaces whose tests are over. Kubernetes takes five seconds and more for each, and the
    next test need not wait for them; in the end all must be gone."""
    names: list[str] = []
    yield names
    for name in names:
        wait_deleted(cluster, name)


@pytest.fixture
def space(tidegate: Cluster, leaving: list[str], request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own that enforces Pod Security ``restricted``."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:50].rstrip("-")
    if name in leaving:  # another case of the same test had it
        leaving.remove(name)
        wait_deleted(tidegate, name)
    with namespace(tidegate, name, RESTRICTED, leaving=leaving) as made:
        yield made
