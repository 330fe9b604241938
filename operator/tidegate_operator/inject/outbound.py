"""How an application's calls to models are led through the sidecar of its pod.

Law: a function of values. Only what a container leaves unset is set; what goes past the sidecar
all the same is told to whoever wrote the manifest. Init containers are left alone: they run before
the sidecar, or beside it as servants of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tidegate_operator.inject.options import Manifest, Mode, Options, annotation
from tidegate_wire.names import ANTHROPIC_UPSTREAM, MODE, OPENAI_UPSTREAM, PORT, PORT_OUTBOUND

Entry = dict[str, Any]
"""One of a container's ``env``."""

LOOPBACK = "127.0.0.1"
_HERE = f"http://{LOOPBACK}:{PORT_OUTBOUND}"
BASE_URLS = {
    "OPENAI_BASE_URL": f"{_HERE}/v1",
    "OPENAI_API_BASE": f"{_HERE}/v1",
    "ANTHROPIC_BASE_URL": _HERE,
}
"""What the providers' SDKs read. OpenAI's expects the version in it, Anthropic's adds it."""
_SAID_IN = {
    "OPENAI_BASE_URL": OPENAI_UPSTREAM,
    "OPENAI_API_BASE": OPENAI_UPSTREAM,
    "ANTHROPIC_BASE_URL": ANTHROPIC_UPSTREAM,
}
_CLEAR = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
"""Proxies that a call to the sidecar would go through."""
_EXCEPT = ("NO_PROXY", "no_proxy")
_PROXIES = (*_CLEAR, "HTTPS_PROXY", "https_proxy", *_EXCEPT)


def missing_variables(container: Manifest) -> list[Entry]:
    """What to add to the ``env`` of one of the pod's containers."""
    env = _env(container)
    values = {name: url for name, url in BASE_URLS.items() if name not in env}
    if _first(env, _CLEAR) and not _exceptions(env):
        values["NO_PROXY"] = LOOPBACK  # Python's clients would ask the proxy for this pod
    return [{"name": name, "value": value} for name, value in values.items()]


def proxy_variables(pod: Manifest) -> list[Entry]:
    """The proxy that the app's calls went through so far, as ``env`` entries for the sidecar: of
    the first container that has one."""
    for container in _containers(pod):
        found = [entry for name, entry in _env(container).items() if name in _PROXIES]
        if found:
            return found
    return []


def warnings(pod: Manifest, options: Options) -> Iterator[str]:
    """A sentence for each thing that will not be as its writer may think."""
    yield from _idle_annotations(pod, options.mode)
    if not options.mode.calls_out:
        return
    for container in _containers(pod):
        env, name = _env(container), container.get("name", "")
        for variable in BASE_URLS:
            if variable in env and env[variable].get("value") != BASE_URLS[variable]:
                yield (
                    f"container {name} sets {variable} itself: such calls go past the sidecar; "
                    f"take it out and say its value in {annotation(_SAID_IN[variable])}"
                )
        if container.get("envFrom") and not options.openai_upstream:
            yield (
                f"container {name} has envFrom, which the sidecar's {', '.join(BASE_URLS)} go "
                f"before; if it holds one of them, say that in {annotation(OPENAI_UPSTREAM)}"
            )
        if (proxy := _first(env, _CLEAR)) and not _excepts_loopback(env):
            yield (
                f"container {name} sets {proxy}, which may lead its calls past the sidecar: "
                f"{_exceptions(env)} must have {LOOPBACK}"
            )


def _idle_annotations(pod: Manifest, mode: Mode) -> Iterator[str]:
    given = (pod.get("metadata") or {}).get("annotations") or {}
    idle = [PORT] if not mode.takes_in else []
    if not mode.calls_out:
        idle += [OPENAI_UPSTREAM, ANTHROPIC_UPSTREAM]
    for name in idle:
        if name in given:
            yield f"{annotation(name)} means nothing while {annotation(MODE)} is {mode}"


def _excepts_loopback(env: Mapping[str, Entry]) -> bool:
    entry = env.get(_exceptions(env), {})
    if "value" not in entry:
        return True  # set by us, or to what can't be seen here
    excepted = [each.strip() for each in entry["value"].split(",")]
    return LOOPBACK in excepted or "*" in excepted


def _exceptions(env: Mapping[str, Entry]) -> str:
    return next((name for name in _EXCEPT if name in env), "")


def _first(env: Mapping[str, Entry], names: tuple[str, ...]) -> str:
    """The first of them that says something; else empty."""
    return next((n for n in names if n in env and env[n].get("value") != ""), "")


def _containers(pod: Manifest) -> list[Manifest]:
    return list((pod.get("spec") or {}).get("containers") or ())


def _env(container: Manifest) -> dict[str, Entry]:
    return {entry["name"]: dict(entry) for entry in container.get("env") or ()}
