"""Entry point of the simulated model server: a container's first process.

Law: SIGTERM is heard before anything that takes time is loaded.

``python -m tidegate_operator.demo.model_main --host 127.0.0.1 --port 8000 --model llama-70b``
"""

import sys

from tidegate_wire.signals import end_at_sigterm


def main() -> int:
    end_at_sigterm()
    from tidegate_operator.demo import model_server

    return model_server.main()


if __name__ == "__main__":
    sys.exit(main())
