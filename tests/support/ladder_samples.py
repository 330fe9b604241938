"""Models and budgets for stories of the ladder."""

from tidegate_operator.decide.rungs import Budget, BudgetAction, BudgetUse, ModelRule, Rung, Scope

BIG, SMALL, FREE = (
    ModelRule(name="big"),
    ModelRule(name="small"),
    ModelRule(name="local", free=True),
)
WARN_SWITCH_BLOCK = (
    BudgetAction(at=0.80, do=Rung.WARN),
    BudgetAction(at=0.95, do=Rung.SWITCH),
    BudgetAction(at=1.00, do=Rung.BLOCK),
)
END = 86_400.0


def budget(scope: Scope, *, money: bool = False, **changed: object) -> Budget:
    limits = {"limit_cost": 100.0} if money else {"limit_tokens": 1000}
    values = {"name": f"per-{scope.lower()}", "scope": scope, "actions": WARN_SWITCH_BLOCK}
    return Budget(**(values | limits | changed))  # type: ignore[arg-type]


def use(scope: Scope, share: float, key: str = "", *, money: bool = False) -> BudgetUse:
    return BudgetUse(
        budget=f"per-{scope.lower()}",
        key=key,
        used_tokens=0 if money else round(share * 1000),
        used_cost=share * 100 if money else 0.0,
        window_start=0.0,
        window_end=END,
    )
