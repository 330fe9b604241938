"""The way out of a real sidecar: set up by variables alone, by TLS, through a company's proxy."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from openai import APIStatusError, AsyncOpenAI

import selfmade_ca
from forward_proxy import forwarding
from sidecar_process import SidecarProcess
from tidegate_wire.stats import SidecarStats
from upstream import Call, like_a_server, serving

PROVIDER = "provider.example"
OUT_ONLY = {"TIDEGATE_OUTBOUND_LISTEN": "127.0.0.1:0", "TIDEGATE_DRAIN_ACCEPT_S": "0"}
"""Beside ``--listen off``, which goes before the port that ``SidecarProcess`` asks for."""
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


def client_of(sidecar: SidecarProcess) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{sidecar.outbound}/v1", api_key="sk-app", max_retries=0)


async def test_a_provider_is_called_by_tls_through_the_companys_proxy(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """By the system's authorities, which SSL_CERT_FILE says, although start-up reads none."""
    made = selfmade_ca.make(tmp_path, PROVIDER)
    (tmp_path / "ca.pem").write_text(made.ca_pem)
    async with (
        serving(like_a_server, made.server) as provider,
        forwarding({f"{PROVIDER}:443": provider.port}, user="team:pass-word") as proxy,
    ):
        env = {
            **OUT_ONLY,
            "TIDEGATE_OPENAI_UPSTREAM": f"https://{PROVIDER}",
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
            "https_proxy": f"http://team:pass-word@127.0.0.1:{proxy.port}",
        }
        async with SidecarProcess("--listen", "off", env=env) as sidecar:
            assert sidecar.url == ""
            async with client_of(sidecar) as client:
                answer = await client.chat.completions.create(model="m", messages=[])
                assert answer.choices[0].message.content == "hello"
            async with http.get(sidecar.admin + "/stats") as page:
                (series,) = SidecarStats.from_json(await page.read()).series
            sidecar.terminate()
            assert await sidecar.exit_code() == 0
        assert (series.model, series.outcomes, series.tokens_out) == ("m", {"ok": 1}, 3)
        assert proxy.asked == [f"CONNECT {PROVIDER}:443"]
        told = str(sidecar.lines)
        assert "pass-word" not in told
        assert "sk-app" not in told


async def test_a_provider_whose_certificate_nobody_vouches_for_is_named_to_the_app(
    tmp_path: Path,
) -> None:
    made = selfmade_ca.make(tmp_path, "localhost")
    async with serving(like_a_server, made.server) as provider:
        env = OUT_ONLY | {"TIDEGATE_OPENAI_UPSTREAM": f"https://localhost:{provider.port}"}
        async with (
            SidecarProcess("--listen", "off", env=env) as sidecar,
            client_of(sidecar) as sdk,
        ):
            with pytest.raises(APIStatusError) as caught:
                await sdk.chat.completions.create(model="m", messages=[])
        assert caught.value.status_code == 502
        assert "the certificate of localhost is not accepted: " in caught.value.message
        async with (
            SidecarProcess(
                *("--listen", "off"), env=env | {"TIDEGATE_UPSTREAM_CA": made.ca_pem}
            ) as sidecar,
            client_of(sidecar) as sdk,
        ):
            assert await sdk.chat.completions.create(model="m", messages=[])


async def test_an_app_that_is_told_to_stop_still_calls_out_until_it_has_ended(
    http: aiohttp.ClientSession,
) -> None:
    """Its preStop hook drains the way in; SIGTERM, which follows its end, ends the way out."""
    goes_on = asyncio.Event()

    async def script(call: Call) -> None:
        await goes_on.wait()
        await like_a_server(call)

    async with serving(script) as provider:
        env = OUT_ONLY | {"TIDEGATE_OPENAI_UPSTREAM": provider.url}
        async with SidecarProcess(env=env) as sidecar:
            drained = asyncio.create_task(fetch(http, sidecar.admin + "/drain"))
            await sidecar.line("draining")
            running = asyncio.create_task(ask(http, sidecar))
            while not provider.calls:
                await asyncio.sleep(0.01)
            with pytest.raises(aiohttp.ClientConnectorError):
                await fetch(http, sidecar.url + "/health")
            goes_on.set()
            assert (await running, await drained) == (200, 200)
            assert await ask(http, sidecar) == 200
            sidecar.terminate()
            assert await sidecar.exit_code() == 0


async def fetch(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def ask(http: aiohttp.ClientSession, sidecar: SidecarProcess) -> int:
    async with http.post(sidecar.outbound + "/v1/chat/completions", json=ASK) as answer:
        await answer.read()
        return answer.status


WRONG = {
    "it has neither a way in nor one out": (
        {"TIDEGATE_LISTEN": "off"},
        "TIDEGATE_OUTBOUND_LISTEN must be HOST:PORT, such as 127.0.0.1:14110, while "
        "TIDEGATE_LISTEN is off, was: off",
    ),
    "its provider is no URL": (
        {**OUT_ONLY, "TIDEGATE_ANTHROPIC_UPSTREAM": "api.anthropic.com"},
        "TIDEGATE_ANTHROPIC_UPSTREAM must be like http://host:8000 or https://host/path, "
        "was: 'api.anthropic.com'",
    ),
}


@pytest.mark.parametrize(("env", "said"), WRONG.values(), ids=WRONG)
def test_a_sidecar_does_not_start_if(env: dict[str, str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate_sidecar", "--admin", "127.0.0.1:0"],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"tidegate-sidecar: {said}\n")
