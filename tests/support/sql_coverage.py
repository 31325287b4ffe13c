"""Which functions of sql/ and functions/ the run called, counted by PostgreSQL itself (track_functions).

Each database is asked before it goes; `pytest` fails a whole run in which a function was never called. Functions
that the planner inlines leave no trace and are left out: they run wherever they stand in a query.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg
import pytest

from tests.support import stack

_KEY = "sql_function_calls"
_CALLS = """
select p.pronamespace::regnamespace || '.' || p.proname, coalesce(s.calls, 0)
from pg_proc as p
join pg_language as l on l.oid = p.prolang
left join pg_stat_user_functions as s on s.funcid = p.oid
where p.pronamespace::regnamespace::text in ('public', 'private', 'queue', 'analytics', 'legacy')
  and not (l.lanname = 'sql' and p.proconfig is null and not p.prosecdef)
  -- Of an aggregate its parts are called, and counted.
  and p.prokind <> 'a'
"""

# PostgreSQL counts a call when it returns, and these only ever raise; tests assert their errors by code.
_ALWAYS_RAISE = {
    "private.refuse",
    "private.refuse_csv",
    "private.refuse_generation",
    "private.refuse_object",
    "private.refuse_second_label",
    "private.refuse_upload",
    "private.tg_site_policy_events__stay",
}

calls: Counter[str] = Counter()
_of_other_processes: list[dict[str, int]] = []


def record(admin_url: str) -> None:
    """Add this database's counts. Ends its other sessions: what they have not reported yet, they report then."""
    with psycopg.connect(admin_url, autocommit=True) as conn:
        conn.execute(
            "select pg_terminate_backend(pid, 2000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        for name, count in conn.execute(_CALLS).fetchall():
            calls[name] += count


def never_called() -> list[str]:
    """After all processes have ended."""
    total = Counter(calls)
    for counts in _of_other_processes:
        total.update(counts)
    return sorted(name for name, count in total.items() if count == 0 and name not in _ALWAYS_RAISE)


def is_whole_run(config: pytest.Config) -> bool:
    """A part of the tests calls a part of the functions."""
    chosen = config.option.keyword or config.option.markexpr or getattr(config.option, "lf", False)
    return not chosen and stack.kind == "embedded" and config.args == config.getini("testpaths")


class SqlCoverage:
    """The pytest plugin: gathers the counts of pytest-xdist's processes and judges at the end."""

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        if not error:
            _of_other_processes.append(node.workeroutput.get(_KEY, {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_KEY] = dict(calls)
        elif session.testsfailed == 0 and is_whole_run(session.config) and (missed := never_called()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.missed = missed

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for name in getattr(self, "missed", []):
            terminalreporter.write_line(f"never called by any test: {name}", red=True)
