"""A container's first process has no default action for SIGTERM: ours hear it all the same, before
they have loaded what takes time."""

import os
import signal
import subprocess
import sys

import pytest

ENTRIES = {
    "sidecar": ("tidegate_sidecar.__main__", "aiohttp"),
    "reconcile": ("tidegate_operator.__main__", "kopf"),
    "hub": ("tidegate_operator.__main__", "cryptography"),
    "model-server": ("tidegate_operator.demo.model_main", "asyncio.base_events"),
}
"""Which role -> its entry point, and a package that it loads on its way."""
STUCK = """
import os, sys, time
class Stuck:
    def find_spec(self, name, path=None, target=None):
        if name == {package!r}:
            os.write(1, b"loading")
            time.sleep(60)
sys.meta_path.insert(0, Stuck())
sys.argv = [{role!r}] + ([{role!r}] if {role!r} in ("reconcile", "hub") else [])
from {module} import main
sys.exit(main())
"""


LIKE_A_FIRST_PROCESS = ("/bin/sh", "-c", "trap '' TERM; exec \"$@\"", "sh")
"""An ignored signal stays ignored over exec, as all are for the first process. By a shell and not
before exec in a fork of this process: gRPC's threads in it don't survive one."""


@pytest.mark.parametrize("role", ENTRIES)
def test_a_sigterm_while_it_loads_ends_it(role: str) -> None:
    module, package = ENTRIES[role]
    code = STUCK.format(module=module, package=package, role=role)
    command = [*LIKE_A_FIRST_PROCESS, sys.executable, "-c", code]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        env={**os.environ, "TIDEGATE_NAMESPACE": "tidegate-system"},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(7) == b"loading"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
