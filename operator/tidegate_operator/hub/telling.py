"""A policy in words: its state in one sentence, and figures as people say them.

Law: pure text from the policy object alone; what is absent is called absent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tidegate_operator.hub.trail import number

Manifest = Mapping[str, Any]

PHASES = ("Normal", "Warned", "Degraded", "Blocked")
BAD_WHEN_TRUE = ("ScalingLimited", "Degraded")
"""Conditions whose good state is False."""


def part(manifest: Manifest, *path: str) -> Manifest:
    """A nested object; empty where it is absent or something else."""
    found: Any = manifest
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def items(manifest: Manifest, name: str) -> list[Manifest]:
    """A list of objects; without what is none."""
    found = manifest.get(name)
    return [i for i in found if isinstance(i, Mapping)] if isinstance(found, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What is going on."""

    phase: str
    """One of ``PHASES``, or empty before the first look."""
    mode: str
    model: str
    sentence: str
    ready: bool


def headline(policy: Manifest) -> Headline:
    status = part(policy, "status")
    condition = next((c for c in items(status, "conditions") if c.get("type") == "Ready"), {})
    phase = str(status.get("phase") or "")
    return Headline(
        phase=phase if phase in PHASES else "",
        mode=str(part(policy, "spec").get("mode") or "Shadow"),
        model=str(status.get("activeModel") or ""),
        sentence=_sentence(policy, status, condition),
        ready=condition.get("status") != "False",
    )


def _sentence(policy: Manifest, status: Manifest, ready: Manifest) -> str:
    if not status:
        return "The operator has not looked at this policy yet; it does so within a minute."
    if ready.get("status") == "False":
        return str(ready.get("message") or ready.get("reason") or "The policy is not in force.")
    off = items(status, "tenants")
    rung = _everyones_rung(policy, status)
    if rung:
        told = _degraded(policy, status, rung)
        return f"{told} {_tenants(off)}." if off else told
    if off:
        return f"{_tenants(off)}; the rest is normal."
    return _demand(status)


def _everyones_rung(policy: Manifest, status: Manifest) -> str:
    """Where all stand, whatever a tenant's own budget did to that tenant; empty: on none."""
    degraded = next((c for c in items(status, "conditions") if c.get("type") == "Degraded"), {})
    model = str(status.get("activeModel") or "")
    if model and model != _first_model(policy):
        return "Switch"
    if degraded.get("status") == "True":
        return "Block"
    if degraded:
        return "" if degraded.get("reason") == "Normal" else "Warn"
    rungs = {"Warned": "Warn", "Degraded": "Switch", "Blocked": "Block"}
    return "" if items(status, "tenants") else rungs.get(str(status.get("phase")), "")


def _first_model(policy: Manifest) -> str:
    return next((str(m.get("name")) for m in items(part(policy, "spec"), "models")), "")


def _degraded(policy: Manifest, status: Manifest, rung: str) -> str:
    because = _last_of_all(policy, status)
    if rung == "Block":
        return f"Requests are refused. {because}".strip()
    if rung == "Warn":
        return because or "A threshold for a warning is passed; nothing else has changed."
    model, normal = str(status.get("activeModel") or ""), _first_model(policy)
    if model and normal and model != normal:
        # Its own words end with the same.
        because = _sentenced(because.removesuffix(f": {model} answers."))
        return f"{model} answers in place of {normal}. {because}".strip()
    return because or "The policy stands off its normal rung."


def _last_of_all(policy: Manifest, status: Manifest) -> str:
    """The last step on the ladder that was about everyone, in its own words."""
    budgets = items(part(policy, "spec"), "budgets")
    apart = {str(b.get("name")) for b in budgets if b.get("scope") == "Tenant"}
    for decision in items(status, "decisions"):
        of_tenant = str(decision.get("subject") or "").partition("/")[0] in apart
        if decision.get("action") in ("Warn", "Switch", "Block", "Probe") and not of_tenant:
            return _sentenced(str(decision.get("message") or ""))
    return ""


def _sentenced(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."


def tenant_name(name: object) -> str:
    """Requests that bear no tenant's name share a budget, too."""
    return str(name or "(no tenant)")


def _tenants(off: Sequence[Manifest]) -> str:
    verbs = {"Block": "blocked", "Switch": "moved to another model", "Warn": "warned"}
    groups = []
    for rung, verb in verbs.items():
        names = [tenant_name(t.get("name")) for t in off if t.get("rung") == rung]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            be = "is" if len(names) == 1 else "are"
            groups.append((len(names), f"{', '.join(names[:3])}{more} {be} {verb}"))
    if not groups:
        return f"{len(off)} tenants are off the normal rung"
    who = "Tenant" if groups[0][0] == 1 else "Tenants"
    return f"{who} {', '.join(text for _, text in groups)}"


def _demand(status: Manifest) -> str:
    demand, forecast = part(status, "demand"), part(status, "forecast")
    replicas = part(status, "replicas")
    state = str(demand.get("state") or "")
    if state in ("Absent", "Stale", "Error"):
        problem = {
            "Absent": "No sidecar reports demand yet, so nothing is scaled.",
            "Stale": "Figures from the sidecars are too old to act on; replicas are held.",
            "Error": "The sidecars can't be read; replicas are held.",
        }
        return problem[state]
    now, ahead = number(demand.get("rps")), number(forecast.get("demandAhead"))
    if now is None:
        return "All normal."
    if ahead is None:
        return f"{figure(now)} requests/s now. {pods(replicas)}".strip()
    horizon = str(forecast.get("horizon") or "")
    within = f" within {spell_duration(horizon)}" if horizon else " ahead"
    words = f"{figure(now)} requests/s now, at most {figure(ahead)} expected{within}."
    return f"{words} {pods(replicas)}".strip()


def pods(replicas: Manifest) -> str:
    """``3 of 5 wanted pods are ready.``"""
    ready, wanted = number(replicas.get("ready")), number(replicas.get("desired"))
    if ready is None or wanted is None:
        return ""
    if ready == wanted:
        return f"{wanted:.0f} {'pod' if wanted == 1 else 'pods'} wanted and ready."
    return f"{wanted:.0f} {'pod' if wanted == 1 else 'pods'} wanted, {ready:.0f} ready."


def figure(value: object) -> str:
    """A number as it is read: ``1,610,000``, ``12.1``; ``-`` where there is none."""
    found = number(value)
    if found is None:
        return "–"
    if found == int(found) or abs(found) >= 1000:
        return f"{found:,.0f}"
    return f"{found:,.2f}" if abs(found) < 1 else f"{found:,.1f}"


def amount(value: object) -> str:
    """Tokens as whole numbers, money with its two decimals."""
    found = number(value)
    return figure(found) if found is None or found == int(found) else f"{found:,.2f}"


def duration_s(text: str) -> float | None:
    """Seconds of a Go-style duration such as ``1h6m0s``; ``None`` where it is none."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "d": 86400.0}
    total, digits = 0.0, ""
    for letter in text:
        if letter.isdigit() or letter == ".":
            digits += letter
        elif letter in units and number(digits) is not None:
            total += float(digits) * units[letter]
            digits = ""
        else:
            return None
    return total if text and not digits else None


def spell_duration(text: str) -> str:
    """``6m0s`` as ``6 min``; what is no duration stays as it is."""
    found = duration_s(text)
    return text if found is None else spell_s(found)


def spell_s(seconds: float) -> str:
    """``2 d 3 h``, ``1 h 12 min``, ``3 min 30 s``, ``40 s``."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600 and round(seconds % 60) % 60:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    minutes = round(seconds / 60)
    days, hours = divmod(minutes // 60, 24)
    pieces = [(days, "d"), (hours, "h"), (0 if days else minutes % 60, "min")]
    return " ".join(f"{n} {unit}" for n, unit in pieces if n) or "0 min"


def moment(text: object) -> float | None:
    """Unix seconds of an RFC 3339 time; ``None`` where it is none."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def time_of(text: object, now: float) -> str:
    """``14:05``, with the day where that is another one; UTC."""
    t = moment(text)
    if t is None:
        return str(text or "–")
    at, today = datetime.fromtimestamp(t, UTC), datetime.fromtimestamp(now, UTC)
    return f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%-d %b %H:%M}"


def next_steps(policy: Manifest) -> Iterator[str]:
    """What to do where nothing can be shown yet."""
    status, spec = part(policy, "status"), part(policy, "spec")
    target = part(spec, "targetRef").get("name", "TARGET")
    namespace = part(policy, "metadata").get("namespace", "default")
    sidecars = part(status, "sidecars")
    if not status:
        yield "kubectl -n tidegate-system get deploy"
        return
    if not number(sidecars.get("reporting")):
        yield f"kubectl -n {namespace} annotate deployment {target} tidegate.io/inject=true"
