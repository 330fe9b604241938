"""Mutating webhooks: who is asked about a write, and what becomes of the answer.

Law: this is the one place where the server calls somebody else. A webhook that cannot be asked
is treated as its ``failurePolicy`` says, and never silently: the write fails, or a warning goes
back to the client.
"""

import base64
import binascii
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import uuid4

import aiohttp
import jsonpatch
import jsonpointer
import msgspec

from tidegate_operator.demo.kubeapi.auth import User
from tidegate_operator.demo.kubeapi.errors import ApiError, Object, forbidden, internal
from tidegate_operator.demo.kubeapi.kinds import Kind
from tidegate_operator.demo.kubeapi.matching import labels_of, selector_matches
from tidegate_operator.demo.kubeapi.rules import (
    InvalidRuleError,
    RuleFailedError,
    compile_expression,
    plain_value,
)
from tidegate_operator.demo.kubeapi.store import Store

_log = logging.getLogger(__name__)
ServiceAddresses = Mapping[tuple[str, str], tuple[str, int]]
"""(namespace, name) of a Service -> where its one server really listens: there is no cluster
network here."""


class WebhookFailedError(Exception):
    """A webhook could not be asked, or gave no usable answer."""


class UnknownMatchError(Exception):
    """Whether a webhook wants to be asked cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write, before it is done."""

    kind: Kind
    operation: str
    """CREATE, UPDATE or DELETE."""
    namespace: str | None
    name: str
    object: Object | None
    old: Object | None
    user: User
    subresource: str = ""
    dry_run: bool = False


@dataclass(slots=True)
class Verdict:
    """What came of it: the object to keep, and what to tell the client."""

    object: Object | None
    warnings: list[str] = field(default_factory=list)


class Admission:
    """Asks the webhooks that are registered in the store."""

    def __init__(self, store: Store, services: ServiceAddresses) -> None:
        self._store = store
        self._services = services
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def review(self, write: Write) -> Verdict:
        """Raises ApiError if a webhook says no, or fails and must not."""
        verdict = Verdict(write.object)
        asked: list[tuple[Object, Object | None]] = []
        for webhook in self._webhooks():
            if await self._ask_if_wanted(webhook, write, verdict):
                asked.append((webhook, verdict.object))
        for webhook, seen in asked:
            # What a later webhook changed is shown once more to those who asked for it.
            if webhook["reinvocationPolicy"] == "IfNeeded" and seen != verdict.object:
                await self._ask_if_wanted(webhook, write, verdict)
        return verdict

    def _webhooks(self) -> list[Object]:
        kind = self._store.kinds.at(
            "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations"
        )
        configurations = self._store.snapshot(kind)
        return [webhook for each in configurations for webhook in each.get("webhooks") or ()]

    async def _ask_if_wanted(self, webhook: Object, write: Write, verdict: Verdict) -> bool:
        name = webhook["name"]
        try:
            if not self._wants(webhook, write, verdict.object):
                return False
            response = await self._call(webhook, _review(write, verdict.object))
            _apply(response, name, verdict)
        except WebhookFailedError as error:
            if webhook["failurePolicy"] != "Ignore":
                raise internal(f'failed calling webhook "{name}": {error}') from error
            _log.warning("failed calling webhook %s, going on without it: %s", name, error)
            return False
        except UnknownMatchError as error:
            if webhook["failurePolicy"] != "Ignore":
                shown = f'{write.kind.qualified} "{write.name}" is forbidden: {error}'
                raise forbidden(shown) from error
            _log.warning("going on without webhook %s: %s", name, error)
            return False
        return True

    def _wants(self, webhook: Object, write: Write, obj: Object | None) -> bool:
        if not any(_rule_matches(rule, write) for rule in webhook.get("rules") or ()):
            return False
        if not selector_matches(webhook["namespaceSelector"], self._namespace_labels(write)):
            return False
        shown = [each for each in (obj, write.old) if each is not None]
        if not any(selector_matches(webhook["objectSelector"], labels_of(each)) for each in shown):
            return False
        return _conditions_hold(webhook.get("matchConditions") or (), write, obj)

    def _namespace_labels(self, write: Write) -> Mapping[str, str]:
        if write.kind.kind == "Namespace":
            return labels_of(write.object or write.old or {})
        if write.namespace is None:
            return {}
        spaces = self._store.kinds.at("", "v1", "namespaces")
        return labels_of(self._store.find(spaces, None, write.namespace) or {})

    async def _call(self, webhook: Object, review: Object) -> Object:
        config = webhook["clientConfig"]
        url, server_name = self._address(config)
        timeout_s = webhook["timeoutSeconds"]
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.post(
                url,
                params={"timeout": f"{timeout_s}s"},
                data=msgspec.json.encode(review),
                headers={"Content-Type": "application/json"},
                # Real seconds, also on a fast clock: it guards I/O on loopback.
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                ssl=_tls(config.get("caBundle") or "") if url.startswith("https") else False,
                server_hostname=server_name,
            ) as answer:
                body = await answer.read()
        except TimeoutError as error:
            raise WebhookFailedError(f'Post "{url}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError) as error:
            raise WebhookFailedError(f'Post "{url}": {error}') from error
        if answer.status != 200:
            raise WebhookFailedError(f'Post "{url}": the server answered {answer.status}')
        return _response(body, review["request"]["uid"])

    def _address(self, config: Object) -> tuple[str, str | None]:
        """The URL to call and the name that the certificate must bear."""
        if "url" in config:
            return config["url"], None
        service = config["service"]
        place = (service["namespace"], service["name"])
        if place not in self._services:
            raise WebhookFailedError(f'service "{place[1]}" not found')
        host, port = self._services[place]
        server_name = f"{place[1]}.{place[0]}.svc"
        return f"https://{host}:{port}{service.get('path') or '/'}", server_name


@lru_cache(maxsize=16)
def _tls(ca_bundle: str) -> ssl.SSLContext:
    try:
        pem = base64.b64decode(ca_bundle).decode() if ca_bundle else None
        return ssl.create_default_context(cadata=pem)
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
        raise WebhookFailedError(f"unable to load root certificates: {error}") from error


def _rule_matches(rule: Object, write: Write) -> bool:
    def listed(field: str, value: str) -> bool:
        return "*" in rule.get(field, ()) or value in rule.get(field, ())

    scope = {"Namespaced": True, "Cluster": False}.get(rule.get("scope", "*"))
    if scope is not None and scope is not (write.namespace is not None):
        return False
    return (
        listed("operations", write.operation)
        and listed("apiGroups", write.kind.group)
        and listed("apiVersions", write.kind.version)
        and _resource_matches(rule.get("resources") or (), write)
    )


def _resource_matches(resources: Sequence[str], write: Write) -> bool:
    for each in resources:
        plural, _, subresource = each.partition("/")
        if plural in ("*", write.kind.plural) and subresource in ("*", write.subresource):
            return True
    return False


def _conditions_hold(
    conditions: Sequence[Mapping[str, Any]], write: Write, obj: Object | None
) -> bool:
    """Whether all hold; as upstream, one that is false outweighs one that cannot be told."""
    variables = {
        "object": plain_value(obj),
        "oldObject": plain_value(write.old),
        "request": plain_value(_request(write)),
    }
    problem: str | None = None
    for condition in conditions:
        try:
            if not compile_expression(condition["expression"]).evaluate(variables):
                return False
        except (InvalidRuleError, RuleFailedError) as error:
            problem = f"matchCondition {condition['name']!r}: {error}"
    if problem is not None:
        raise UnknownMatchError(problem)
    return True


def _request(write: Write) -> Object:
    kind = write.kind
    about = {"group": kind.group, "version": kind.version}
    shown = (
        {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        if write.subresource == "scale"
        else about | {"kind": kind.kind}
    )
    request: Object = {
        "kind": shown,
        "resource": about | {"resource": kind.plural},
        "requestKind": shown,
        "requestResource": about | {"resource": kind.plural},
        "name": write.name,
        "operation": write.operation,
        "userInfo": write.user.info(),
        "dryRun": write.dry_run,
    }
    if write.namespace is not None:
        request["namespace"] = write.namespace
    if write.subresource:
        request["subResource"] = request["requestSubResource"] = write.subresource
    return request


def _review(write: Write, obj: Object | None) -> Object:
    request = _request(write) | {"uid": str(uuid4()), "object": obj, "oldObject": write.old}
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def _response(body: bytes, uid: str) -> Object:
    try:
        review = msgspec.json.decode(body)
        response: Object = review["response"]
        if response.get("uid") != uid:
            raise WebhookFailedError(f"expected response.uid={uid}, got {response.get('uid')}")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise WebhookFailedError(f"could not read the answer: {error!r}") from error
    return response


def _apply(response: Object, name: str, verdict: Verdict) -> None:
    verdict.warnings.extend(response.get("warnings") or ())
    if not response.get("allowed"):
        raise _denied(name, response.get("status") or {})
    if not response.get("patch"):
        return
    if response.get("patchType") != "JSONPatch":
        raise WebhookFailedError(f"unexpected response.patchType: {response.get('patchType')}")
    try:
        patch = msgspec.json.decode(base64.b64decode(response["patch"]))
    except (binascii.Error, msgspec.DecodeError) as error:
        raise WebhookFailedError(f"received undecodable patch: {error}") from error
    try:
        verdict.object = jsonpatch.apply_patch(verdict.object, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        # Upstream too refuses the write here, even where the policy is Ignore.
        raise internal(str(error)) from error


def _denied(name: str, status: Object) -> ApiError:
    why = status.get("message") or status.get("reason")
    shown = f'admission webhook "{name}" denied the request'
    message = f"{shown}: {why}" if why else f"{shown} without explanation"
    return ApiError(max(400, status.get("code") or 0), status.get("reason") or "", message)
