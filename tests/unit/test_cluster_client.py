"""The way to an API server: found, or one line that says what is wrong with it."""

from pathlib import Path

import pytest

from tidegate_operator.cluster.client import ApiError, KubernetesApi


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
