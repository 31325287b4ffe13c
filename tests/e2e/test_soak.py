"""Several sellers at once while workers are killed. `make soak` runs it for ten minutes; here it is a short one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.support.soak import Soak
from tests.support.stack import Stack, run_cli, start_stack

SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.fixture
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("soak") / "home"
    try:
        yield start_stack(home)
    finally:
        run_cli(home, "down")


def test_ledger_storage_and_model_agree(own_stack: Stack) -> None:
    print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:g}")
    soak = Soak(own_stack, SEED)
    soak.run(SECONDS)
    looks = [observer.looks for observer in soak.observers]
    print(f"{soak.actions} actions, {soak.kills} workers killed, observers looked {looks} times")
    assert soak.actions > 0
    assert soak.kills > 0
    assert all(looks)
