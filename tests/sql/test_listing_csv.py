"""Listings as CSV in SQL: what cells mean, what is refused, and that what goes out comes in again, byte for byte."""

from __future__ import annotations

import io
import json
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from cli.exchange.csv_text import COLUMNS, CsvFile, harmless, line
from tests.sql.scene import Conn, Scene, call, denied, new_listing, one, ready, refused, rows
from tests.support.roles import as_anon, as_user, new_user

HEADER = ",".join(COLUMNS) + "\r\n"


def export(conn: Conn, owner: UUID) -> str:
    """What PostgREST answers: the aggregate over the ordered view."""
    with as_user(conn, owner):
        return str(
            one(
                conn,
                "select public.listing_csv_file(t) from (select * from public.listing_csv order by sku) as t",
            )
        )


def parse(text: str) -> list[dict[str, str | None]]:
    file = CsvFile(io.BytesIO(text.encode()))
    found = [dict(zip(file.header, row, strict=True)) for row in file.rows()]
    file.finish()
    return found


def send(conn: Conn, owner: UUID, *cells: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
    with as_user(conn, owner):
        answer: dict[str, Any] = one(
            conn, "select public.import_listings(%s, %s)", Jsonb(list(cells)), dry_run
        )
    return answer


def send_file(conn: Conn, owner: UUID, file: str, *, dry_run: bool = False) -> dict[str, Any]:
    with as_user(conn, owner):
        answer: dict[str, Any] = one(conn, "select public.import_csv(%s, %s)", file, dry_run)
    return answer


def test_what_would_take_too_much_memory_is_refused_at_once(scene: Scene) -> None:
    with refused("csv_too_large", 413), scene.conn.transaction():
        send_file(scene.conn, scene.owner, "sku\n" + "x" * 8 * 1024 * 1024)
    with refused("too_many_rows", 413), scene.conn.transaction():
        send(scene.conn, scene.owner, *[{}] * 100_001, dry_run=True)


def test_rows_in_rows_are_malformed(scene: Scene) -> None:
    with refused("rows_malformed", 422), as_user(scene.conn, scene.owner):
        scene.conn.execute("""select public.import_listings('[[{"sku": "A"}]]')""")


def problems(conn: Conn, owner: UUID, *cells: dict[str, Any]) -> list[tuple[int, str, str]]:
    report = send(conn, owner, *cells, dry_run=True)
    return [(p["line"], p["column"], p["rule"]) for p in report["problems"]]


WORDS = st.text(
    st.one_of(
        st.sampled_from("=+-@\t\r\n'\",;\\|NUL＝ "),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=12,
)
LISTING = st.fixed_dictionaries(
    {
        "sku": WORDS.filter(bool),
        "title": st.none()
        | WORDS
        | st.sampled_from(["NULL", "'NULL", "'", "''=1", "=cmd|' /C calc'!A0", "\\.", ""]),
        "description": st.none() | WORDS,
        "price": st.none() | st.decimals(0, 9_999_999_999, places=2),
        "currency": st.none() | st.sampled_from(["EUR", "USD"]),
        "quantity": st.none() | st.integers(0, 1_000_000),
        "brand": st.none() | WORDS,
        "size": st.none() | WORDS,
        "attributes": st.dictionaries(WORDS, WORDS | st.integers(), max_size=2).map(Jsonb),
        "status": st.sampled_from(["draft", "archived"]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LISTING, max_size=4, unique_by=lambda x: x["sku"]))
def test_export_import_export_is_byte_equal(
    db: psycopg.Connection[Any], listings: list[dict[str, Any]]
) -> None:
    with db.transaction(force_rollback=True):
        seller, other = new_user(db), new_user(db)
        for listing in listings:
            columns = ", ".join(listing)
            db.execute(
                f"insert into public.listings (owner_id, {columns}) values (%s{', %s' * len(listing)})",
                [seller, *listing.values()],
            )
        exported = export(db, seller)
        # PostgreSQL and Python write the same bytes.
        assert exported == line(COLUMNS) + "".join(line(row[c] for c in COLUMNS) for row in parse(exported))
        cells = parse(exported)
        assert len(cells) == len(listings)
        send(db, other, *cells)
        assert export(db, other) == exported
        third = new_user(db)
        assert send_file(db, third, "\ufeff" + exported)["created"] == len(listings)
        assert export(db, third) == exported
        assert send(db, seller, *cells)["unchanged"] == len(listings)


@given(WORDS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cell_that_runs_is_neutralised_and_restored(db: psycopg.Connection[Any], text: str) -> None:
    cell = one(db, "select private.csv_cell(%s::text)", text)
    assert cell == harmless(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert one(db, "select private.csv_value(%s::text)", cell) == text


@given(st.text(st.sampled_from('",\r\nab= \u00e9'), max_size=24))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgresql_reads_files_as_python_does(db: psycopg.Connection[Any], rest: str) -> None:
    text = f"sku,title\n{rest}"
    file = CsvFile(io.BytesIO(text.encode()))
    mine = list(file.rows())
    fault = one(db, "select private.csv_fault(%s)", text)
    unreadable = [p for p in file.problems if p.rule == "cell_is_quoted_whole"]
    assert (fault is None) == (not unreadable)
    if fault is not None:
        assert fault["line"] == unreadable[0].line
        return
    theirs = rows(db, "select cells from private.csv_records(%s) where line > 1 order by line", text)
    assert [cells for cells in theirs if len(cells) == 2] == mine
    wrong = [cells for cells in theirs if len(cells) != 2 and cells != []]
    assert len(wrong) == len([p for p in file.problems if p.rule == "row_has_all_cells"])


def test_what_nobody_neutralised_stays(db: psycopg.Connection[Any]) -> None:
    for text in ("'tis", "=1", "-5", "a=b"):
        assert one(db, "select private.csv_value(%s::text)", text) == text


class TestMeaning:
    def test_created_then_updated_by_sku(self, scene: Scene) -> None:
        report = send(scene.conn, scene.owner, {"sku": "A", "title": "Lamp", "price": "12.5"}, {"sku": "B"})
        assert (report["created"], report["updated"], report["unchanged"]) == (2, 0, 0)
        report = send(scene.conn, scene.owner, {"sku": "A", "title": "Desk lamp"}, {"sku": "B", "title": ""})
        assert (report["created"], report["updated"], report["unchanged"]) == (0, 1, 1)
        found = rows(
            scene.conn, "select title, price::text, status, quantity from public.listings where sku = 'A'"
        )
        assert found == [("Desk lamp", "12.50", "draft", 1)]

    def test_absent_is_left_alone_and_empty_empties(self, scene: Scene) -> None:
        whole = {
            "sku": "A",
            "title": "Lamp",
            "brand": "Ikea",
            "quantity": "3",
            "attributes": '{"a": 1}',
            "status": "archived",
        }
        send(scene.conn, scene.owner, whole)
        send(scene.conn, scene.owner, {"sku": "A", "brand": "", "title": None})
        query = "select title, brand, quantity, attributes, status from public.listings where sku = 'A'"
        assert rows(scene.conn, query) == [("Lamp", None, 3, {"a": 1}, "archived")]
        send(
            scene.conn, scene.owner, {"sku": "A", "title": "", "quantity": "", "attributes": "", "status": ""}
        )
        assert rows(scene.conn, query) == [(None, None, None, {}, "archived")]

    def test_what_did_not_change_is_not_written(self, scene: Scene) -> None:
        send(scene.conn, scene.owner, {"sku": "A", "title": "Lamp"})
        before = one(scene.conn, "select updated_at from public.listings where sku = 'A'")
        send(scene.conn, scene.owner, {"sku": "A", "title": "Lamp"})
        assert one(scene.conn, "select updated_at from public.listings where sku = 'A'") == before

    def test_by_insert_into_the_view(self, scene: Scene) -> None:
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("insert into public.listing_csv (sku, title) values ('A', '''=1'), ('B', 'x')")
            assert rows(
                scene.conn, "select sku, title from public.listing_csv where sku is not null order by sku"
            ) == [
                ("A", "'=1"),
                ("B", "x"),
            ]
        assert one(scene.conn, "select title from public.listings where sku = 'A'") == "=1"
        assert one(scene.conn, "select count(*) from private.listing_csv_rows") == 0

    def test_a_dry_run_writes_nothing(self, scene: Scene) -> None:
        assert send(scene.conn, scene.owner, {"sku": "A"}, dry_run=True)["created"] == 1
        assert one(scene.conn, "select count(*) from public.listings where sku = 'A'") == 0


class TestRefused:
    def test_all_at_once_by_row_column_and_rule(self, scene: Scene) -> None:
        bad = [
            {"sku": "", "title": "x" * 501, "price": "1.234", "currency": "eur", "quantity": "-1"},
            {
                "sku": "A",
                "description": "x" * 20001,
                "brand": "x" * 201,
                "category": "x" * 201,
                "attributes": "[1]",
            },
            {"sku": "A", "condition": "x" * 201, "size": "x" * 201, "color": "x" * 201, "status": "sold"},
            {
                "sku": "x" * 101,
                "price": "NaN",
                "quantity": "1000001",
                "attributes": '{"a": "%s"}' % ("x" * 70000),
            },
            {
                "sku": "B",
                "price": "1e5",
                "quantity": "1.5",
                "attributes": '{"a": "\\u0000"}',
                "status": "published",
            },
        ]
        assert problems(scene.conn, scene.owner, *bad) == [
            (2, "sku", "sku_is_given"),
            (2, "title", "title_is_short"),
            (2, "price", "price_is_not_negative"),
            (2, "currency", "currency_is_a_code"),
            (2, "quantity", "quantity_is_sensible"),
            (3, "description", "description_is_bounded"),
            (3, "brand", "brand_is_short"),
            (3, "category", "category_is_short"),
            (3, "attributes", "attributes_are_named"),
            (4, "sku", "sku_is_unique_per_owner"),
            (4, "status", "status_is_known"),
            (4, "condition", "condition_is_short"),
            (4, "size", "size_is_short"),
            (4, "color", "color_is_short"),
            (5, "sku", "sku_is_short"),
            (5, "price", "price_is_not_negative"),
            (5, "quantity", "quantity_is_sensible"),
            (5, "attributes", "attributes_are_bounded"),
            (6, "status", "listing_is_complete"),
            (6, "price", "price_is_not_negative"),
            (6, "quantity", "quantity_is_sensible"),
            (6, "attributes", "attributes_are_named"),
        ]
        with refused("csv_invalid", 422) as error, scene.conn.transaction():
            send(scene.conn, scene.owner, {"sku": "GOOD"}, *bad)
        assert "Row 3, column sku" in (error.value.diag.message_hint or "")
        assert "\n" not in (error.value.diag.message_primary or "\n")
        assert one(scene.conn, "select count(*) from public.listings where sku = 'GOOD'") == 0

    def test_every_constraint_of_listings_is_a_rule(self, scene: Scene) -> None:
        """Otherwise a row passes the check and the whole import ends with one bare error."""
        source = one(
            scene.conn, "select pg_get_functiondef('private.listing_csv_problems(uuid, int)'::regprocedure)"
        )
        names = rows(
            scene.conn,
            "select conname from pg_constraint where conrelid = 'public.listings'::regclass and contype in ('c', 'u')"
            " and conname <> 'listing_is_known_by_its_owner'",
        )
        assert len(names) > 12
        assert [name for name in names if f"'{name}'" not in source] == []

    def test_at_most_fifty(self, scene: Scene) -> None:
        report = send(
            scene.conn, scene.owner, *({"sku": str(n), "price": "x"} for n in range(51)), dry_run=True
        )
        assert len(report["problems"]) == 50
        assert report["has_more_problems"]

    def test_photos_are_read_only(self, scene: Scene) -> None:
        photos = ready(scene.conn, scene.owner, scene.listing, 3)
        call(scene.conn, scene.owner, "set_label", photos[0], True)
        scene.conn.execute("update public.listings set sku = 'A' where id = %s", [scene.listing])
        exported = parse(export(scene.conn, scene.owner))
        folder = f"{scene.owner}/{scene.listing}"
        assert exported[0]["images"] == "|".join(f"{folder}/{p}/detail.webp" for p in photos[1:])
        assert send(scene.conn, scene.owner, *exported)["unchanged"] == 1
        for cell in ("", folder, "|".join(reversed(str(exported[0]["images"]).split("|")))):
            found = problems(
                scene.conn, scene.owner, {"sku": "A", "images": cell}, {"sku": "NEW", "images": ""}
            )
            assert found == [(2, "images", "images_are_read_only")]

    def test_publishing_needs_what_it_always_needs(self, scene: Scene) -> None:
        ready(scene.conn, scene.owner, scene.listing)
        scene.conn.execute(
            "update public.listings set sku = 'A', price = null where id = %s", [scene.listing]
        )
        assert problems(scene.conn, scene.owner, {"sku": "A", "status": "published"}) == [
            (2, "status", "listing_is_complete")
        ]
        send(
            scene.conn,
            scene.owner,
            {"sku": "A", "status": "published", "price": "3", "currency": "EUR", "title": "x"},
        )
        assert one(scene.conn, "select status from public.listings where sku = 'A'") == "published"

    @pytest.mark.parametrize("bad", ["null", "{}", "[1]", '["a"]', "[null]"])
    def test_malformed(self, scene: Scene, bad: str) -> None:
        with refused("rows_malformed", 422), as_user(scene.conn, scene.owner):
            one(scene.conn, "select public.import_listings(%s)", Jsonb(json.loads(bad)))

    def test_unknown_columns(self, scene: Scene) -> None:
        for column in ("owner_id", "id", "nope", "created_at"):
            with refused("columns_unknown", 422), scene.conn.transaction():
                send(scene.conn, scene.owner, {"sku": "A", column: str(scene.other)})


class TestFile:
    @pytest.mark.parametrize(
        ("file", "found"),
        [
            ("", [(1, "", "file_has_a_header")]),
            ("sku;title\na;b\n", [(1, "sku", "sku_is_given"), (1, "sku;title", "cells_end_with_a_comma")]),
            (
                "title,nope,title\n",
                [
                    (1, "sku", "sku_is_given"),
                    (1, "nope", "column_is_known"),
                    (1, "title", "column_is_named_once"),
                ],
            ),
            ('sku,title\na,b\nc,x"y\n', [(3, "title", "cell_is_quoted_whole")]),
            ('sku,title\n"a\nb","x"y\n', [(2, "title", "cell_is_quoted_whole")]),
            ('sku,title\na,"never closed\n', [(2, "title", "cell_is_quoted_whole")]),
            ("sku,title\ra,b\r", [(1, "number 2", "cell_is_quoted_whole")]),
            (
                "\ufeffsku,price\r\nok,1\r\n\r\na\r\nb,abc\r\na,1,2\r\nok,2\r\n",
                [
                    (4, "", "row_has_all_cells"),
                    (5, "price", "price_is_not_negative"),
                    (6, "", "row_has_all_cells"),
                    (7, "sku", "sku_is_unique_per_owner"),
                ],
            ),
        ],
    )
    def test_what_is_wrong_by_row_and_column(
        self, scene: Scene, file: str, found: list[tuple[int, str, str]]
    ) -> None:
        report = send_file(scene.conn, scene.owner, file, dry_run=True)
        assert [(p["line"], p["column"], p["rule"]) for p in report["problems"]] == found
        with refused("csv_invalid", 422), scene.conn.transaction():
            send_file(scene.conn, scene.owner, file)
        assert one(scene.conn, "select count(*) from public.listings where sku is not null") == 0

    def test_all_or_nothing_and_at_most_fifty(self, scene: Scene) -> None:
        bad = "".join(f"s{n},x,y\n" for n in range(40)) + "".join(f"t{n},abc\n" for n in range(40))
        report = send_file(scene.conn, scene.owner, "sku,price\nok,1\n" + bad, dry_run=True)
        assert (len(report["problems"]), report["has_more_problems"]) == (50, True)
        assert send_file(scene.conn, scene.owner, "sku,price\r\nok,1")["created"] == 1
        assert send_file(scene.conn, scene.owner, "price,sku\n2,ok\nNULL,new\n")["updated"] == 1
        assert send_file(scene.conn, scene.owner, "sku,price\n")["rows"] == 0

    def test_a_hundred_thousand_columns_and_quotes_without_end(self, scene: Scene) -> None:
        scene.conn.execute("set local statement_timeout = '4s'")
        wide = ",".join(f"c{n}" for n in range(100_000))
        report = send_file(scene.conn, scene.owner, wide, dry_run=True)
        assert (len(report["problems"]), report["has_more_problems"]) == (50, True)
        for cell in ('"a', '""x', '"', 'a"', '",'):
            report = send_file(scene.conn, scene.owner, 'sku,title\na,"b' + cell * 500_001, dry_run=True)
            assert report["problems"]


class TestOwners:
    def test_anothers_sku_is_ones_own_new_listing(self, scene: Scene) -> None:
        new_listing(scene.conn, scene.owner, sku="A", title="Mine")
        assert send(scene.conn, scene.other, {"sku": "A", "title": "Theirs"})["created"] == 1
        found = rows(scene.conn, "select owner_id, title from public.listings where sku = 'A' order by title")
        assert found == [(scene.owner, "Mine"), (scene.other, "Theirs")]

    def test_only_ones_own_are_seen(self, scene: Scene) -> None:
        new_listing(scene.conn, scene.owner, sku="A", title="Mine")
        ready(scene.conn, scene.owner, scene.listing)
        call(scene.conn, scene.owner, "publish_listing", scene.listing)
        with as_user(scene.conn, scene.other):
            assert one(scene.conn, "select count(*) from public.listings where id = %s", scene.listing) == 1
        assert export(scene.conn, scene.other) == HEADER + ",draft,Chair,,5.00,EUR,1,,,,,,,\r\n"
        assert "A,draft,Mine" in export(scene.conn, scene.owner)

    def test_nobody_else_gets_in(self, scene: Scene) -> None:
        with as_anon(scene.conn):
            denied(scene.conn, "select * from public.listing_csv")
            denied(scene.conn, "insert into public.listing_csv (sku) values ('A')")
        with as_user(scene.conn, scene.owner):
            denied(scene.conn, "select private.import_listing_csv(%s, false)", scene.other)
            denied(scene.conn, "insert into private.listing_csv_rows (sku) values ('A')")
            denied(scene.conn, "delete from public.listing_csv")


def test_one_statement_of_many_rows_is_quick(scene: Scene) -> None:
    """A plan kept from small imports once took a large one into the time limit of requests."""
    for _ in range(7):
        send(scene.conn, scene.owner, {"sku": "first"})
    cells = [{"sku": str(n), "title": f"Lamp {n}"} for n in range(4000)]
    scene.conn.execute("set local statement_timeout = '4s'")
    assert send(scene.conn, scene.owner, *cells)["created"] == 4000
    assert send(scene.conn, scene.owner, *cells)["unchanged"] == 4000
