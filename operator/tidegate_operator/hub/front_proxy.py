"""Who may ask for external metrics: the API server, by the certificate that it proxies with.

Law: nobody is believed for what a header says. Behind API aggregation the API server has checked
the user and what it may; that a request comes from there, a client certificate proves, signed by
the authority and carrying one of the names that ``kube-system/extension-apiserver-authentication``
publishes. It is read anew all the time, since both may be renewed.
"""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tidegate_operator.cluster.client import Api, ApiError, Object
from tidegate_operator.hub.external_metrics import status

CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


@dataclass(frozen=True, slots=True)
class FrontProxy:
    ca_pem: str
    names: frozenset[str]
    """Common names that are let in; empty: any that the authority has signed."""


async def find_front_proxy(api: Api) -> FrontProxy:
    """``ApiError`` where the cluster does not say, or not to us."""
    return read_front_proxy(await api.get(CONFIG_MAP))


def read_front_proxy(config_map: Object) -> FrontProxy:
    data = config_map.get("data") or {}
    ca_pem = str(data.get("requestheader-client-ca-file") or "")
    if not ca_pem:
        words = (
            "extension-apiserver-authentication in kube-system has no"
            " requestheader-client-ca-file: the API server is set up without aggregation, so no"
            " HPA can ask the hub"
        )
        raise ApiError(0, "NoAggregation", words)
    try:
        names = json.loads(data.get("requestheader-allowed-names") or "[]")
        return FrontProxy(ca_pem=ca_pem, names=frozenset(str(name) for name in names))
    except (ValueError, TypeError) as error:
        words = f"requestheader-allowed-names must be a JSON list of names: {error}"
        raise ApiError(0, "NoAggregation", words) from error


class Guard:
    """Lets the front proxy in, and nobody else."""

    def __init__(self) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self._front: FrontProxy | None = None

    def trust(self, front: FrontProxy) -> None:
        """From the next handshake on. OpenSSL forgets no authority of a context: an old one
        counts until the process ends."""
        if self._front is None or front.ca_pem != self._front.ca_pem:
            self.context.load_verify_locations(cadata=front.ca_pem)
        self._front = front

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            transport = request.transport
            peer = None if transport is None else transport.get_extra_info("peercert")
            if self._front is None or not is_allowed(self._front, peer):
                return status(401, "Unauthorized", "only the API server's front proxy may ask")
            return await handler(request)

        return guard


def is_allowed(front: FrontProxy, certificate: Mapping[str, Any] | None) -> bool:
    """``certificate`` is one that the handshake has verified, as ``ssl`` tells it."""
    if not certificate:
        return False
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = {value for kind, value in subject if kind == "commonName"}
    return not front.names or not names.isdisjoint(front.names)
