"""Everything that a seller, a worker and an operator do to a listing's photos, against a plain Python model."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import FreshDatabase
from tests.sql.life import LifeMachine

STEPS = 2000
EXAMPLES = 50


def test_ledger_and_history_agree_with_the_model(fresh_db: FreshDatabase) -> None:
    LifeMachine.steps = 0
    profile = settings(
        max_examples=EXAMPLES,
        # Hypothesis ends some examples early.
        stateful_step_count=7 * STEPS // (5 * EXAMPLES),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with fresh_db.connect() as conn:
        LifeMachine.conn = conn
        run_state_machine_as_test(LifeMachine, settings=profile)  # type: ignore[no-untyped-call]
        conn.rollback()
    assert LifeMachine.steps >= STEPS
