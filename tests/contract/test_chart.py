"""The chart: what helm makes of it, checked by helm, Kubernetes' schemas and our own rules."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from helm_chart import (
    CA,
    CHART,
    EVERYTHING,
    NAMESPACE,
    ROOT,
    HelmError,
    Object,
    find,
    helm,
    objects,
    render,
)
from tidegate_operator.cluster.leader import LEASE
from tidegate_operator.hub.registration import (
    API_SERVICE,
    CONFIGURATION,
    SECRET,
    webhook_configuration,
)
from tidegate_operator.settings import Settings
from tidegate_wire.names import PORT_HUB, PORT_OPERATOR

GOLDEN = ROOT / "tests" / "contract" / "golden" / "rbac.yaml"
VERSIONS = [f"1.{minor}" for minor in range(29, 37)]
OPTIONS: dict[str, Object] = {"the default": {}, "every option": EVERYTHING}
OWNED_BY_CHART = {
    "namespace",
    "host",
    "hub_port",
    "operator_port",
    "page_port",
    "hub_service",
    "webhook_url",
    "webhook_create",
    "sidecar_image",
    "sidecar_cpu_request",
    "sidecar_cpu_limit",
    "sidecar_memory_request",
    "sidecar_memory_limit",
    "sidecar_upstream_ca",
    "keda_port",
    "keda_tls",
    "external_metrics",
    "external_metrics_port",
    "leader_election",
    "pod_deletion_cost_in",
}
"""Settings that have a value of their own in the chart, or that would break it."""
AUTHENTICATION_READER = "extension-apiserver-authentication-reader"
POD_DELETION_COST = "Role tidegate-pod-deletion-cost"
READ_SECRET = "Role tidegate-secret-mimir"
OPTIONAL = {"ClusterRole tidegate-hub-external-metrics", POD_DELETION_COST, READ_SECRET}
"""Rights that the default does without."""


@pytest.fixture(scope="module", params=list(OPTIONS.values()), ids=list(OPTIONS))
def rendered(request: pytest.FixtureRequest) -> str:
    return render(request.param)


@pytest.fixture(scope="module")
def manifests(rendered: str) -> list[Object]:
    return objects(rendered)


@pytest.fixture(scope="module")
def default() -> list[Object]:
    return objects(render())


@lru_cache
def _objects_with(options: str) -> list[Object]:
    return objects(render(OPTIONS[options]))


def pod_specs(manifests: list[Object]) -> Iterator[tuple[str, Object]]:
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def test_helm_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema_of_kubernetes(manifests: list[Object], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_older_kubernetes_is_refused() -> None:
    with pytest.raises(HelmError, match=r"requires kubeVersion: >=1\.29\.0-0.*v1\.28"):
        render(kube="1.28.9")


def test_no_object_is_rendered_twice(manifests: list[Object]) -> None:
    keys = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(keys) == len(set(keys))


class _NoDuplicates(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word; the API server warns or refuses."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice: {keys}"
        return super().construct_mapping(node, deep)


def test_no_key_stands_twice(rendered: str) -> None:
    for _ in yaml.load_all(rendered, Loader=_NoDuplicates):
        pass


def test_namespaced_objects_name_the_release_s_namespace(manifests: list[Object]) -> None:
    unbound = {
        *("ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "APIService"),
    }
    for manifest in manifests:
        there = manifest["metadata"].get("namespace")
        if manifest.get("roleRef", {}).get("name") == AUTHENTICATION_READER:
            assert there == "kube-system", "a role of that namespace is bound in it"
            continue
        if f"Role {manifest['metadata']['name']}" in (POD_DELETION_COST, READ_SECRET):
            assert there == "shop", "what is opted into is given where it is asked for"
            continue
        assert there == (None if manifest["kind"] in unbound else NAMESPACE), manifest["kind"]


# --- GitOps


def test_rendering_twice_gives_the_same_bytes(rendered: str, request: Any) -> None:
    assert render(OPTIONS[request.node.callspec.id]) == rendered


def test_no_template_makes_up_or_looks_up_anything() -> None:
    wrong = re.compile(
        r"\b(lookup|gen[A-Z]\w*|rand[A-Z]\w*|now|uuidv4|derivePassword|htpasswd|bcrypt|date\w*)\b"
    )
    for path in [*CHART.glob("templates/*"), *CHART.glob("files/*")]:
        actions = re.findall(r"{{.*?}}", path.read_text(), re.S)
        calls = [re.sub(r"/\*.*?\*/|\"[^\"]*\"", "", action, flags=re.S) for action in actions]
        found = [call for call in calls if wrong.search(call)]
        assert not found, f"{path.name}: {found}"


def test_the_registration_is_the_code_s_own_without_a_ca(default: list[Object]) -> None:
    live = find(default, "MutatingWebhookConfiguration", CONFIGURATION)
    made = webhook_configuration(Settings(namespace=NAMESPACE), "")
    assert live["webhooks"] == made["webhooks"]
    assert "caBundle" not in json.dumps(live)


def test_the_registration_never_refuses_and_leaves_nothing_to_defaults(
    default: list[Object],
) -> None:
    live = find(default, "MutatingWebhookConfiguration", CONFIGURATION)
    for entry in live["webhooks"]:
        assert entry["failurePolicy"] == "Ignore"
        assert {"matchPolicy", "timeoutSeconds", "reinvocationPolicy"} <= entry.keys()
        assert {"objectSelector", "namespaceSelector", "sideEffects"} <= entry.keys()
        assert all("scope" in rule for rule in entry["rules"])
        assert "port" in entry["clientConfig"]["service"]


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "generate", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_carries_the_one_crd() -> None:
    name = "llmqualitypolicies.yaml"
    assert (CHART / "crds" / name).read_text() == (ROOT / "crds" / name).read_text()


# --- values


REFUSED = {
    "a misspelt value is named": ({"hub": {"replcas": 2}}, "/hub", "'replcas' not allowed"),
    "a misspelt section is named": ({"hubs": {}}, "''", "'hubs' not allowed"),
    "a word where a number belongs": (
        {"hub": {"replicas": "two"}},
        "/hub/replicas",
        "got string, want integer",
    ),
    "no hub at all": ({"hub": {"replicas": 0}}, "/hub/replicas", "minimum: got 0, want 1"),
    "an unknown pull policy": (
        {"image": {"pullPolicy": "Sometimes"}},
        "/image/pullPolicy",
        "must be one of 'Always', 'IfNotPresent', 'Never'",
    ),
    "a setting that doesn't exist": (
        {"settings": {"tick": 3}},
        "/settings",
        "'tick' not allowed",
    ),
    "a setting that is the chart's": (
        {"settings": {"hub_port": 1}},
        "/settings",
        "'hub_port' not allowed",
    ),
    "a tick of no time": ({"settings": {"tick_s": 0}}, "/settings/tick_s", "got 0, want 0"),
    "a tick with a unit": ({"settings": {"tick_s": "3s"}}, "/settings/tick_s", "got string"),
    "a hub without TLS": (
        {"settings": {"hub_url": "http://hub"}},
        "/settings/hub_url",
        "does not match pattern",
    ),
    "a digest that is none": (
        {"image": {"digest": "latest"}},
        "/image/digest",
        "'latest' does not match pattern",
    ),
    "a quantity that is none": (
        {"sidecar": {"resources": {"limits": {"memory": "256MB"}}}},
        "/sidecar/resources/limits/memory",
        "'256MB' does not match pattern",
    ),
    "an authority that is a path": (
        {"sidecar": {"upstreamCA": "/etc/ca.pem"}},
        "/sidecar/upstreamCA",
        "'/etc/ca.pem' does not match pattern",
    ),
    "a label that the Services select by": (
        {"hub": {"podLabels": {"app.kubernetes.io/component": "x"}}},
        "/hub/podLabels/app.kubernetes.io~1component",
        "false schema",
    ),
    "a switch that is a word": (
        {"networkPolicy": {"enabled": "yes"}},
        "/networkPolicy/enabled",
        "got string, want boolean",
    ),
    "a pull secret by its bare name": (
        {"imagePullSecrets": ["registry"]},
        "/imagePullSecrets/0",
        "got string, want object",
    ),
}


@pytest.mark.parametrize(("values", "where", "rule"), REFUSED.values(), ids=REFUSED)
def test_refused_with_a_message_that_names_the_value(
    values: Object, where: str, rule: str
) -> None:
    with pytest.raises(HelmError) as refused:
        render(values)
    assert where in str(refused.value)
    assert rule in str(refused.value)


def test_settings_in_the_schema_are_the_operator_s_own() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    offered = set(schema["properties"]["settings"]["properties"])
    assert offered | OWNED_BY_CHART == set(Settings.__dataclass_fields__)
    assert not offered & OWNED_BY_CHART


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}" if path else key)
    else:
        yield path


def test_every_value_has_a_comment() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    bare = [
        line.strip()
        for before, line in itertools.pairwise(lines)
        if re.match(r"\s*\w+: \S", line) and not before.strip().startswith("# -- ")
    ]
    assert not bare


def test_schema_and_values_have_the_same_names() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def names(part: Object, path: str) -> Iterator[str]:
        if "properties" not in part or path in ("settings",):
            yield path
            return
        assert part["additionalProperties"] is False, path
        for key, below in part["properties"].items():
            yield from names(below, f"{path}.{key}" if path else key)

    free = re.compile(r"^(reconcile|hub)\.resources\..*")
    in_values = {p for p in _leaves(values) if not free.match(p)}
    in_schema = set(names(schema, "")) - {"global", "reconcile.resources", "hub.resources"}
    assert in_schema == in_values


# --- what the processes are told


def _env(manifests: list[Object], name: str) -> dict[str, Any]:
    spec = dict(pod_specs(manifests))[name]
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in spec["containers"][0]["env"]}


def test_the_processes_can_read_all_that_they_are_told(manifests: list[Object]) -> None:
    for name, _ in pod_specs(manifests):
        env = {k: v for k, v in _env(manifests, name).items() if isinstance(v, str)}
        known = {f"TIDEGATE_{field.upper()}" for field in Settings.__dataclass_fields__}
        assert env.keys() <= known
        Settings.from_env(env)


def test_no_service_passes_for_a_setting(manifests: list[Object]) -> None:
    for _, spec in pod_specs(manifests):
        assert spec["enableServiceLinks"] is False


def test_values_reach_the_hub() -> None:
    env = _env(objects(render(EVERYTHING)), "tidegate-hub")
    made = Settings.from_env({k: v for k, v in env.items() if isinstance(v, str)})
    assert made.sidecar_image == "registry.example.com/a/side:1.2.3"
    assert (made.sidecar_cpu_request, made.sidecar_cpu_limit) == ("", "1")
    assert (made.sidecar_memory_request, made.sidecar_memory_limit) == ("64Mi", "1Gi")
    assert made.sidecar_upstream_ca == CA
    assert (made.tick_s, made.order_ttl_s, made.pull_timeout_s) == (30, 1_000_000, 0.5)
    assert made.hub_url == "https://hub.example.com:443"
    assert not made.webhook_create
    assert (made.keda_port, made.keda_tls, made.external_metrics) == (14132, True, True)


def test_ports_are_those_of_the_code(default: list[Object]) -> None:
    def ports(kind: str, name: str) -> list[int]:
        return [p["port"] for p in find(default, kind, name)["spec"]["ports"]]

    made = Settings()
    hub = [PORT_HUB, made.page_port, made.keda_port]
    assert ports("Service", "tidegate-hub") == hub
    default = objects(render(EVERYTHING))
    assert ports("Service", "tidegate-hub") == [*hub, made.external_metrics_port]
    assert ports("Service", "tidegate-reconcile") == [PORT_OPERATOR]


def test_services_budgets_and_policies_select_the_pods(manifests: list[Object]) -> None:
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Service":
            selector = spec["selector"]
        elif manifest["kind"] == "PodDisruptionBudget":
            selector = spec["selector"]["matchLabels"]
        elif manifest["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        else:
            continue
        name = manifest["metadata"]["name"]
        template = find(manifests, "Deployment", name)["spec"]["template"]
        assert selector.items() <= template["metadata"]["labels"].items()


# --- autoscalers


def test_the_cluster_s_one_server_of_external_metrics_is_nobody_s_by_default(
    default: list[Object],
) -> None:
    assert not [m for m in default if m["kind"] == "APIService"]
    made = objects(render({"externalMetrics": {"enabled": True}}))
    service = find(made, "APIService", API_SERVICE)["spec"]
    assert service["service"]["port"] == Settings().external_metrics_port
    assert "caBundle" not in service, "the hub's to fill in, and nobody's to take out"


def test_without_keda_there_is_no_door_for_it() -> None:
    made = objects(render({"keda": {"enabled": False}, "networkPolicy": {"enabled": True}}))
    assert _env(made, "tidegate-hub")["TIDEGATE_KEDA_PORT"] == "0"
    spec = dict(pod_specs(made))["tidegate-hub"]
    for ports in (
        spec["containers"][0]["ports"],
        find(made, "Service", "tidegate-hub")["spec"]["ports"],
    ):
        assert "keda" not in [port["name"] for port in ports]
    assert "keda" not in json.dumps(find(made, "NetworkPolicy", "tidegate-hub")["spec"])


@pytest.mark.parametrize(
    ("values", "peers"),
    [
        pytest.param({}, "keda", id="the namespace keda"),
        pytest.param(
            {
                "keda": [
                    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "s"}}}
                ]
            },
            "s",
            id="wherever it runs",
        ),
    ],
)
def test_with_network_policies_keda_alone_may_ask(values: Object, peers: str) -> None:
    made = objects(render({"networkPolicy": {"enabled": True} | values}))
    rules = find(made, "NetworkPolicy", "tidegate-hub")["spec"]["ingress"]
    (rule,) = [r for r in rules if r["ports"][0]["port"] == "keda"]
    labels = {"kubernetes.io/metadata.name": peers}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": labels}}]


# --- Pod Security


def test_every_pod_is_restricted(manifests: list[Object]) -> None:
    for name, spec in pod_specs(manifests):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert {next(iter(v.keys() - {"name"})) for v in spec["volumes"]} == {"emptyDir"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not [p for p in container["ports"] if "hostPort" in p]
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["memory"]


# --- RBAC


def _rights(role: Object) -> Iterator[str]:
    for rule in role["rules"]:
        assert len(rule["apiGroups"]) == 1, rule
        group = rule["apiGroups"][0]
        names = f"[{' '.join(rule['resourceNames'])}]" if "resourceNames" in rule else ""
        for resource in rule["resources"]:
            kind, _, sub = resource.partition("/")
            where = (f"{kind}.{group}" if group else kind) + (f"/{sub}" if sub else "") + names
            yield f"{where} {' '.join(sorted(rule['verbs']))}"


def _roles(manifests: list[Object]) -> dict[str, Object]:
    kinds = ("Role", "ClusterRole")
    return {f"{m['kind']} {m['metadata']['name']}": m for m in manifests if m["kind"] in kinds}


def test_each_right_has_a_reason(manifests: list[Object]) -> None:
    golden = yaml.safe_load(GOLDEN.read_text())
    rendered = {name: sorted(_rights(role)) for name, role in _roles(manifests).items()}
    reasoned = {name: sorted(r["right"] for r in rights) for name, rights in golden.items()}
    assert rendered == {k: v for k, v in reasoned.items() if k in rendered}
    assert reasoned.keys() - rendered.keys() <= OPTIONAL
    assert all(len(r["reason"]) > 20 for rights in golden.values() for r in rights)


@pytest.mark.parametrize(
    "never",
    [r"\*", r"pods/", r"pods \S*.*(create|update|patch|delete)", r"impersonate|bind|escalate"],
    ids=["a wildcard", "into a pod (exec, attach)", "a pod written", "more rights than given"],
)
def test_nobody_may(manifests: list[Object], never: str) -> None:
    for name, role in _roles(manifests).items():
        if name == POD_DELETION_COST:
            continue  # below
        assert not [r for r in _rights(role) if re.match(never, r)], name
        assert "*" not in json.dumps(role["rules"])


def test_secrets_are_asked_for_in_the_own_namespace_alone(manifests: list[Object]) -> None:
    for name, role in _roles(manifests).items():
        secrets = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
        if name == READ_SECRET:
            continue  # below
        assert not secrets or name == "Role tidegate-hub"
        for rule in secrets:
            assert rule["verbs"] == ["create"] or rule["resourceNames"] == [SECRET]


def test_what_is_opted_into_is_given_in_the_named_namespaces_alone(default: list[Object]) -> None:
    opted = {POD_DELETION_COST, READ_SECRET}
    assert not opted & _roles(default).keys()
    everything = _objects_with("every option")
    for name in opted:
        kind, _, short = name.partition(" ")
        role, binding = find(everything, kind, short), find(everything, f"{kind}Binding", short)
        assert {role["metadata"]["namespace"], binding["metadata"]["namespace"]} == {"shop"}
        account = {"kind": "ServiceAccount", "name": "tidegate-reconcile", "namespace": NAMESPACE}
        assert binding["subjects"] == [account]
        assert binding["roleRef"]["name"] == short
    assert [m["metadata"]["name"] for m in everything].count("tidegate-pod-deletion-cost") == 2


def test_names_in_the_roles_are_those_of_the_code(default: list[Object]) -> None:
    roles = _roles(default)
    named = [r for role in roles.values() for r in _rights(role) if "[" in r]
    assert {re.findall(r"\[(.*)\]", right)[0] for right in named} == {
        LEASE,
        SECRET,
        CONFIGURATION,
    }


def test_each_role_is_bound_to_its_own_account(default: list[Object]) -> None:
    for manifest in default:
        if manifest["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            name = manifest["metadata"]["name"]
            account = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
            assert manifest["subjects"] == [account]
            assert manifest["roleRef"]["name"] == name
