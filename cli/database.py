"""The operator's connection to the database, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from cli.errors import CliError, NotMigratedError

Row = dict[str, Any]
Connection = psycopg.Connection[Row]


@contextmanager
def operator(url: str, name: str) -> Iterator[Connection]:
    """An autocommit connection with rows as dictionaries; `name` is shown in pg_stat_activity.

    Raises CliError `database_unreachable` and `not_allowed`, and NotMigratedError when the schema is an older one.
    """
    try:
        with psycopg.connect(
            url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=10,
            prepare_threshold=None,
            application_name=f"imageledger {name}",
        ) as conn:
            # A hosted project's two minutes are meant for requests.
            conn.execute("set statement_timeout = 0")
            yield conn
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction) as error:
        raise NotMigratedError(
            f"the database's schema is older than this command: {error.diag.message_primary}",
            remedy="run `imageledger migrate`",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise CliError(
            f"this login may not do that: {error.diag.message_primary}",
            remedy="log in as the tables' owner: on Supabase the role postgres (SUPABASE_DB_URL)",
            code="not_allowed",
        ) from error
    except psycopg.OperationalError as error:
        raise CliError(
            f"the database cannot be reached: {str(error).strip()}",
            remedy="check SUPABASE_DB_URL, or start the stack with `imageledger up`",
            code="database_unreachable",
        ) from error
