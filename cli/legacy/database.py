"""The operator's session: functions of schema legacy, one transaction each unless it says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cli.errors import CliError

#: What an operator is asked to look at: below this, and not decided.
DOUBTFUL = 0.7

_REVIEW: LiteralString = """
select schema_name as schema, product_key as product, label_ordinal as label, label_url, image_count, confidence,
  speaks_for, speaks_against, suggested_ordinal as suggested, label_score, verdict
from legacy.label_review
where (%(schema)s::text is null or schema_name = %(schema)s)
  and confidence < %(below)s and (%(decided)s or verdict is null)
order by confidence, schema_name, product_key
"""
_CANDIDATES: LiteralString = """
select n.nspname as schema, s.owner_id, s.imported_at is not null as imported,
  s.column_dropped_at is not null as column_dropped
from pg_catalog.pg_namespace as n
left join legacy.sources as s on s.schema_name = n.nspname
where s.schema_name is not null or (
  n.nspname not in ('public', 'private', 'queue', 'analytics', 'legacy') and exists (
    select from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attname = 'images' and a.atttypid = 'jsonb'::regtype
    where c.relnamespace = n.oid and c.relname = 'products' and c.relkind in ('r', 'p') and not a.attisdropped
  )
)
order by n.nspname
"""


class LegacyDatabase:
    """A connection as the operator (SUPABASE_DB_URL). A context manager."""

    def __init__(self, db_url: str) -> None:
        try:
            self._conn = psycopg.connect(
                db_url, autocommit=True, row_factory=dict_row, application_name="imageledger legacy"
            )
        except psycopg.OperationalError as error:
            raise CliError(str(error), remedy="check SUPABASE_DB_URL", code="database_unreachable") from error
        # A hosted project's two minutes are meant for requests; nobody waits for a lock for ever.
        self._conn.execute("set statement_timeout = 0")
        self._conn.execute("set lock_timeout = '60s'")

    def __enter__(self) -> LegacyDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def candidates(self) -> list[dict[str, Any]]:
        """Mapped schemas, and others that have a products.images."""
        return self._rows(_CANDIDATES)

    def mapped(self) -> list[str]:
        """Names of the mapped schemas."""
        return [
            row["schema_name"]
            for row in self._rows("select schema_name from legacy.sources order by schema_name")
        ]

    def user_id(self, who: str) -> UUID:
        """A user by id or by e-mail address."""
        try:
            return UUID(who)
        except ValueError:
            rows = self._rows("select id from auth.users where lower(email) = lower(%s)", (who,))
        if len(rows) != 1:
            raise CliError(
                f"there is no user {who!r}",
                remedy="name the id of auth.users, or the address",
                code="legacy_owner_missing",
            )
        found: UUID = rows[0]["id"]
        return found

    def map_schema(self, schema: str, owner: UUID, options: dict[str, Any]) -> dict[str, Any]:
        """Says whose a schema is; the row of legacy.sources."""
        return self._rows(
            "select * from legacy.map_schema(%s, %s, table_name => %s, key_column => %s, images_column => %s,"
            " columns => %s, url_key => %s, order_key => %s, base_url => %s)",
            (
                schema,
                owner,
                options["table_name"],
                options["key_column"],
                options["images_column"],
                Jsonb(options["columns"]) if options["columns"] else None,
                options["url_key"],
                options["order_key"],
                options["base_url"],
            ),
        )[0]

    def plan(self, schema: str) -> dict[str, Any]:
        return self._answer("select legacy.plan_images(%s) as answer", (schema,))

    def import_images(self, schema: str, *, dry_run: bool) -> dict[str, Any]:
        """A whole schema in one transaction; a dry run does all of it and takes it back."""
        return self._act("select legacy.import_images(%s) as answer", schema, dry_run=dry_run)

    def restore(self, schema: str, *, dry_run: bool) -> dict[str, Any]:
        return self._act("select legacy.restore_images(%s) as answer", schema, dry_run=dry_run)

    def drop_column(self, schema: str, *, dry_run: bool) -> dict[str, Any]:
        return self._act("select legacy.drop_source_column(%s) as answer", schema, dry_run=dry_run)

    def report(self) -> list[dict[str, Any]]:
        """legacy.report, with how many labels wait for a look."""
        rows = self._rows("select * from legacy.report order by schema_name")
        open_reviews = {
            row["schema"]: row["count"]
            for row in self._rows(
                "select schema_name as schema, count(*) as count from legacy.label_review"
                " where confidence < %s and verdict is null group by schema_name",
                (DOUBTFUL,),
            )
        }
        return [row | {"labels_to_review": open_reviews.get(row["schema_name"], 0)} for row in rows]

    def reviews(self, schema: str | None, below: float, *, decided: bool) -> Iterator[dict[str, Any]]:
        """Doubtful labels, the most doubtful first; through a cursor, since there may be very many."""
        with self._told(), self._conn.transaction(), self._conn.cursor(name="reviews") as cursor:
            cursor.itersize = 2000
            cursor.execute(_REVIEW, {"schema": schema, "below": below, "decided": decided})
            yield from cursor

    def decide(self, decisions: Sequence[dict[str, str]]) -> dict[str, Any]:
        """Confirms and corrects, all or nothing."""
        return self._answer("select legacy.decide_labels(%s) as answer", (Jsonb(list(decisions)),))

    def allow_hosts(self, hosts: Sequence[str]) -> list[str]:
        """Adds to the list of hosts; the list."""
        with self._told(), self._conn.transaction():
            for host in hosts:
                self._conn.execute(
                    "insert into legacy.fetch_hosts (host) values (lower(%s)) on conflict do nothing", (host,)
                )
        return [row["host"] for row in self._rows("select host from legacy.fetch_hosts order by host")]

    def waiting(self, schema: str | None) -> int:
        """Imported images whose bytes are not here."""
        rows = self._rows(
            "select coalesce(sum(waiting), 0)::bigint as n from legacy.report"
            " where %(schema)s::text is null or schema_name = %(schema)s",
            {"schema": schema},
        )
        return int(rows[0]["n"])

    def queue_fetches(
        self, schema: str | None, after: UUID | None, batch: int, *, retry: bool
    ) -> dict[str, Any]:
        """One page."""
        return self._answer(
            "select legacy.queue_fetches(%s, %s, %s, %s) as answer", (schema, after, batch, retry)
        )

    def fetches_waiting(self) -> int:
        """Jobs that are not done."""
        rows = self._rows(
            "select count(*) as n from queue.jobs where actor = 'fetch_image'"
            " and state in ('scheduled', 'ready', 'running')"
        )
        return int(rows[0]["n"])

    def unscored(self, schema: str | None, after: UUID | None) -> list[dict[str, Any]]:
        """A page of images whose bytes are here and were not looked at."""
        return self._rows("select * from legacy.unscored_images(%s, %s)", (schema, after))

    def score(self, image_id: UUID, score: float, signs: dict[str, float]) -> None:
        self._rows("select legacy.score_image(%s, %s, %s)", (image_id, score, Jsonb(signs)))

    def _act(self, sql: LiteralString, schema: str, *, dry_run: bool) -> dict[str, Any]:
        with self._told(), self._conn.transaction(force_rollback=dry_run):
            answer = self._answer(sql, (schema,))
        return answer | {"dry_run": dry_run}

    def _answer(self, sql: LiteralString, parameters: Any = ()) -> dict[str, Any]:
        found: dict[str, Any] = self._rows(sql, parameters)[0]["answer"]
        return found

    def _rows(self, sql: LiteralString, parameters: Any = ()) -> list[dict[str, Any]]:
        with self._told():
            return self._conn.execute(sql, parameters).fetchall()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The database's refusals as errors with code and remedy."""
        try:
            yield
        except psycopg.Error as error:
            said = error.diag
            code = said.message_detail or ""
            raise CliError(
                said.message_primary or str(error),
                remedy=said.message_hint or "nothing was changed; see the message",
                code=code if code.startswith("legacy_") else "legacy_failed",
            ) from error
