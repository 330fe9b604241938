"""AdmissionReview in, AdmissionReview out.

Law: nobody's pod is refused for a fault of ours. Only a person's own mistake in an annotation of
ours is refused, in that person's words; an exception here lets the object pass with a warning, and
is counted.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from aiohttp import web

from tidegate_operator import logs
from tidegate_operator.hub.measure import Measures, Review
from tidegate_operator.hub.registration import NAMESPACE_SUFFIX
from tidegate_operator.inject.choice import AppPort, Choice, Done, Inject, Skip, choose
from tidegate_operator.inject.options import Reject, unknown_names
from tidegate_operator.inject.patch import Operation, Sidecar, patch_pod
from tidegate_operator.inject.workload import patch_workload, pod_of, wish_problem
from tidegate_wire.names import PATH_MUTATE, PORT_INBOUND

BODY_TIMEOUT_S = 4.0
"""For the API server to send its review, below its own time-out of 5 s; in real seconds."""
MAX_WARNING = 256
"""Characters; the API server may cut longer ones."""
OLDEST_MINOR = 29
"""Kubernetes 1.29 is the first whose init containers restart by default (native sidecars)."""
NAMED_PORT_MINOR = 33
"""Kubernetes 1.33 is the first whose Services find the named port of a native sidecar
(kubernetes#128850): before it, a pod whose port name has moved there gets no traffic."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered to one review."""

    result: Review
    operations: list[Operation]
    warnings: Sequence[str] = ()
    refusal: str = ""


class Webhook:
    """The door that the API server knocks at."""

    def __init__(
        self,
        sidecar: Callable[[], Sidecar],
        own_namespace: str,
        measures: Measures,
        server_minor: Callable[[], int | None] = lambda: None,
    ) -> None:
        """``server_minor`` is the 36 of Kubernetes 1.36; ``None`` where it is not known."""
        self._sidecar = sidecar
        self._own_namespace = own_namespace
        self._measures = measures
        self._server_minor = server_minor

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post(PATH_MUTATE, self._mutate)
        app.router.add_post(PATH_MUTATE + NAMESPACE_SUFFIX, self._mutate)

    async def _mutate(self, request: web.Request) -> web.Response:
        began = perf_counter()
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
        response = web.json_response(answer(uid, verdict))
        self._measures.reviewed(verdict.result, perf_counter() - began)
        return response

    def _judge(self, review: dict[str, Any], namespace_asks: bool) -> Verdict:
        try:
            return self._decide(review, namespace_asks)
        except Exception:  # noqa: BLE001 - the process's edge: our fault must not refuse a pod
            logs.failure("review_failed", namespace=review.get("namespace"))
            sentence = "Tidegate failed on this object and let it pass without a sidecar"
            return Verdict(Review.FAILED, [], (sentence,))

    def _decide(self, review: dict[str, Any], namespace_asks: bool) -> Verdict:
        choose_for = partial(
            choose,
            namespace=review.get("namespace") or "",
            own_namespace=self._own_namespace,
            namespace_asks=namespace_asks,
        )
        manifest = review.get("object") or {}
        if (review.get("kind") or {}).get("kind") != "Pod":
            before = review.get("oldObject") or {}
            return judge_workload(
                manifest,
                self._without_obstacle(choose_for(pod_of(manifest))),
                choose_for(pod_of(before)) if before else None,
            )
        return self._judge_pod(manifest, self._without_obstacle(choose_for(manifest)))

    def _without_obstacle(self, choice: Choice) -> Choice:
        if not isinstance(choice, Inject):
            return choice
        obstacle = too_old(self._server_minor(), choice.port)
        return Skip(obstacle) if obstacle else choice

    def _judge_pod(self, pod: dict[str, Any], choice: Choice) -> Verdict:
        if isinstance(choice, Done):
            return Verdict(Review.UNCHANGED, [])
        if isinstance(choice, Reject):
            return Verdict(Review.REJECTED, [], refusal=choice.message)
        if isinstance(choice, Skip):
            return Verdict(Review.SKIPPED, [], _words(choice, pod))
        operations = patch_pod(pod, choice.port, self._sidecar(), choice.options)
        return Verdict(Review.INJECTED, operations, _words(choice, pod))


def judge_workload(workload: dict[str, Any], choice: Choice, before: Choice | None) -> Verdict:
    """What is answered for a Deployment or StatefulSet whose pods meet ``choice``, and met
    ``before`` in the workload that is replaced.

    A mistake is refused where it is made. One that stands already is told and let be: the write
    may be a controller's, or take a finalizer off.
    """
    leaves = (workload.get("metadata") or {}).get("deletionTimestamp") is not None
    if isinstance(choice, Reject) and choice != before and not leaves:
        return Verdict(Review.REJECTED, [], refusal=choice.message)
    operations = patch_workload(workload)
    said = [wish_problem(workload), *_words(choice, workload)]
    said += unknown_names((workload.get("spec") or {}).get("template") or {})
    result = Review.COPIED if operations else Review.UNCHANGED
    return Verdict(result, operations, tuple(dict.fromkeys(filter(None, said))))


def _words(choice: Choice, manifest: dict[str, Any]) -> tuple[str, ...]:
    """What to tell the person who wrote the manifest."""
    words: tuple[str, ...] = ()
    if isinstance(choice, Inject):
        words = choice.warnings
    elif isinstance(choice, Skip):
        words = (choice.reason,)
    elif isinstance(choice, Reject):
        words = (f"pods are refused until it is mended: {choice.message}",)
    return (*filter(None, words), *unknown_names(manifest))


def answer(uid: str, verdict: Verdict) -> dict[str, Any]:
    """The AdmissionReview that says so."""
    response: dict[str, Any] = {"uid": uid, "allowed": not verdict.refusal}
    if verdict.refusal:
        message = f"tidegate: {verdict.refusal}"
        response["status"] = {"code": 422, "reason": "Invalid", "message": message}
    if verdict.warnings:
        response["warnings"] = [_short(f"tidegate: {each}") for each in verdict.warnings]
    if verdict.operations:
        patch = json.dumps(verdict.operations).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _short(warning: str) -> str:
    """As much as the API server passes on."""
    return warning if len(warning) <= MAX_WARNING else f"{warning[: MAX_WARNING - 1]}\u2026"


def read_minor(version: dict[str, Any]) -> int | None:
    """The 36 of a server's ``/version`` that says 1.36; ``None`` for anything else."""
    digits = "".join(c for c in str(version.get("minor", "")) if c.isdigit())
    return int(digits) if version.get("major") == "1" and digits else None


def too_old(minor: int | None, port: AppPort | None) -> str:
    """A sentence where Kubernetes can't carry a sidecar in front of that port, or of none; else
    empty."""
    if minor is None or minor >= NAMED_PORT_MINOR:
        return ""
    if minor < OLDEST_MINOR:
        return f"no sidecar: Kubernetes must be at least 1.{OLDEST_MINOR}, was: 1.{minor}"
    if port is not None and port.name:
        return (
            f"no sidecar: Services follow a named port to a sidecar from Kubernetes "
            f"1.{NAMED_PORT_MINOR} on, was: 1.{minor}; leave port {port.number} without a name "
            f"and let the Service's targetPort be {PORT_INBOUND}"
        )
    return ""
