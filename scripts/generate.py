"""Every file of the repository that is made from another one.

Law: each fact stands in one place; what is written here is compared in CI and edited by nobody.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import policy_reference  # noqa: E402

from tidegate_operator.hub.registration import webhook_configuration  # noqa: E402
from tidegate_operator.settings import Settings  # noqa: E402

CRD = Path("crds/llmqualitypolicies.yaml")
CHART = Path("helm/tidegate")


VALUES_MARK = "<!-- From here on made by scripts/generate from values.yaml. -->\n"


def chart_crd() -> str:
    """Charts can't point outside of their folder."""
    return (ROOT / CRD).read_text()


def chart_webhooks() -> str:
    """The entries of the chart's MutatingWebhookConfiguration, a template for the namespace."""
    entries = webhook_configuration(Settings(namespace="{{ .Release.Namespace }}"), "")["webhooks"]
    head = (
        "# Made by scripts/generate from webhook_configuration in\n"
        "# operator/tidegate_operator/hub/registration.py. No caBundle: the hub fills it in.\n"
    )
    return head + yaml.dump({"webhooks": entries}, Dumper=_Dumper, sort_keys=False, width=1000)


def chart_readme() -> str:
    """The chart's page: as written up to the mark, then every value with the comment above it."""
    head = (ROOT / CHART / "README.md").read_text().partition(VALUES_MARK)[0]
    values = yaml.safe_load((ROOT / CHART / "values.yaml").read_text())
    lines = ["", "| Value | Default | What it is |", "|---|---|---|"]
    above: list[tuple[int, str]] = []
    comment = ""
    for line in (ROOT / CHART / "values.yaml").read_text().splitlines():
        name = line.strip().partition(":")[0]
        depth = len(line) - len(line.lstrip())
        if line.strip().startswith("# -- "):
            comment = line.strip().removeprefix("# -- ")
        elif line.strip() and not line.strip().startswith("#"):
            above = [(d, n) for d, n in above if d < depth] + [(depth, name)]
            if comment:
                default = reduce(lambda found, key: found[key], (n for _, n in above), values)
                path = ".".join(n for _, n in above)
                lines.append(f"| `{path}` | `{json.dumps(default)}` | {comment} |")
            comment = ""
    return head + VALUES_MARK + "\n".join(lines) + "\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors: the same selector in several entries is written out in each."""

    def ignore_aliases(self, data: object) -> bool:
        return True


GENERATED: Mapping[Path, Callable[[], str]] = {
    CHART / "crds/llmqualitypolicies.yaml": chart_crd,
    CHART / "files/webhooks.yaml": chart_webhooks,
    CHART / "README.md": chart_readme,
    policy_reference.PAGE: lambda: policy_reference.page(ROOT),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/generate", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 if one is stale"
    )
    check = parser.parse_args().check
    stale = []
    for path, make in GENERATED.items():
        wanted, file = make(), ROOT / path
        if file.exists() and file.read_text() == wanted:
            continue
        stale.append(path)
        if check:
            print(f"{path} is not what scripts/generate makes: run scripts/generate")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted)
            print(f"wrote {path}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
