"""The server: builds the parts, listens on loopback, hands out credentials.

Law: everything is in memory and ends with the process; it listens where it is told, and on
loopback unless told otherwise, since whoever holds the administrator's token may do all.
"""

import base64
import random
import secrets
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml
from aiohttp import web

from tidegate_operator.demo.kubeapi.admission import Admission
from tidegate_operator.demo.kubeapi.auth import DEFAULT_EXPIRY_S, Authenticator
from tidegate_operator.demo.kubeapi.collector import Collector
from tidegate_operator.demo.kubeapi.direct import DirectAccess
from tidegate_operator.demo.kubeapi.endpoints import Endpoints
from tidegate_operator.demo.kubeapi.errors import Object
from tidegate_operator.demo.kubeapi.kinds import Kinds
from tidegate_operator.demo.kubeapi.store import HISTORY, Store
from tidegate_operator.demo.kubeapi.verbs import Verbs
from tidegate_operator.hub.certs import issue, load_into
from tidegate_wire.clock import Clock

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
"""What every cluster starts with."""


class KubeApi:
    """A Kubernetes API for one process; ``start`` makes it listen, ``store`` works without."""

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int | None = None,
        history: int = HISTORY,
        admin_token: str | None = None,
        kinds: Kinds | None = None,
    ) -> None:
        """``seed`` makes UIDs and generated names repeat; ``history`` is how many writes per
        kind are replayable; ``kinds`` are all the built-in ones unless said otherwise."""
        self._clock = clock
        self._services: dict[tuple[str, str], tuple[str, int]] = {}
        self._objects = Store(kinds or Kinds.builtin(), random.Random(seed), history=history)
        collector = Collector(self._objects)
        self._objects.reactions.append(collector.react)
        token = admin_token or secrets.token_urlsafe(24)
        self._authenticator = Authenticator(self._objects, secrets.token_bytes(32), token)
        self._admission = Admission(self._objects, self._services)
        verbs = Verbs(self._objects, collector, self._admission, clock)
        self.store = DirectAccess(self._objects, verbs, clock)
        self._endpoints = Endpoints(self._objects, verbs, self._authenticator, clock)
        self._runner: web.AppRunner | None = None
        self._url = ""
        self.ca_pem = ""
        """What clients must trust; empty without TLS."""
        for name in NAMESPACES:
            self.store.create("namespaces", None, {"metadata": {"name": name}})

    @property
    def url(self) -> str:
        """Where it listens; empty before ``start``."""
        return self._url

    @property
    def admin_token(self) -> str:
        return self._authenticator.admin_token

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, tls: bool = False) -> str:
        """Listens, on a free port unless one is given; the URL.

        ``tls``: with a certificate made on the spot. kubectl needs it: it sends no token in clear.
        """
        runner = web.AppRunner(self._endpoints.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        context = self._certify(host) if tls else None
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        self._runner = runner
        bound_host, bound_port = runner.addresses[0][:2]
        self._url = f"{'https' if tls else 'http'}://{bound_host}:{bound_port}"
        return self._url

    def _certify(self, host: str) -> ssl.SSLContext:
        # Real time, also on a fast clock: clients' OpenSSL compares it with the system's.
        bundle = issue(datetime.now(UTC), [host, "localhost"])
        self.ca_pem = bundle.ca_pem
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_into(context, bundle)
        return context

    async def stop(self) -> None:
        self.drop_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._admission.close()

    def drop_watches(self) -> int:
        """Ends all watches over HTTP, as a restart would; how many there were."""
        return self._endpoints.drop_watches()

    def forget_history(self, plural: str) -> None:
        """Makes resuming a watch, or a list, from before now fail with 410."""
        self._objects.log(self._objects.kinds.named(plural)).forget()

    def route_service(self, namespace: str, name: str, host: str, port: int) -> None:
        """Tells webhook calls where a Service's server listens: there is no cluster network
        here."""
        self._services[namespace, name] = (host, port)

    def token_for(
        self,
        namespace: str,
        service_account: str,
        audience: str | Sequence[str],
        pod_name: str,
        pod_uid: str,
        *,
        expiry_s: float = DEFAULT_EXPIRY_S,
    ) -> str:
        """A token as the kubelet projects it into a pod; it dies with the pod. 404 if the
        account is not there."""
        audiences = [audience] if isinstance(audience, str) else audience
        return self._authenticator.issue(
            namespace,
            service_account,
            audiences,
            self._clock.now(),
            pod=(pod_name, pod_uid),
            expiry_s=expiry_s,
        )

    def kubeconfig(self, path: Path, *, namespace: str = "default") -> Path:
        """Writes a kubeconfig with all rights, readable by its owner alone."""
        cluster = {"server": self._url}
        if self.ca_pem:
            cluster["certificate-authority-data"] = base64.b64encode(self.ca_pem.encode()).decode()
        config: Object = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tidegate-demo", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.admin_token}}],
            "contexts": [
                {
                    "name": "tidegate-demo",
                    "context": {
                        "cluster": "tidegate-demo",
                        "user": "admin",
                        "namespace": namespace,
                    },
                }
            ],
            "current-context": "tidegate-demo",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path
