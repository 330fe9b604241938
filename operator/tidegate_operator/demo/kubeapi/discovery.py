"""What a client learns of this server before it asks for anything: version, groups, kinds.

Law: pure; everything is read off the table of kinds, so a new definition is discovered at once.
"""

from tidegate_operator.demo.kubeapi.errors import Object
from tidegate_operator.demo.kubeapi.kinds import Kind, Kinds

VERSION: Object = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+tidegate-demo",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SUB_VERBS = {"token": ["create"], "binding": ["create"]}
_SUB_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "binding": ("", "v1", "Binding"),
}
_REVIEWS = {
    "authentication.k8s.io": (("tokenreviews", "TokenReview"),),
    "authorization.k8s.io": (("selfsubjectaccessreviews", "SelfSubjectAccessReview"),),
}
"""Kinds that are only asked, never kept."""


def answer(kinds: Kinds, path: str) -> Object | None:
    """The answer to a discovery path, or None if it is none. Aggregated discovery is not
    offered: clients fall back."""
    parts = path.strip("/").split("/")
    match parts:
        case ["version"]:
            return VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = [_group(group, versions) for group, versions in _groups(kinds).items()]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["api", version]:
            return _resources(kinds, "", version)
        case ["apis", group]:
            versions = _groups(kinds).get(group)
            if versions is None:
                return None
            return _group(group, versions) | {"kind": "APIGroup", "apiVersion": "v1"}
        case ["apis", group, version]:
            return _resources(kinds, group, version)
    return None


def _groups(kinds: Kinds) -> dict[str, list[str]]:
    """Named groups with their versions."""
    groups = {group: versions for group, versions in kinds.groups().items() if group}
    return groups | {group: ["v1"] for group in _REVIEWS}


def _group(group: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resources(kinds: Kinds, group: str, version: str) -> Object | None:
    rows: list[Object] = []
    for kind in kinds:
        if (kind.group, kind.version) == (group, version):
            rows.extend(_rows(kind))
    for plural, name in _REVIEWS.get(group, ()):
        rows.append(
            {
                "name": plural,
                "singularName": name.lower(),
                "namespaced": False,
                "kind": name,
                "verbs": ["create"],
            }
        )
    if not rows:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": rows,
    }


def _rows(kind: Kind) -> list[Object]:
    row: Object = {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _VERBS,
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    return [row, *(_sub_row(kind, name) for name in sorted(kind.subresources))]


def _sub_row(kind: Kind, name: str) -> Object:
    row: Object = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _SUB_VERBS.get(name, ["get", "patch", "update"]),
    }
    if name in _SUB_KINDS:
        row["group"], row["version"], row["kind"] = _SUB_KINDS[name]
    return row


def openapi(kinds: Kinds, path: str) -> Object | None:
    """Just enough of ``/openapi/v3`` for kubectl to see that this server checks fields itself."""
    versions = {kind.api_version: kind for kind in kinds}
    if path.strip("/") == "openapi/v3":
        return {
            "paths": {
                root_of(each).strip("/"): {"serverRelativeURL": f"/openapi/v3{root_of(each)}"}
                for each in versions
            }
        }
    for each in versions:
        if path == f"/openapi/v3{root_of(each)}":
            rows = [kind for kind in kinds if kind.api_version == each]
            return {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
                "paths": {_item_path(kind): _operations(kind) for kind in rows},
            }
    return None


def root_of(api_version: str) -> str:
    """``/api/v1`` or ``/apis/apps/v1``."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _item_path(kind: Kind) -> str:
    space = "/namespaces/{namespace}" if kind.namespaced else ""
    return f"{root_of(kind.api_version)}{space}/{kind.plural}/{{name}}"


def _operations(kind: Kind) -> Object:
    about = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    field = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    operation = {
        "parameters": [field],
        "x-kubernetes-group-version-kind": about,
        "responses": {"200": {"description": "OK"}},
    }
    return {"patch": operation, "put": operation}
