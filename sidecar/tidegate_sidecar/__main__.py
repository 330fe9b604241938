"""Entry point: ``tidegate-sidecar``.

Law: what is needed to refuse a wrong flag is loaded first and the rest only then, so that a
mistake is answered at once.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from tidegate_sidecar.settings import FLAGS, InvalidSettingError, SidecarSettings
from tidegate_wire.clock import Clock, InvalidClockError
from tidegate_wire.names import OFF, PORT_OUTBOUND
from tidegate_wire.signals import end_at_sigterm

BAD_SETTINGS = 2
"""Exit code; argparse's own for a wrong command line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sidecar as the command line and the environment say; returns the exit code."""
    end_at_sigterm()
    given = vars(_parser().parse_args(argv))
    if given.pop("version"):
        from tidegate_sidecar.version import data_path, version_text

        print(f"tidegate-sidecar {version_text()} ({data_path()})")
        return 0
    try:
        settings = SidecarSettings.read(os.environ, given)
        clock = Clock.from_env(os.environ)
        return _run(settings, clock)
    except (InvalidSettingError, InvalidClockError) as error:
        print(f"tidegate-sidecar: {error}", file=sys.stderr)
        return BAD_SETTINGS


def _run(settings: SidecarSettings, clock: Clock) -> int:
    import uvloop

    by_system = settings.hub_url.startswith("https") and not settings.hub_ca
    with nullcontext() if by_system else _system_authorities_hidden():
        from tidegate_sidecar.logs import LineLog
        from tidegate_sidecar.serve import serve

    return uvloop.run(serve(settings, clock, LineLog(clock)))


@contextmanager
def _system_authorities_hidden() -> Iterator[None]:
    """aiohttp reads them as it is imported, 100 ms of CPU, for a hub that is known otherwise.
    Upstreams that need them have them read when they are first called.
    """
    before = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(before, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate-sidecar",
        description="Stands in front of a model server, measures each LLM call and guards it.",
        epilog="Each flag has a variable: TIDEGATE_LISTEN, _UPSTREAM, _OUTBOUND_LISTEN, "
        "_OPENAI_UPSTREAM, _ANTHROPIC_UPSTREAM, _ADMIN, _CONFIG_FILE; flags go first. "
        "On the way to upstreams HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE "
        "and TIDEGATE_UPSTREAM_CA (PEM) are heeded. "
        "In a pod the hub gives the config: TIDEGATE_HUB_URL, _HUB_CA, "
        "_TOKEN_FILE, _WORKLOAD, _STATE_DIR. "
        "Leaving: TIDEGATE_DRAIN_ACCEPT_S (5), TIDEGATE_LINGER_S (30). "
        "Bounds: TIDEGATE_MAX_BUFFERED_BYTES, TIDEGATE_MAX_CONNECTIONS. "
        "On SIGTERM it finishes what runs and exits 0; a second signal stops it at once.",
    )
    defaults = SidecarSettings()

    def flag(field: str, metavar: str, text: str) -> None:
        parser.add_argument(FLAGS[field], dest=field, metavar=metavar, help=text)

    flag("listen", "HOST:PORT", f"where clients call, or {OFF} (default {defaults.listen})")
    flag("upstream", "URL", f"the model server (default {defaults.upstream})")
    flag(
        "outbound_listen",
        "HOST:PORT",
        f"where an app calls out, such as 127.0.0.1:{PORT_OUTBOUND} (default {OFF})",
    )
    flag("openai_upstream", "URL", f"whom it means (default {defaults.openai_upstream})")
    flag("anthropic_upstream", "URL", f"the same (default {defaults.anthropic_upstream})")
    flag("admin", "HOST:PORT", f"metrics, stats, health, drain (default {defaults.admin})")
    flag("config_file", "FILE", "models, orders and limits as JSON, followed as it changes")
    parser.add_argument("--version", action="store_true", help="print version and build, and exit")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
