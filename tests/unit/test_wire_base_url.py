"""A base URL reads in one way, and what can't go into a request as it is is none."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidegate_wire.base_url import RULE, BaseUrl, problem

READ = {
    "a server of the cluster": (
        "http://llama-8b.shop.svc:8000",
        BaseUrl("http", "llama-8b.shop.svc", 8000, ""),
    ),
    "without a port it is the scheme's": (
        "https://api.a.com",
        BaseUrl("https", "api.a.com", 443, ""),
    ),
    "in the clear too": ("http://a_b", BaseUrl("http", "a_b", 80, "")),
    "the scheme's own port is not said again": ("https://a:443", BaseUrl("https", "a", 443, "")),
    "a path without its last slash": (
        "https://a/openai/v1/",
        BaseUrl("https", "a", 443, "/openai/v1"),
    ),
    "a path that is only a slash is none": ("http://a/", BaseUrl("http", "a", 80, "")),
    "an IPv6 address": ("http://[fd00::1]:8000", BaseUrl("http", "fd00::1", 8000, "")),
}


@pytest.mark.parametrize(("raw", "wanted"), READ.values(), ids=READ)
def test_what_is_read(raw: str, wanted: BaseUrl) -> None:
    assert BaseUrl.read(raw) == wanted
    assert BaseUrl.read(str(wanted)) == wanted
    assert problem(raw) == ""


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("", id="nothing"),
        pytest.param("api.openai.com", id="no scheme"),
        pytest.param("ftp://a", id="another scheme"),
        pytest.param("HTTPS://a", id="capitals, which the policy's schema refuses too"),
        pytest.param("https://", id="no host"),
        pytest.param("https://:443", id="a port alone"),
        pytest.param("https://a:0", id="port 0"),
        pytest.param("https://a:65536", id="a port past the last"),
        pytest.param("https://a:٣", id="a port in other digits"),
        pytest.param("https://user:secret@a", id="a password, which would stand in status"),
        pytest.param("https://a/v1?key=secret", id="a query"),
        pytest.param("https://a/v1#x", id="a fragment"),
        pytest.param("https://ä.example", id="a host that DNS knows by another spelling"),
        pytest.param("https://a/ü", id="a path that has to be escaped"),
        pytest.param("https://a/x y", id="a space"),
        pytest.param("https://a\r\nx: y", id="a line end"),
        pytest.param("https://a\n", id="a last line end"),
    ],
)
def test_what_is_no_base_url(raw: str) -> None:
    assert problem(raw) == RULE


@given(st.text(alphabet=st.characters(max_codepoint=300), max_size=30))
def test_whatever_passes_can_stand_in_a_request_line_and_a_host_header(tail: str) -> None:
    raw = f"https://a{tail}"
    if not problem(raw):
        url = BaseUrl.read(raw)
        assert re.fullmatch(r"[!-~]*", url.path)
        assert re.fullmatch(r"[!-~]+", url.authority)
        assert not set(url.path) & set("?#")
        assert BaseUrl.read(str(url)) == url


CRD = Path(__file__).parents[2] / "crds" / "llmqualitypolicies.yaml"


def test_the_policys_schema_refuses_nothing_that_is_read() -> None:
    crd = yaml.safe_load(CRD.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    model = schema["properties"]["models"]["items"]["properties"]["upstream"]
    assert [raw for raw, _ in READ.values() if not re.search(model["pattern"], raw)] == []
