"""Entry point of the operator image: one program, a role by subcommand.

Law: this module reads arguments and environment, nothing else; a role's own modules are imported
only when it runs, so that the hub never loads kopf.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from tidegate_operator.settings import InvalidSettingError, Settings
from tidegate_wire.clock import Clock, InvalidClockError
from tidegate_wire.signals import end_at_sigterm

_ROLES = {
    "reconcile": "tidegate_operator.handlers.main",
    "hub": "tidegate_operator.hub.main",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a role; 2 where it cannot be set up as asked."""
    end_at_sigterm()
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.from_env(os.environ)
        clock = Clock.from_env(os.environ)
    except (InvalidSettingError, InvalidClockError) as error:
        print(f"tidegate-operator: {error}", file=sys.stderr)
        return 2
    try:
        run = import_module(_ROLES[arguments.role]).run
    except ModuleNotFoundError as error:
        print(
            f'tidegate-operator: needs the package {error.name}: pip install "tidegate[operator]"',
            file=sys.stderr,
        )
        return 2
    code: int = run(settings, clock)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate-operator",
        description="Reads LLMQualityPolicy objects; scales, switches and tells why.",
        epilog="Settings are environment variables, TIDEGATE_ plus a name: docs/architecture.md.",
    )
    parser.add_argument("--version", action="version", version=f"tidegate {version('tidegate')}")
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    roles.add_parser("reconcile", help="watch policies and pods; decide, scale, tell (one leader)")
    roles.add_parser("hub", help="injection webhook, config for sidecars, status page")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
