"""Entry point of the operator image: one program, a role by subcommand.

Law: this module reads arguments and environment, nothing else; a role's own modules are imported
only when it runs, so that the hub never loads kopf.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from tidegate_operator.settings import InvalidSettingError, Settings
from tidegate_wire.clock import Clock, InvalidClockError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a role; 2 where it cannot be set up as asked."""
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.from_env(os.environ)
        clock = Clock.from_env(os.environ)
    except (InvalidSettingError, InvalidClockError) as error:
        print(f"tidegate-operator: {error}", file=sys.stderr)
        return 2
    if arguments.role == "hub":
        from tidegate_operator.hub.main import run
    else:
        from tidegate_operator.handlers.main import run
    return run(settings, clock)


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
