"""A real Kubernetes for the end-to-end tests: found or brought up, filled with our images, asked.

Law: what a test claims of Kubernetes is what ``kubectl`` and the API server said. Pods and
Services are reached by their IPs, so the tests run on a machine that routes to them: a node.
"""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT.parent / "shared" / "cluster" / "cluster"
"""Brings up a single node on this machine, where it lies beside the checkout."""
VERSION = "0.1.0"
NAMESPACE = "tidegate-system"
IMAGES = {
    f"localhost/tidegate-sidecar:{VERSION}": (".", "images/sidecar.Containerfile"),
    f"localhost/tidegate-operator:{VERSION}": (".", "images/operator.Containerfile"),
    f"localhost/tidegate-model-server:{VERSION}": (
        "tests/e2e/images",
        "tests/e2e/images/model-server.Containerfile",
    ),
}
"""In the order to build them: tag -> context, Containerfile."""
BASE = "localhost/python:3.11"
QUICK = ("--set", "settings.tick_s=3")
"""A tick of three seconds instead of fifteen: what is tested is what happens, not how long one
waits for it."""
BUILD_S = 900.0
UP_S = 1800.0
"""The first time Kubernetes is built from its source."""


class KubectlError(Exception):
    """kubectl, or another command against the cluster, ended in an error; the text is its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    out: str
    err: str
    """Warnings of admission webhooks among it."""
    code: int


class Cluster:
    """The API server, by kubectl and helm."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)

    @property
    def kubeconfig(self) -> str:
        return self.env["KUBECONFIG"]

    def run(
        self, *command: str, stdin: str = "", check: bool = True, timeout_s: float = 300.0
    ) -> Answer:
        """Any command with the cluster's environment; raises ``KubectlError`` where it fails."""
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.env,
            cwd=ROOT,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise KubectlError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return Answer(done.stdout, done.stderr, done.returncode)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.run("kubectl", *words, stdin=stdin).out

    def get(self, *words: str) -> Any:
        """``kubectl get ... -o json`` as a value."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def find(self, *words: str) -> Object | None:
        """The same; ``None`` where there is no such object."""
        answer = self.run("kubectl", "get", *words, "-o", "json", "--ignore-not-found")
        return json.loads(answer.out) if answer.out else None

    def apply(self, *manifests: Object | str, namespace: str = "") -> Answer:
        """Objects or YAML text, by ``kubectl apply``."""
        text = "\n---\n".join(m if isinstance(m, str) else json.dumps(m) for m in manifests)
        where = ("-n", namespace) if namespace else ()
        return self.run("kubectl", "apply", *where, "-f", "-", stdin=text)

    def pods(self, namespace: str, selector: str = "") -> list[Object]:
        """Pods that are not about to go."""
        words = ("-l", selector) if selector else ()
        items = self.get("pods", "-n", namespace, *words)["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def rolled_out(self, namespace: str, workload: str, timeout_s: float = 180.0) -> None:
        """Wait for ``Deployment/llama`` or so to have rolled out; pods on their way out may
        linger."""
        self.kubectl("rollout", "status", "-n", namespace, workload, f"--timeout={timeout_s:.0f}s")

    def conditions(self, namespace: str, policy: str) -> dict[str, Object]:
        """Those of a policy, by type."""
        found = self.find("lqp", policy, "-n", namespace) or {}
        return {c["type"]: c for c in found.get("status", {}).get("conditions", [])}

    def events(self, namespace: str, about: str) -> list[Object]:
        """Events about the object of that name, oldest first."""
        items = self.get(
            "events", "-n", namespace, f"--field-selector=involvedObject.name={about}"
        )
        return sorted(items["items"], key=lambda e: str(e.get("lastTimestamp")))

    def service_url(self, namespace: str, name: str) -> str:
        spec = self.get("service", name, "-n", namespace)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"


def wait_until(
    what: str, probe: Callable[[], T], timeout_s: float = 120.0, every_s: float = 0.5
) -> T:
    """The first true value of ``probe``; what it raised or gave last is told where time runs
    out."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            value = probe()
            if value:
                return value
            last = value
        except (KubectlError, OSError, KeyError, IndexError, ValueError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{what}: not within {timeout_s:.0f} s; last seen: {last!r:.1500}"
            )
        time.sleep(every_s)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP, read whole."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    url: str,
    body: Object | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30,
) -> Reply:
    """One GET, or a POST of JSON; any status is an answer, no answer raises ``OSError``."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=data, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            text = response.read().decode()
            return Reply(response.status, dict(response.headers), text)
    except urllib.error.HTTPError as error:
        return Reply(error.code, dict(error.headers), error.read().decode())


def chat(
    base_url: str,
    model: str = "llama-70b",
    *,
    tenant: str = "",
    stream: bool = False,
    max_tokens: int = 16,
    timeout_s: float = 30,
) -> Reply:
    """One chat completion."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "How high is the tide at noon?"}],
        "max_tokens": max_tokens,
        "stream": stream,
    }
    headers = {"x-tenant-id": tenant} if tenant else {}
    return ask(f"{base_url}/v1/chat/completions", body, headers, timeout_s)


def answering(cluster: Cluster, namespace: str, name: str = "llama", *, times: int = 3) -> str:
    """The URL of a Service of model servers, once it has answered so many times in a row.

    The node's rules come a moment after its pods are Ready. Until then packets leave the node, and
    whoever is out there may answer in the Service's stead.
    """
    url = cluster.service_url(namespace, name)
    wait_until(
        f"Service {name} answers",
        lambda: all(chat(url, max_tokens=1, timeout_s=5).status == 200 for _ in range(times)),
        timeout_s=60,
    )
    return url


def find_cluster(environ: Mapping[str, str], *, is_up: bool = False) -> Cluster:
    """By ``KUBECONFIG``, else the one beside the checkout, brought up unless it is; raises
    ``LookupError`` where there is none."""
    if environ.get("KUBECONFIG"):
        return Cluster(environ)
    if not CLUSTER.exists():
        raise LookupError(
            "the end-to-end tests need a Kubernetes: set KUBECONFIG to one whose nodes have the "
            "images of `make images` (and run on a machine that reaches its pods)"
        )
    if not is_up and (code := subprocess.run([CLUSTER, "up"], timeout=UP_S).returncode):
        raise LookupError(f"{CLUSTER} up ended with {code}")
    lines = subprocess.run([CLUSTER, "env"], capture_output=True, text=True, check=True).stdout
    shell = subprocess.run(
        ["bash", "-c", f'{lines}\nprintf \'%s\\n%s\' "$KUBECONFIG" "$PATH"'],
        capture_output=True,
        text=True,
        check=True,
    )
    kubeconfig, path = shell.stdout.split("\n")
    return Cluster({**environ, "KUBECONFIG": kubeconfig, "PATH": path})


def load_images(environ: Mapping[str, str]) -> None:
    """Build ours from this checkout and hand them to the node, where the node is ours."""
    if environ.get("KUBECONFIG"):
        return
    bundle = environ.get("PIP_CERT")
    for tag, (context, file) in IMAGES.items():
        # Whoever works meanwhile goes first: the demo's clock does not wait.
        command = ["nice", str(CLUSTER), "image", tag, context, "-f", file, "--layers"]
        if context == ".":
            command += ["--build-arg", f"BASE={BASE}"]
            command += ["--build-arg", f"PIP_CERT={bundle}"] if bundle else []
        subprocess.run(command, cwd=ROOT, timeout=BUILD_S, check=True)


def helm_install(cluster: Cluster, *words: str) -> None:
    """Install or upgrade our chart, waited for."""
    cluster.run(
        *("helm", "upgrade", "--install", "tidegate", "helm/tidegate", "-n", NAMESPACE),
        *("--create-namespace", "--wait", "--timeout", "5m", *words),
        timeout_s=400,
    )


def begin_delete(cluster: Cluster, name: str) -> None:
    """A namespace, with all that is in it; not waited for."""
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
    # Nobody is served here any more, so that nobody's grace need be waited for; not earlier,
    # since a workload would have made new pods.
    hurry = ("--all", "--grace-period=1", "--wait=false", "--ignore-not-found")
    cluster.run("kubectl", "delete", "pods", "-n", name, *hurry, check=False)


def wait_deleted(cluster: Cluster, name: str) -> None:
    cluster.kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=180s")


@contextmanager
def namespace(
    cluster: Cluster, name: str, labels: Mapping[str, str], *, leaving: list[str] | None = None
) -> Iterator[str]:
    """A namespace for a while; that it can be deleted is part of the test.

    ``leaving``: takes its name in the end, for who waits later until it is gone.
    """
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": dict(labels)},
        }
    )
    try:
        yield name
    finally:
        begin_delete(cluster, name)
        if leaving is None:
            wait_deleted(cluster, name)
        else:
            leaving.append(name)


def readiness(pods: Iterable[Object]) -> list[bool]:
    """Whether each pod is Ready."""
    return [
        any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in pod.get("status", {}).get("conditions", [])
        )
        for pod in pods
    ]
