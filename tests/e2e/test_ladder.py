"""The ladder on a real cluster: errors switch the model and evidence brings it back; a tenant's
budget warns, switches and blocks that tenant alone.

Law: who answered is what the answers say, not what the status does; and the status agrees.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from live_load import Load, live_load
from real_cluster import Cluster, Reply, answering, ask, chat, wait_until
from workloads import deployment, model_container, patient, policy, service

Object = dict[str, Any]

BIG, SMALL = "llama-70b", "llama-8b"
ADMIN_PORT = 8001
"""Of the simulated model server: where faults are asked for."""
LIMIT = 4000
"""Tokens of a tenant."""


def serve(cluster: Cluster, space: str, *, small_injected: bool = False) -> str:
    """Both model servers, each behind its Service; the URL of the big one's."""
    big = model_container("--admin-port", str(ADMIN_PORT), "--output-tokens", "200", model=BIG)
    small = model_container("--output-tokens", "200", model=SMALL)
    cluster.apply(
        deployment("llama", container=patient(big)),
        service("llama"),
        deployment(SMALL, container=patient(small), inject=small_injected),
        service(SMALL),
        namespace=space,
    )
    cluster.rolled_out(space, "deployment/llama")
    cluster.rolled_out(space, f"deployment/{SMALL}")
    return answering(cluster, space)


def models(space: str) -> list[Object]:
    return [{"name": BIG}, {"name": SMALL, "upstream": f"http://{SMALL}.{space}.svc:80"}]


def status_of(cluster: Cluster, space: str) -> Object:
    found: Object = cluster.get("lqp", "chat", "-n", space).get("status", {})
    return found


def in_force(cluster: Cluster, space: str) -> bool:
    """Whether every sidecar runs the policy's config."""
    sidecars = status_of(cluster, space)["sidecars"]
    return bool(sidecars["applied"] == sidecars["expected"] > 0)


def set_failures(cluster: Cluster, space: str, rate: float) -> None:
    for pod in cluster.pods(space, "app=llama"):
        door = f"http://{pod['status']['podIP']}:{ADMIN_PORT}/control"
        assert ask(door, {"failure_rate": rate, "failure_types": ["server_error"]}).status == 200


def told(cluster: Cluster, space: str, reason: str) -> list[Object]:
    return [event for event in cluster.events(space, "chat") if event["reason"] == reason]


def answered_by(load: Load, since: float) -> list[str]:
    return [answer.model for answer in load.since(since) if answer.good]


# --- errors -------------------------------------------------------------------------------------

DEGRADE = {
    "triggers": [
        {
            "name": "errors",
            "enter": "20%",
            "exit": "5%",
            "for": "5s",
            "minRequests": 10,
            "do": "Switch",
        }
    ],
    "minDwell": "10s",
    "recovery": {"probePercent": "25%", "successes": 5, "backoff": {"initial": "15s"}},
}


@pytest.mark.timeout(600)
def test_errors_switch_the_model_and_evidence_brings_it_back(
    tidegate: Cluster, space: str
) -> None:
    url = serve(tidegate, space)
    wish = policy(mode="Enforce", models=models(space), degrade=DEGRADE)
    tidegate.apply(wish, namespace=space)
    wait_until("the policy is in force", lambda: in_force(tidegate, space))
    with live_load(url, 5.0) as load:
        wait_until("the first model answers", lambda: BIG in answered_by(load, 0), 20)

        set_failures(tidegate, space, 1.0)
        wait_until("callers see errors", lambda: [a for a in load.bad() if a.status == 500], 20)
        wait_until("the second model answers", lambda: SMALL in answered_by(load, 0), 60)
        switched_at = time.time()
        status = wait_until(
            "the status says so",
            lambda: (s := status_of(tidegate, space))["phase"] == "Degraded" and s,
            20,
        )
        assert status["activeModel"] == SMALL
        degraded = tidegate.conditions(space, "chat")["Degraded"]
        assert (degraded["status"], degraded["reason"]) == ("True", "ErrorRateHigh")
        set_failures(tidegate, space, 0.0)

        wait_until("the first model is probed", lambda: told(tidegate, space, "ProbeStarted"), 60)
        wait_until("it is back", lambda: status_of(tidegate, space)["activeModel"] == BIG, 60)
        wait_until("everybody is back", lambda: is_back(load), 30)
        assert not [answer for answer in load.since(switched_at) if not answer.good]
    assert told(tidegate, space, "ErrorRateHigh")[0]["type"] == "Warning"
    assert told(tidegate, space, "RecoveredOnEvidence")[0]["type"] == "Normal"
    assert status_of(tidegate, space)["phase"] == "Normal"


def is_back(load: Load) -> bool:
    """Whether the first model alone answers, and has for a while."""
    latest = answered_by(load, time.time() - 5.0)
    return len(latest) > 10 and set(latest) == {BIG}


# --- budgets ------------------------------------------------------------------------------------


def calm_timezone() -> str:
    """One where no day ends within the next quarter of an hour."""
    now = datetime.now(UTC)
    return "Asia/Kolkata" if (now.hour, now.minute) >= (23, 40) else "UTC"


def tenant_budget() -> Object:
    return {
        "name": "tenant-day",
        "scope": "Tenant",
        "limit": {"tokens": LIMIT},
        "window": {"unit": "Day", "timezone": calm_timezone()},
        "actions": [
            {"at": "30%", "do": "Warn"},
            {"at": "60%", "do": "Switch"},
            {"at": "100%", "do": "Block"},
        ],
    }


@contextmanager
def two_tenants(url: str) -> Iterator[tuple[Load, Load]]:
    """acme spends some 100 tokens a second, beta next to nothing."""
    with ExitStack() as stack:
        acme = live_load(url, 1.0, tenant="acme", max_tokens=100)
        beta = live_load(url, 1.0, tenant="beta", max_tokens=1)
        yield stack.enter_context(acme), stack.enter_context(beta)


def rung_of(cluster: Cluster, space: str, tenant: str) -> str:
    tenants = status_of(cluster, space).get("tenants", [])
    return next((t["rung"] for t in tenants if t["name"] == tenant), "None")


def refusal(url: str, tenant: str) -> Reply | None:
    reply = chat(url, tenant=tenant)
    return reply if reply.status == 429 else None


@pytest.mark.timeout(600)
def test_a_tenants_budget_warns_switches_and_blocks_that_tenant_alone(
    tidegate: Cluster, space: str
) -> None:
    url = serve(tidegate, space, small_injected=True)
    wish = policy(
        mode="Enforce",
        models=models(space),
        gateway={"identify": {"header": "x-tenant-id"}},
        budgets=[tenant_budget()],
    )
    tidegate.apply(wish, namespace=space)
    wait_until("the policy is in force", lambda: in_force(tidegate, space))
    with two_tenants(url) as (acme, beta):
        wait_until("acme is warned", lambda: rung_of(tidegate, space, "acme") == "Warn", 60)
        assert set(answered_by(acme, 0)) == {BIG}, "a warning moves nobody"
        budgets = tidegate.conditions(space, "chat")["BudgetsOK"]
        assert (budgets["status"], budgets["reason"]) == ("False", "BudgetWarn")
        assert "acme" in budgets["message"]

        wait_until("acme is switched", lambda: rung_of(tidegate, space, "acme") == "Switch", 60)
        wait_until("the small model answers acme", lambda: SMALL in answered_by(acme, 0), 20)

        wait_until("acme is blocked", lambda: rung_of(tidegate, space, "acme") == "Block", 90)
        refused = wait_until("acme is refused", lambda: refusal(url, "acme"), 20)
        blocked_at = time.time()
        wait_until("beta goes on", lambda: len(answered_by(beta, blocked_at)) > 3, 20)
    assert refused is not None
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "token_budget_exhausted")
    assert "acme" in error["message"]
    headers = {name.lower(): value for name, value in refused.headers.items()}
    assert int(headers["retry-after"]) > 0
    assert not beta.bad()
    assert set(answered_by(beta, 0)) == {BIG}, "only acme was moved"
    assert rung_of(tidegate, space, "beta") == "None"
    for reason in ("BudgetWarn", "BudgetSwitch", "BudgetExhausted"):
        event = told(tidegate, space, reason)[0]
        assert event["type"] == "Warning"
        assert "tenant-day of acme" in event["message"]
