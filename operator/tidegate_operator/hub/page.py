"""The status page: read-only, rendered here, at home on a phone and without scripts.

Law: it shows what the mirrors hold and asks nobody. Nothing is loaded from elsewhere, and the
content security policy allows only the style and the script that stand here.
"""

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import web

from tidegate_operator.cluster.mirror import Key
from tidegate_operator.hub import cards
from tidegate_operator.hub.board import Board
from tidegate_operator.hub.telling import headline, spell_s
from tidegate_operator.hub.trail import Point
from tidegate_wire.clock import Clock

REFRESH_S = 15.0
REFRESH_LEAST_S = 2.0
"""Real seconds, however fast the clock runs: what a person and a browser can follow."""
SILENT_S = 900.0
"""Three checkpoints: a policy whose figures are older has lost its operator."""

_STYLE = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
_SCRIPT = files(__package__).joinpath("page.js").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_digest(_STYLE)}; script-src {_digest(_SCRIPT)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """Routes of the page and of its JSON twin."""

    def __init__(self, board: Board, clock: Clock, problem: Callable[[], str]) -> None:
        """``problem`` is a sentence while the figures may be behind; else empty."""
        self._board = board
        self._clock = clock
        self._problem = problem

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self._overview)
        app.router.add_get("/p/{namespace}/{name}", self._policy)
        app.router.add_get("/api/policies", self._api_all)
        app.router.add_get("/api/policies/{namespace}/{name}", self._api_one)

    async def _overview(self, request: web.Request) -> web.Response:
        policies = sorted(self._board.policies.items())
        body = "".join(cards.overview_card(key, policy) for key, policy in policies)
        body = f'<div class="cards">{body}</div>' if policies else _NO_POLICIES
        return self._html("Policies", self._banner(None) + body)

    async def _policy(self, request: web.Request) -> web.Response:
        key = _key(request)
        policy = self._board.policies.get(key)
        if policy is None:
            body = (
                f'<section class="panel"><h1>No such policy</h1><p>{escape("/".join(key))} is not '
            )
            body += 'there. <a href="/">All policies</a></p></section>'
            return self._html("No such policy", body, status=404)
        points, now = self._board.points(key), self._clock.now()
        parts = [
            self._banner(points),
            cards.hero(key, policy),
            cards.charts(policy, points, now, _hours(request)),
            _pair(
                cards.budgets(policy, now) + cards.tenants(policy, now), cards.conditions(policy)
            ),
            cards.decisions(policy, now),
        ]
        phase = headline(policy).phase
        return self._html(f"{key[1]} · {phase or 'new'}", "".join(parts))

    def _banner(self, points: list[Point] | None) -> str:
        problem = self._problem()
        age_s = self._clock.now() - points[-1].t if points else 0.0
        if not problem and age_s > SILENT_S:
            problem = f"The last figures are {spell_s(age_s)} old: is the reconciler running?"
        return f'<p class="banner" role="status">{escape(problem)}</p>' if problem else ""

    def _html(self, title: str, main: str, status: int = 200) -> web.Response:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        every_s = max(REFRESH_LEAST_S, self._clock.real_s(REFRESH_S))
        text = (
            f'<!doctype html><html lang="en" data-every="{every_s:g}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)} · Tidegate</title><style>{_STYLE}</style>"
            f'<noscript><meta http-equiv="refresh" content="{max(5.0, every_s):.0f}"></noscript>'
            '</head><body><div class="top"><a href="/">Tidegate</a><span class="note">'
            f"{now:%a %-d %b %Y, %H:%M:%S} UTC</span></div><main>{main}</main>"
            f"<script>{_SCRIPT}</script></body></html>"
        )
        response = web.Response(
            text=text, content_type="text/html", charset="utf-8", status=status, headers=HEADERS
        )
        response.enable_compression()
        return response

    async def _api_all(self, request: web.Request) -> web.Response:
        found = [self._twin(key, full=False) for key in sorted(self._board.policies)]
        return _json({"policies": found})

    async def _api_one(self, request: web.Request) -> web.Response:
        key = _key(request)
        if key not in self._board.policies:
            return _json({"error": f"no policy {key[0]}/{key[1]}"}, status=404)
        return _json(self._twin(key, full=True))

    def _twin(self, key: Key, *, full: bool) -> dict[str, Any]:
        found = self._board.policies[key]
        twin: dict[str, Any] = {
            "policy": {"namespace": key[0], "name": key[1], "spec": found.get("spec") or {}},
            "status": found.get("status") or {},
        }
        if full:
            twin["recent"] = [point.to_json() for point in self._board.points(key)]
        return twin


def _key(request: web.Request) -> Key:
    return request.match_info["namespace"], request.match_info["name"]


def _hours(request: web.Request) -> int:
    asked = request.query.get("h", "")
    return int(asked) if asked in {str(h) for h in cards.HOURS} else 6


def _pair(left: str, right: str) -> str:
    if left and right:
        return f'<div class="pair"><div>{left}</div><div>{right}</div></div>'
    return left + right


def _json(body: Any, status: int = 200) -> web.Response:
    response = web.Response(
        body=msgspec.json.encode(body),
        content_type="application/json",
        status=status,
        headers=HEADERS,
    )
    response.enable_compression()
    return response


_NO_POLICIES = """<section class="panel"><h1>No policies yet</h1>
<p>Tidegate acts on LLMQualityPolicy objects. This one only watches, and says what it would do:</p>
<pre>kubectl apply -f - &lt;&lt;EOF
apiVersion: tidegate.io/v1alpha1
kind: LLMQualityPolicy
metadata: {name: chat, namespace: default}
spec:
  mode: Shadow
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: llama}
  models: [{name: llama-70b}]
  scaling: {minReplicas: 1, maxReplicas: 10, capacityPerReplica: "2.5"}
EOF
kubectl annotate deployment llama tidegate.io/inject=true</pre></section>"""
