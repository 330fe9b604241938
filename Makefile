# Each target sets up what it needs, from the lock, into .venv. Pass options on with ARGS="...".
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Side by side, since most tests wait more than they compute.
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-compiled fuzz sdks check e2e images bench bench-forecast bench-lstm lock clean

help:  ## What can be made
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## The main job on a real trace, on this machine: tidegate demo
	@$(BIN)/tidegate demo $(ARGS)

test: setup-dev  ## Unit and contract tests
	@scripts/debian-tools $(VENV)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-compiled: setup-dev  ## The sidecar's tests on the compiled wheel that the images carry
	@scripts/debian-tools $(VENV)
	@scripts/test-compiled -n $(WORKERS) --dist loadfile $(ARGS)

sdks: setup-dev  ## Real clients (openai, anthropic, LangChain, npm, curl) with and without the sidecar
	@scripts/sdks $(ARGS)

fuzz: setup-dev  ## The sidecar's parsers beside h11 and llhttp, on damaged messages (ARGS="--minutes 10")
	@PYTHONPATH=tests/support $(BIN)/python -m fuzz $(ARGS)

check: setup-dev  ## ruff, mypy --strict, import-linter
	@scripts/check $(ARGS)

e2e: setup-dev  ## The demo as a whole, then everything on a real Kubernetes (KUBECONFIG, or ../shared/cluster)
	@scripts/e2e $(ARGS)

images:  ## Container images, by docker, podman or buildah (PREFIX=registry/team/ PUSH=1)
	@scripts/images

bench: setup-dev  ## The sidecar's CPU, memory and delay beside nginx's and Envoy's (ARGS=--litellm, too; --short; --features)
	@scripts/bench $(ARGS)

bench-forecast: setup-dev  ## Pod-hours and late requests beside HPA, KEDA, KPA and an oracle on request traces (ARGS="--json F")
	@$(BIN)/python -m benchmarks.goals $(ARGS)

bench-lstm:  ## An LSTM that foretells the point 15 minutes ahead, on the same traces (ARGS="--goals F" adds it to F)
	@scripts/setup .lstm lstm $(PYTHON)
	@.lstm/bin/python -m benchmarks.lstm $(ARGS)

setup:
	@scripts/setup $(VENV) demo $(PYTHON)

setup-dev:
	@scripts/setup $(VENV) dev $(PYTHON)

lock:  ## Resolve the dependencies anew (needs uv)
	@scripts/lock

clean:
	rm -rf $(VENV) .sdks .bench .lstm dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
