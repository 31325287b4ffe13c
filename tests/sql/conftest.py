"""A scene for the ledger's SQL, on the connection that is rolled back."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.sql.scene import Scene


@pytest.fixture
def scene(db: psycopg.Connection[Any]) -> Scene:
    return Scene(db)
