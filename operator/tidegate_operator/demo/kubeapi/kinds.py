"""The table of kinds: what there is, under which path, and how each differs from the plain case.

Law: everything that is special about a kind and can be said as data is said here. A
CustomResourceDefinition adds rows; nothing else does.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tidegate_operator.demo.kubeapi.errors import ApiError, Cause, Object, invalid, no_such_path
from tidegate_operator.demo.kubeapi.rules import InvalidRuleError
from tidegate_operator.demo.kubeapi.schema import Schema

Key = tuple[str, str]
"""(group, plural) under which objects are kept; all versions of a kind share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A printer column of ``kubectl get``."""

    name: str
    type: str
    path: str
    """JSONPath without braces: ``.status.phase`` or
    ``.status.conditions[?(@.type=="Ready")].status``."""
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePaths:
    """Where ``/scale`` finds its three fields."""

    spec: str = ".spec.replicas"
    status: str = ".status.replicas"
    selector: str | None = None
    """Path of a selector in text form; None for built-in kinds, whose ``spec.selector`` is an
    object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One version of one kind."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: frozenset[str] = frozenset()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    builtin: bool = True
    counts_generation: bool = False
    unconditional_update: bool = True
    """Whether PUT may leave out the resourceVersion."""
    stored_as: Key | None = None
    """Another kind's place, for the two that show the same Events."""
    schema: Schema | None = None
    columns: tuple[Column, ...] = ()
    scale: ScalePaths | None = None
    fields: frozenset[str] = frozenset()
    """What a field selector may name beside ``metadata.name`` and ``metadata.namespace``."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> Key:
        return self.stored_as or (self.group, self.plural)

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def selectable(self) -> frozenset[str]:
        return self.fields | {"metadata.name", "metadata.namespace"}


STATUS = frozenset({"status"})
STATUS_SCALE = frozenset({"status", "scale"})
ALL = ("all",)

_REPLICAS = (
    Column(name="Desired", type="integer", path=".spec.replicas"),
    Column(name="Current", type="integer", path=".status.replicas"),
    Column(name="Ready", type="integer", path=".status.readyReplicas"),
)
_WORKLOAD: dict[str, Any] = {
    "group": "apps",
    "version": "v1",
    "subresources": STATUS_SCALE,
    "categories": ALL,
    "counts_generation": True,
    "scale": ScalePaths(),
}
_EVENT_COLUMNS = (
    Column(name="Type", type="string", path=".type"),
    Column(name="Reason", type="string", path=".reason"),
    Column(name="Object", type="string", path=".involvedObject.name"),
    Column(name="Message", type="string", path=".message"),
)
_EVENT_FIELDS = frozenset(
    f"involvedObject.{name}"
    for name in ("kind", "name", "namespace", "uid", "apiVersion", "resourceVersion", "fieldPath")
) | {"reason", "type", "source", "reportingComponent"}

BUILTIN: tuple[Kind, ...] = (
    Kind(
        group="",
        version="v1",
        plural="namespaces",
        kind="Namespace",
        namespaced=False,
        subresources=STATUS,
        short_names=("ns",),
        fields=frozenset({"status.phase"}),
        columns=(Column(name="Status", type="string", path=".status.phase"),),
    ),
    Kind(
        group="",
        version="v1",
        plural="pods",
        kind="Pod",
        subresources=frozenset({"status", "binding"}),
        short_names=("po",),
        categories=ALL,
        counts_generation=True,
        fields=frozenset(
            {
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
            }
        ),
        columns=(
            Column(
                name="Ready",
                type="string",
                path='.status.conditions[?(@.type=="Ready")].status',
            ),
            Column(name="Status", type="string", path=".status.phase"),
            Column(name="IP", type="string", path=".status.podIP", priority=1),
        ),
    ),
    Kind(group="", version="v1", plural="configmaps", kind="ConfigMap", short_names=("cm",)),
    Kind(
        group="",
        version="v1",
        plural="secrets",
        kind="Secret",
        fields=frozenset({"type"}),
        columns=(Column(name="Type", type="string", path=".type"),),
    ),
    Kind(
        group="",
        version="v1",
        plural="services",
        kind="Service",
        subresources=STATUS,
        short_names=("svc",),
        categories=ALL,
        fields=frozenset({"spec.type", "spec.clusterIP"}),
        columns=(Column(name="Type", type="string", path=".spec.type"),),
    ),
    Kind(
        group="",
        version="v1",
        plural="nodes",
        kind="Node",
        namespaced=False,
        subresources=STATUS,
        short_names=("no",),
        fields=frozenset({"spec.unschedulable"}),
    ),
    Kind(
        group="",
        version="v1",
        plural="events",
        kind="Event",
        short_names=("ev",),
        fields=_EVENT_FIELDS,
        columns=_EVENT_COLUMNS,
    ),
    Kind(
        group="",
        version="v1",
        plural="serviceaccounts",
        kind="ServiceAccount",
        subresources=frozenset({"token"}),
        short_names=("sa",),
    ),
    Kind(
        group="events.k8s.io",
        version="v1",
        plural="events",
        kind="Event",
        short_names=("ev",),
        stored_as=("", "events"),
        fields=frozenset({"reason", "type", "regarding.kind", "regarding.name", "regarding.uid"}),
    ),
    Kind(
        plural="deployments",
        kind="Deployment",
        short_names=("deploy",),
        columns=(
            Column(name="Desired", type="integer", path=".spec.replicas"),
            Column(name="Ready", type="integer", path=".status.readyReplicas"),
            Column(name="Up-to-date", type="integer", path=".status.updatedReplicas"),
            Column(name="Available", type="integer", path=".status.availableReplicas"),
        ),
        **_WORKLOAD,
    ),
    Kind(
        plural="replicasets",
        kind="ReplicaSet",
        short_names=("rs",),
        fields=frozenset({"status.replicas"}),
        columns=_REPLICAS,
        **_WORKLOAD,
    ),
    Kind(
        plural="statefulsets",
        kind="StatefulSet",
        short_names=("sts",),
        columns=_REPLICAS,
        **_WORKLOAD,
    ),
    Kind(
        group="autoscaling",
        version="v2",
        plural="horizontalpodautoscalers",
        kind="HorizontalPodAutoscaler",
        subresources=STATUS,
        short_names=("hpa",),
        categories=ALL,
    ),
    Kind(
        group="coordination.k8s.io",
        version="v1",
        plural="leases",
        kind="Lease",
        unconditional_update=False,
        columns=(Column(name="Holder", type="string", path=".spec.holderIdentity"),),
    ),
    Kind(
        group="admissionregistration.k8s.io",
        version="v1",
        plural="mutatingwebhookconfigurations",
        kind="MutatingWebhookConfiguration",
        namespaced=False,
        counts_generation=True,
        unconditional_update=False,
    ),
    Kind(
        group="apiextensions.k8s.io",
        version="v1",
        plural="customresourcedefinitions",
        kind="CustomResourceDefinition",
        namespaced=False,
        subresources=STATUS,
        short_names=("crd", "crds"),
        counts_generation=True,
        unconditional_update=False,
    ),
)


@dataclass(slots=True)
class Kinds:
    """What this server serves just now."""

    _by_path: dict[tuple[str, str, str], Kind] = field(default_factory=dict)

    @classmethod
    def builtin(cls) -> "Kinds":
        return cls({(kind.group, kind.version, kind.plural): kind for kind in BUILTIN})

    def at(self, group: str, version: str, plural: str) -> Kind:
        """404 as an unknown path gives it."""
        try:
            return self._by_path[group, version, plural]
        except KeyError:
            raise no_such_path() from None

    def named(self, name: str) -> Kind:
        """By ``plural`` or ``plural.group``; KeyError if there is none, the first in the table
        if several."""
        for kind in self._by_path.values():
            if name in (kind.plural, kind.qualified):
                return kind
        raise KeyError(f"no kind is named {name!r}")

    def stored(self, key: Key) -> Kind:
        """The kind whose objects lie under a key; KeyError if it is gone."""
        for kind in self._by_path.values():
            if kind.key == key and kind.stored_as is None:
                return kind
        raise KeyError(key)

    def replace_custom(self, group: str, plural: str, rows: Iterable[Kind]) -> None:
        """The rows of one CustomResourceDefinition; none of them takes the kind away."""
        for path in [p for p in self._by_path if (p[0], p[2]) == (group, plural)]:
            del self._by_path[path]
        for row in rows:
            self._by_path[row.group, row.version, row.plural] = row

    def __iter__(self) -> Iterator[Kind]:
        return iter(tuple(self._by_path.values()))

    def groups(self) -> dict[str, list[str]]:
        """Versions by group, in the table's order: the first is preferred."""
        groups: dict[str, list[str]] = defaultdict(list)
        for kind in self._by_path.values():
            if kind.version not in groups[kind.group]:
                groups[kind.group].append(kind.version)
        return dict(groups)


def kinds_of(definition: Object) -> list[Kind]:
    """The rows that a CustomResourceDefinition adds; 422 if its schema or its rules cannot be
    used."""
    spec = definition["spec"]
    # Upstream speaks of one version's schema by the place that v1beta1 had for it.
    alone = "spec.validation" if len(spec["versions"]) == 1 else ""
    return [
        _custom_kind(
            spec,
            version,
            alone or f"spec.versions[{index}].schema",
            definition["metadata"]["name"],
        )
        for index, version in enumerate(spec["versions"])
        if version.get("served", True)
    ]


def _custom_kind(spec: Object, version: Object, where: str, name: str) -> Kind:
    names = spec["names"]
    raw = (version.get("schema") or {}).get("openAPIV3Schema")
    if raw is None:
        raise _definition_error(
            name, f"{where}.openAPIV3Schema", "Required value: schemas are required"
        )
    try:
        schema = Schema(raw)
    except InvalidRuleError as error:
        raise _definition_error(
            name, f"{where}.openAPIV3Schema{error.where}", str(error)
        ) from error
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    return Kind(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        subresources=frozenset(subresources),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        builtin=False,
        counts_generation=True,
        unconditional_update=False,
        schema=schema,
        scale=scale
        and ScalePaths(
            spec=scale["specReplicasPath"],
            status=scale["statusReplicasPath"],
            selector=scale.get("labelSelectorPath"),
        ),
        columns=tuple(_column(raw) for raw in version.get("additionalPrinterColumns") or ()),
        fields=frozenset(
            each["jsonPath"].lstrip(".") for each in version.get("selectableFields") or ()
        ),
    )


def _column(raw: Object) -> Column:
    return Column(
        name=raw["name"],
        type=raw["type"],
        path=raw["jsonPath"],
        priority=raw.get("priority", 0),
        description=raw.get("description", ""),
    )


def _definition_error(name: str, where: str, message: str) -> ApiError:
    return invalid(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        name,
        [Cause(where, message)],
    )
