"""Who is asking: an administrator's token, and ServiceAccount tokens that this server signs.

Law: pure; time comes as ``now``. Tokens are real JWTs (HS256 instead of RS256, since nobody but
this server checks them), bound to a ServiceAccount and, if projected, to a pod: they die with
either. There is no RBAC: whoever is known may do all.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tidegate_operator.demo.kubeapi.errors import Object, not_found, unauthorized
from tidegate_operator.demo.kubeapi.store import Store

API_AUDIENCE = "https://kubernetes.default.svc.cluster.local"
ISSUER = API_AUDIENCE
MIN_EXPIRY_S = 600
"""Upstream's least life of a token."""
DEFAULT_EXPIRY_S = 3600

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


class InvalidTokenError(ValueError):
    """A token is not this server's, is out of date, or what it is bound to is gone."""


@dataclass(frozen=True, slots=True)
class User:
    """Who a request comes from, as admission webhooks and TokenReview see it."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = field(default_factory=dict)

    def info(self) -> Object:
        info: Object = {"username": self.username, "groups": list(self.groups)}
        if self.uid:
            info["uid"] = self.uid
        if self.extra:
            info["extra"] = self.extra
        return info


ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))
ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


class Authenticator:
    """Makes and checks tokens; ``secret`` signs them."""

    def __init__(self, store: Store, secret: bytes, admin_token: str) -> None:
        self._store = store
        self._secret = secret
        self.admin_token = admin_token

    def user_of(self, authorization: str | None, now: float) -> User:
        """Who an ``Authorization`` header speaks for; 401 for an unknown token."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized()
        if hmac.compare_digest(token.strip().encode(), self.admin_token.encode()):
            return ADMIN
        try:
            user, audiences = self.read(token.strip(), now)
        except InvalidTokenError:
            raise unauthorized() from None
        if API_AUDIENCE not in audiences:
            raise unauthorized()
        return user

    def issue(
        self,
        namespace: str,
        service_account: str,
        audiences: Sequence[str],
        now: float,
        *,
        pod: tuple[str, str] | None = None,
        expiry_s: float = DEFAULT_EXPIRY_S,
    ) -> str:
        """A token for an existing ServiceAccount; ``pod`` is (name, uid). 404 if the account is
        not there."""
        kind = self._store.kinds.at("", "v1", "serviceaccounts")
        account = self._store.get(kind, namespace, service_account)
        bound: Object = {
            "namespace": namespace,
            "serviceaccount": {"name": service_account, "uid": account["metadata"]["uid"]},
        }
        if pod is not None:
            bound["pod"] = {"name": pod[0], "uid": pod[1]}
        return self._sign(
            {
                "iss": ISSUER,
                "sub": f"system:serviceaccount:{namespace}:{service_account}",
                "aud": list(audiences),
                "iat": int(now),
                "nbf": int(now),
                "exp": int(now + expiry_s),
                "kubernetes.io": bound,
            }
        )

    def read(self, token: str, now: float) -> tuple[User, list[str]]:
        """The user and the audiences of a token of ours; InvalidTokenError says what is wrong
        with it."""
        claims = self._verified(token)
        if now >= claims["exp"]:
            raise InvalidTokenError("token has expired")
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        self._expect_alive("serviceaccounts", namespace, account)
        extra: dict[str, list[str]] = {}
        if pod := bound.get("pod"):
            self._expect_alive("pods", namespace, pod)
            extra = {_POD_NAME: [pod["name"]], _POD_UID: [pod["uid"]]}
        groups = (
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
            "system:authenticated",
        )
        return User(claims["sub"], account["uid"], groups, extra), claims["aud"]

    def review(self, body: Object, now: float) -> Object:
        """The answer to a TokenReview."""
        spec = body.get("spec") or {}
        wanted = spec.get("audiences") or [API_AUDIENCE]
        status: Object = {"authenticated": False, "user": {}}
        try:
            user, audiences = self._review(spec.get("token") or "", now)
            shared = [each for each in wanted if each in audiences]
            if not shared:
                raise InvalidTokenError(
                    f"token audiences {audiences} is invalid for the target audiences {wanted}"
                )
            status = {"authenticated": True, "user": user.info(), "audiences": shared}
        except InvalidTokenError as error:
            status["error"] = f"[invalid bearer token, {error}]"
        return {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "spec": spec,
            "status": status,
        }

    def _review(self, token: str, now: float) -> tuple[User, list[str]]:
        if hmac.compare_digest(token.encode(), self.admin_token.encode()):
            return ADMIN, [API_AUDIENCE]
        return self.read(token, now)

    def _expect_alive(self, plural: str, namespace: str, reference: Object) -> None:
        kind = self._store.kinds.at("", "v1", plural)
        found = self._store.find(kind, namespace, reference["name"])
        if found is None or found["metadata"]["uid"] != reference["uid"]:
            raise InvalidTokenError(str(not_found("", plural, reference["name"])))

    def _sign(self, claims: Object) -> str:
        head = _segment({"alg": "HS256", "typ": "JWT"})
        text = f"{head}.{_segment(claims)}"
        return f"{text}.{self._signature(text)}"

    def _signature(self, text: str) -> str:
        return _base64(hmac.new(self._secret, text.encode(), hashlib.sha256).digest())

    def _verified(self, token: str) -> Any:
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(text).encode(), signature.encode()):
            raise InvalidTokenError("unknown token")
        payload = text.partition(".")[2]
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def _segment(value: Object) -> str:
    return _base64(msgspec.json.encode(value))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
