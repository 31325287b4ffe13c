"""Everything that a seller, a worker and an operator do to a listing's photos, against a plain Python model."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import FreshDatabase
from tests.sql.life import LifeMachine

STEPS = 2000


def test_ledger_and_history_agree_with_the_model(fresh_db: FreshDatabase) -> None:
    profile = settings(
        max_examples=10, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    LifeMachine.steps = 0
    with fresh_db.connect() as conn:
        LifeMachine.conn = conn
        # Hypothesis ends some examples early.
        while LifeMachine.steps < STEPS:
            run_state_machine_as_test(LifeMachine, settings=profile)  # type: ignore[no-untyped-call]
