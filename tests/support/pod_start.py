"""How much longer a pod takes to be Ready with a sidecar: pairs of pods, one with and one without.

Law: times are those at which this machine heard of it, since the API server's own are in whole
seconds. What is told is the difference inside a pair: both pods met the same machine.
"""

import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import PIPE, Popen

from real_cluster import Cluster, Object
from workloads import model_container

READY_WITHIN_S = 90.0
PAIRS = 20
PAIRS_AT_ONCE = 5
"""That stand idle side by side, before they are deleted."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds from the request to create it until the pod was heard to be Ready."""

    with_s: float
    without_s: float

    @property
    def added_s(self) -> float:
        return self.with_s - self.without_s


@dataclass(frozen=True, slots=True)
class PodStart:
    """What the pairs say."""

    pairs: Sequence[Pair]

    @property
    def added_p99_s(self) -> float:
        """Of so few that is the longest."""
        return max(pair.added_s for pair in self.pairs)

    @property
    def added_median_s(self) -> float:
        return statistics.median(pair.added_s for pair in self.pairs)

    @property
    def with_median_s(self) -> float:
        return statistics.median(pair.with_s for pair in self.pairs)

    @property
    def without_median_s(self) -> float:
        return statistics.median(pair.without_s for pair in self.pairs)


@dataclass
class Heard:
    """Names of pods of a namespace, and when each was first heard to be Ready."""

    ready_at: dict[str, float] = field(default_factory=dict)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def note_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.note(line)

    def note(self, line: str) -> None:
        name, _, ready = line.strip().partition(" ")
        if ready == "True":
            with self._news:
                self.ready_at.setdefault(name, time.monotonic())
                self._news.notify_all()

    def wait(self, name: str) -> float:
        """``time.monotonic()`` at which it was Ready; raises ``TimeoutError``."""
        with self._news:
            if not self._news.wait_for(lambda: name in self.ready_at, READY_WITHIN_S):
                raise TimeoutError(f"pod {name} was not Ready within {READY_WITHIN_S:.0f} s")
            return self.ready_at[name]


@contextmanager
def hearing(cluster: Cluster, space: str) -> Iterator[Heard]:
    """A watch on the namespace's pods."""
    heard = Heard()
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    output = f'jsonpath={{.metadata.name}} {ready}{{"\\n"}}'
    command = ["kubectl", "get", "pods", "-n", space, "--watch", "-o", output]
    with Popen(command, env=cluster.env, stdout=PIPE, text=True, bufsize=1) as watch:
        assert watch.stdout is not None
        reader = threading.Thread(target=heard.note_all, args=(watch.stdout,))
        reader.start()
        try:
            yield heard
        finally:
            watch.terminate()
            reader.join(10)


def bare_pod(name: str, *, inject: bool) -> Object:
    """One that is Ready as soon as its server answers."""
    labels = {"tidegate.io/inject": "true"} if inject else {}
    spec = {"containers": [model_container()], "terminationGracePeriodSeconds": 1}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def measure_pod_start(cluster: Cluster, space: str, pairs: int = PAIRS) -> PodStart:
    """One pod after another; who of a pair comes first alternates. While some go, none starts."""
    found = []
    with hearing(cluster, space) as heard:
        for number in range(pairs):
            order = (True, False) if number % 2 else (False, True)
            took = {inject: start(cluster, space, heard, number, inject) for inject in order}
            found.append(Pair(with_s=took[True], without_s=took[False]))
            if number % PAIRS_AT_ONCE == PAIRS_AT_ONCE - 1:
                cluster.kubectl("delete", "pods", "--all", "-n", space, "--grace-period=1")
    return PodStart(found)


def start(cluster: Cluster, space: str, heard: Heard, number: int, inject: bool) -> float:
    """Seconds that one pod took."""
    name = f"{'with' if inject else 'without'}-{number}"
    manifest = bare_pod(name, inject=inject)
    began = time.monotonic()
    cluster.apply(manifest, namespace=space)
    took_s = heard.wait(name) - began
    made = cluster.get("pod", name, "-n", space)
    sidecars = [c["name"] for c in made["spec"].get("initContainers", [])]
    if ("tidegate" in sidecars) != inject:
        raise AssertionError(f"{name} has the init containers {sidecars}")
    return took_s
