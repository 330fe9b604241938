"""The way to an API server: found, or one line that says what is wrong with it."""

import json
from pathlib import Path

import pytest

from tidegate_operator.cluster.client import NAMESPACE_ENDS, ApiError, KubernetesApi, read_answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a: [b", "flow sequence", id="not YAML"),
        pytest.param("", "no way to an API server", id="empty"),
        pytest.param("{}", "kube-config", id="no contexts"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_one_line(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    # The client library reads the variable once, when it is imported; this is what it made of it.
    monkeypatch.setattr(
        "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path)
    )
    with pytest.raises(ApiError, match=problem) as caught:
        await KubernetesApi.connect()
    assert "\n" not in str(caught.value)
    assert "set KUBECONFIG" in str(caught.value)


def test_a_refusal_by_a_namespace_that_goes_is_told_from_a_missing_right() -> None:
    said = {"kind": "Status", "reason": "Forbidden", "message": "no"}
    with pytest.raises(ApiError) as caught:
        read_answer(403, json.dumps(said).encode())
    assert caught.value.reason == "Forbidden"
    details = {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}
    with pytest.raises(ApiError) as caught:
        read_answer(403, json.dumps({**said, "details": details}).encode())
    assert caught.value.reason == NAMESPACE_ENDS
