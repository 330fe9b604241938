"""Lists: selectors, pages, versions; and how objects are shown to one client.

Law: pure. All pages of a list show one moment, that of the first page; when that is forgotten
the client is told (410), never given a mixture.
"""

import base64
import binascii
from collections.abc import Mapping

import msgspec

from tidegate_operator.demo.kubeapi import views
from tidegate_operator.demo.kubeapi.errors import (
    ApiError,
    Cause,
    Object,
    bad_request,
    expired,
    invalid,
)
from tidegate_operator.demo.kubeapi.kinds import Kind
from tidegate_operator.demo.kubeapi.matching import Matcher, field_matcher, label_matcher
from tidegate_operator.demo.kubeapi.store import Store, name_of
from tidegate_operator.demo.kubeapi.verbs import Target

_PAGE_GONE = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter."
)


class Query:
    """A request's query string and Accept header, read as this kind understands them."""

    def __init__(self, query: Mapping[str, str], kind: Kind, accept: str) -> None:
        self._query = query
        self._kind = kind
        self.as_table = "as=Table" in accept
        self.as_metadata = not self.as_table and "as=PartialObjectMetadata" in accept

    def text(self, name: str) -> str:
        return self._query.get(name, "")

    def flag(self, name: str) -> bool:
        return self.text(name).lower() in ("true", "1")

    def number(self, name: str) -> int | None:
        raw = self.text(name)
        if not raw:
            return None
        try:
            return int(raw)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{raw}": invalid syntax') from None

    def version(self) -> int | None:
        """``resourceVersion``, or None if the client left it to the server."""
        raw = self.text("resourceVersion")
        if not raw:
            return None
        if not raw.isdigit():
            raise bad_request(f'invalid resource version: "{raw}"')
        return int(raw)

    def watch_since(self) -> int | None:
        """The version that a watch starts after; None: begin with all that there is."""
        initial = self.flag("sendInitialEvents")
        if initial and self.text("resourceVersionMatch") != "NotOlderThan":
            message = (
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch "
                "to NotOlderThan"
            )
            cause = Cause("resourceVersionMatch", message, "FieldValueForbidden")
            raise invalid("meta.k8s.io", "ListOptions", "", [cause])
        version = self.version()
        return None if initial or not version else version

    def matcher(self, target: Target) -> Matcher:
        """Namespace, name and both selectors."""
        labels = label_matcher(self.text("labelSelector"))
        fields = field_matcher(self.text("fieldSelector"), target.kind.selectable)
        if target.kind.stored_as is not None:
            fields = field_matcher(
                self.text("fieldSelector").replace("regarding", "involvedObject")
            )
        namespace, name = target.namespace, target.name

        def matches(obj: Object) -> bool:
            metadata = obj["metadata"]
            return (
                (namespace is None or metadata.get("namespace") == namespace)
                and (not name or metadata["name"] == name)
                and labels(obj)
                and fields(obj)
            )

        return matches

    def shown(self, obj: Object, now: float) -> Object:
        """One object as this client wants it."""
        if self.as_table:
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return views.table_of(self._kind, [obj], metadata, now)
        if self.as_metadata:
            return views.metadata_of(obj)
        return views.as_version(self._kind, obj)


def matching(store: Store, target: Target, query: Query) -> list[Object]:
    """All objects that a request means, as they are now."""
    matches = query.matcher(target)
    return [obj for obj in store.snapshot(target.kind, target.namespace) if matches(obj)]


def list_of(store: Store, target: Target, query: Query, now: float) -> Object:
    """The answer to a list request, or to one page of it."""
    kind = target.kind
    version, after = _moment(store, query)
    matches = query.matcher(target)
    try:
        objects = store.snapshot(kind, target.namespace, version)
    except ApiError as error:
        raise expired(_PAGE_GONE) if after and error.code == 410 else error from None
    found = [obj for obj in objects if matches(obj)]
    if after is not None:
        found = [obj for obj in found if _sort_key(obj) > after]
    shown_version = store.version if version is None else version
    metadata: Object = {"resourceVersion": str(shown_version)}
    limit = query.number("limit")
    if limit and limit < len(found):
        left = len(found) - limit
        found = found[:limit]
        metadata["continue"] = _token(shown_version, found[-1])
        if not query.text("labelSelector") and not query.text("fieldSelector"):
            metadata["remainingItemCount"] = left
    if query.as_table:
        return views.table_of(kind, found, metadata, now)
    if query.as_metadata:
        items = [views.metadata_of(obj) for obj in found]
        list_kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    else:
        items = [_item(kind, obj) for obj in found]
        list_kind, api_version = f"{kind.kind}List", kind.api_version
    return {"kind": list_kind, "apiVersion": api_version, "metadata": metadata, "items": items}


def _item(kind: Kind, obj: Object) -> Object:
    """As upstream, items of built-in lists leave out what the list already says."""
    shown = views.as_version(kind, obj)
    if not kind.builtin:
        return shown
    return {field: value for field, value in shown.items() if field not in ("apiVersion", "kind")}


def _moment(store: Store, query: Query) -> tuple[int | None, tuple[str, str] | None]:
    """(version to show or None for now, last name of the page before)."""
    version = query.version()
    if token := query.text("continue"):
        if version:
            raise bad_request("specifying resource version is not allowed when using continue")
        return _read_token(token)
    match = query.text("resourceVersionMatch")
    if match not in ("", "Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
        cause = Cause("resourceVersionMatch", message, "FieldValueNotSupported")
        raise invalid("meta.k8s.io", "ListOptions", "", [cause])
    exact = match == "Exact"
    if exact and not version:
        raise bad_request("resourceVersionMatch=Exact requires a resourceVersion above 0")
    if version:
        store.expect_not_after(version)
    return (version if exact else None), None


def _sort_key(obj: Object) -> tuple[str, str]:
    namespace, name = name_of(obj)
    return namespace or "", name


def _token(version: int, last: Object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([version, *_sort_key(last)])).decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = msgspec.json.decode(
            base64.urlsafe_b64decode(token), type=tuple[int, str, str]
        )
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    return version, (namespace, name)
