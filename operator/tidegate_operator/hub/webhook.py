"""AdmissionReview in, AdmissionReview out.

Law: nobody's pod is refused for a fault of ours. Only a person's own mistake in an annotation of
ours is refused, in that person's words; an exception here lets the object pass with a warning, and
is counted.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tidegate_operator import logs
from tidegate_operator.hub.measure import Measures, Review
from tidegate_operator.hub.registration import NAMESPACE_SUFFIX
from tidegate_operator.inject.choice import Inject, Reject, Skip, choose, has_sidecar
from tidegate_operator.inject.patch import Operation, Sidecar, patch_pod
from tidegate_operator.inject.workload import patch_workload, wish_problem
from tidegate_wire.names import PATH_MUTATE

BODY_TIMEOUT_S = 4.0
"""For the API server to send its review, below its own time-out of 5 s; in real seconds."""
OLDEST_MINOR = 29
"""Kubernetes 1.29 is the first whose init containers restart by default (native sidecars)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered to one review."""

    result: Review
    operations: list[Operation]
    warning: str = ""
    refusal: str = ""


class Webhook:
    """The door that the API server knocks at."""

    def __init__(
        self,
        sidecar: Callable[[], Sidecar],
        own_namespace: str,
        measures: Measures,
        obstacle: Callable[[], str] = lambda: "",
    ) -> None:
        """``obstacle`` is a sentence where this cluster can't carry sidecars at all."""
        self._sidecar = sidecar
        self._own_namespace = own_namespace
        self._measures = measures
        self._obstacle = obstacle

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post(PATH_MUTATE, self._mutate)
        app.router.add_post(PATH_MUTATE + NAMESPACE_SUFFIX, self._mutate)

    async def _mutate(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = json.loads(await request.read())
            review = body["request"]
            uid = review["uid"]
        except TimeoutError:
            return web.Response(status=408, text="the review did not arrive in time\n")
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400, text="body must be an AdmissionReview\n")
        verdict = self._judge(review, request.path.endswith(NAMESPACE_SUFFIX))
        self._measures.reviewed(verdict.result)
        return web.json_response(answer(uid, verdict))

    def _judge(self, review: dict[str, Any], namespace_asks: bool) -> Verdict:
        try:
            return self._decide(review, namespace_asks)
        except Exception:  # noqa: BLE001 - the process's edge: our fault must not refuse a pod
            logs.failure("review_failed", namespace=review.get("namespace"))
            sentence = "Tidegate failed on this object and let it pass without a sidecar"
            return Verdict(Review.FAILED, [], warning=sentence)

    def _decide(self, review: dict[str, Any], namespace_asks: bool) -> Verdict:
        manifest = review.get("object") or {}
        if (review.get("kind") or {}).get("kind") != "Pod":
            return judge_workload(manifest)
        choice = choose(
            manifest,
            namespace=review.get("namespace") or "",
            own_namespace=self._own_namespace,
            namespace_asks=namespace_asks,
        )
        if isinstance(choice, Reject):
            return Verdict(Review.REJECTED, [], refusal=choice.message)
        if isinstance(choice, Skip):
            return Verdict(Review.SKIPPED, [], warning=choice.reason)
        if obstacle := self._obstacle():
            return Verdict(Review.SKIPPED, [], warning=obstacle)
        return self._inject(manifest, choice)

    def _inject(self, pod: dict[str, Any], choice: Inject) -> Verdict:
        if has_sidecar(pod):
            return Verdict(Review.UNCHANGED, [])
        operations = patch_pod(pod, choice.port, self._sidecar())
        return Verdict(Review.INJECTED, operations, warning=choice.warning)


def judge_workload(workload: dict[str, Any]) -> Verdict:
    """What is answered for a Deployment or StatefulSet."""
    operations = patch_workload(workload)
    if isinstance(operations, Reject):
        return Verdict(Review.REJECTED, [], refusal=operations.message)
    result = Review.COPIED if operations else Review.UNCHANGED
    return Verdict(result, operations, warning=wish_problem(workload))


def answer(uid: str, verdict: Verdict) -> dict[str, Any]:
    """The AdmissionReview that says so."""
    response: dict[str, Any] = {"uid": uid, "allowed": not verdict.refusal}
    if verdict.refusal:
        message = f"tidegate: {verdict.refusal}"
        response["status"] = {"code": 422, "reason": "Invalid", "message": message}
    if verdict.warning:
        response["warnings"] = [f"tidegate: {verdict.warning}"]
    if verdict.operations:
        patch = json.dumps(verdict.operations).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def too_old(version: dict[str, Any]) -> str:
    """A sentence where a server's ``/version`` is below what sidecars need; else empty."""
    digits = "".join(c for c in str(version.get("minor", "")) if c.isdigit())
    if version.get("major") != "1" or not digits or int(digits) >= OLDEST_MINOR:
        return ""
    return f"no sidecar: Kubernetes must be at least 1.{OLDEST_MINOR}, was: 1.{digits}"
