"""What the options of ``tidegate backtest`` mean: text in, figures out.

Law: pure; a fault names the option, the rule and the value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tidegate_operator.backtest.assume import HpaTarget
from tidegate_operator.cli.faults import InputError
from tidegate_operator.cli.kube import Access, Object
from tidegate_operator.crd.fields import parse_duration_s
from tidegate_operator.crd.spec import InvalidSpecError, PolicySpec, read_spec
from tidegate_wire.names import KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line as it was typed; ``None``: not given."""

    file: Path | None
    trace: Path | None
    prometheus: str | None
    query: str | None
    days: float
    headers: tuple[str, ...]
    bearer_token_file: Path | None
    policy: str | None
    namespace: str | None
    access: Access
    cold_start: str | None
    service_time: str | None
    slots: int | None
    hpa_target: str | None
    price: float | None
    html: Path | None
    json: bool
    max_violations: str | None
    min_saving: str | None
    seed: int


def seconds(option: str, text: str | None) -> float | None:
    """``180s``, ``3m`` or plain seconds; ``None`` stays."""
    if text is None:
        return None
    value = parse_duration_s(text)
    if value is None:
        value = _number(text)
    if value is None or value <= 0:
        raise InputError(f"{option} must be a duration such as 180s or 3m, was: {text}")
    return value


def share(option: str, text: str | None) -> float | None:
    """``0.5%`` as 0.005; a number without the sign could be either, and is refused."""
    if text is None:
        return None
    value = _number(text.removesuffix("%")) if text.endswith("%") else None
    if value is None or not -100 <= value <= 100:
        raise InputError(f"{option} must be a percentage such as 0.5%, was: {text}")
    return value / 100


def hpa_target(text: str | None) -> HpaTarget | None:
    """``70%`` is ``averageUtilization``, ``1.4`` requests per second and pod."""
    if text is None:
        return None
    percent = text.endswith("%")
    value = _number(text.removesuffix("%"))
    if value is None or value <= 0 or (percent and value > 100):
        raise InputError(
            "--hpa-target must be a utilization such as 70% or requests per second and pod such"
            f" as 1.4, was: {text}"
        )
    if percent:
        return HpaTarget(utilization=value / 100, source="--hpa-target")
    return HpaTarget(rps=value, source="--hpa-target")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def headers(named: Sequence[str], token_file: Path | None) -> dict[str, str]:
    """``NAME=VALUE`` each, and what ``--bearer-token-file`` holds."""
    found = {}
    for text in named:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError("--header must be NAME=VALUE")  # without the value: it may be secret
        found[name.strip()] = value.strip()
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            raise InputError(f"--bearer-token-file {token_file}: {reason}") from error
        found["Authorization"] = f"Bearer {token}"
    return found


def read_policy(path: Path) -> Object:
    """The one LLMQualityPolicy of a file, which may hold other objects too."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"-f {path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"-f {path}: is no YAML: {reason:.200}") from error
    found = [d for d in documents if isinstance(d, dict) and d.get("kind") == KIND]
    if len(found) != 1:
        raise InputError(f"-f {path}: must hold one {KIND}, was: {len(found)}")
    policy: Object = found[0]
    return policy


def spec_of(manifest: Object, where: str) -> PolicySpec:
    """The policy of a manifest; ``where`` begins the line that says what is wrong with it."""
    try:
        return read_spec(manifest)
    except InvalidSpecError as error:
        raise InputError(f"{where}: {error}") from error
