"""The legacy migration in SQL: what is imported, what is no image, and the way back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.conftest import FreshDatabase
from tests.sql.scene import Conn, one, refused, rows
from tests.support import legacy
from tests.support.roles import as_user, new_user

HOSTILE = ['user_"x"; drop table y; --', "Üser.ß ", "select", "a'b\\c", "x" * 63, "%I%1$s"]


class Tenant:
    """A schema with products, mapped to a user."""

    def __init__(self, conn: Conn, values: list[Any], schema: str | None = None, **options: Any) -> None:
        self.conn, self.schema = conn, schema or f"user_{uuid4().hex[:8]}"
        self.owner = new_user(conn)
        legacy.create_table(conn, self.schema)
        legacy.add_products(conn, self.schema, values)
        legacy.map_schema(conn, self.schema, self.owner, **options)

    def run(self, function: str) -> dict[str, Any]:
        answer: dict[str, Any] = one(self.conn, f"select legacy.{function}(%s)", self.schema)
        return answer

    def import_(self) -> dict[str, Any]:
        return self.run("import_images")

    def source(self) -> list[Any]:
        table = sql.Identifier(self.schema, "products")
        # Without parameters: a name may contain a per cent sign.
        query = sql.SQL("select id, images::text from {} order by id").format(table)
        return self.conn.execute(query).fetchall()

    def images(self, product: int = 1) -> list[Any]:
        return rows(
            self.conn,
            "select e.url, i.position, i.is_label from public.listing_images as i"
            " join legacy.images as e on e.image_id = i.id join legacy.products as p on p.id = e.product_id"
            " where p.schema_name = %s and p.product_key = %s order by i.position",
            self.schema,
            str(product),
        )

    def outcomes(self, product: int = 1) -> list[str]:
        return rows(
            self.conn,
            "select e.outcome from legacy.images as e join legacy.products as p on p.id = e.product_id"
            " where p.schema_name = %s and p.product_key = %s order by e.ordinal",
            self.schema,
            str(product),
        )


@pytest.fixture
def db(db: psycopg.Connection[Any]) -> Iterator[Conn]:
    return db


def url(name: str) -> str:
    return f"https://cdn.example.test/{name}.jpg"


def test_strings_objects_and_what_is_no_image(db: Conn) -> None:
    """Every entry is accounted for; order is by `order`, else by index; the last one is the label."""
    tenant = Tenant(
        db,
        [
            [url("a"), {"url": url("b"), "order": 9}, {"url": url("c"), "order": "2"}, url("d")],
            [None, "", "  ", url("a"), url("a"), {"note": 1}, {"url": {"x": 1}}, [url("b")], 7, True, "n/a"],
            [
                "javascript:alert(1)",
                "data:image/png;base64,AAAA",
                "ftp://h/x",
                "file:///etc/passwd",
                "JaVaScRiPt://h/",
            ],
            None,
            Jsonb(None),
            [],
            {"url": url("x")},
            url("y"),
            [
                " //cdn.example.test/z.png\n",
                "https://h/" + "x" * 2100,
                "https://h/\u0001",
                'https://h/"><script>',
            ],
        ],
    )
    before = tenant.source()
    plan = tenant.run("plan_images")
    answer = tenant.import_()
    assert {k: plan[k] for k in ("products", "entries", "images", "labels", "oddities")} == {
        k: answer[k] for k in ("products", "entries", "images", "labels", "oddities")
    }
    assert answer["products"] == 9
    assert tenant.images(1) == [
        (url("a"), 0, False),
        (url("c"), 1, False),
        (url("d"), 2, False),
        (url("b"), 3, True),
    ]
    assert tenant.outcomes(2) == (
        [
            "null_entry",
            "empty",
            "empty",
            "image",
            "duplicate",
            "no_url",
            "nested",
            "nested",
            "not_text",
            "not_text",
            "not_a_url",
        ]
    )
    assert tenant.outcomes(3) == ["scheme_refused"] * 5
    assert tenant.outcomes(4) == tenant.outcomes(5) == tenant.outcomes(6) == []
    assert tenant.images(7) == [(url("x"), 0, False)]
    assert tenant.images(8) == [(url("y"), 0, False)]
    assert tenant.images(9) == [("https://cdn.example.test/z.png", 0, False)]
    assert tenant.outcomes(9) == ["image", "too_long", "not_a_url", "not_a_url"]
    assert tenant.source() == before
    # Again: nothing.
    counts = "select (select count(*) from public.listings), (select count(*) from legacy.images),"
    counts += " (select count(*) from public.image_events), (select count(*) from legacy.import_runs)"
    was = db.execute(counts).fetchone()
    assert tenant.import_()["products"] == 0
    assert db.execute(counts).fetchone() == was


def test_the_rows_are_honest(db: Conn) -> None:
    """Drafts with images that wait for their bytes: in no gallery, in no budget, not to be uploaded by anybody."""
    tenant = Tenant(db, [[url("a"), url("b")]])
    tenant.import_()
    with as_user(db, tenant.owner):
        assert rows(db, "select id from public.gallery") == []
        assert (
            rows(db, "select status, reason, can_retry from public.media_tray")
            == [("awaiting_upload", "Not copied from its old address yet.", False)] * 2
        )
        assert rows(db, "select status, title, sku from public.listings") == [("draft", "Article 1", "SKU-1")]
        assert rows(db, "select event, (data ->> 'position')::int from public.image_events order by id") == [
            ("imported", 0),
            ("imported", 1),
        ]
        listing, path = (
            db.execute("select listing_id, original_path from public.listing_images").fetchone() or ()
        )
        assert len(rows(db, "select * from public.listing_history(%s)", listing)) == 2
    assert one(db, "select private.storage_bytes_used(%s)", tenant.owner) == 0
    assert one(db, "select private.expire_reservations()") == 0
    with refused("more_bytes_than_reserved"), db.transaction():
        db.execute(
            "insert into storage.objects (bucket_id, name, owner_id, metadata) values ('private', %s, %s, %s)",
            [path, str(tenant.owner), Jsonb({"size": 1, "mimetype": "image/jpeg"})],
        )
    # psycopg and JSON clients can read every column.
    assert rows(db, "select upload_expires_at::text from public.listing_images")[0].startswith("9999-12-31")


def test_what_does_not_fit_is_noted(db: Conn) -> None:
    tenant = Tenant(db, [])
    db.execute(
        sql.SQL(
            "alter table {t} add brand text, add currency text;"
            "insert into {t} (id, name, sku, price, brand, currency) values"
            " (1, repeat('x', 600), 'S', 'NaN', 'b', 'eur'), (2, ' ', 'S', 12345678901, repeat('b', 300), '€'),"
            " (3, null, null, 1.005, null, null), (4, 'x', repeat('s', 101), -1, null, null)"
        ).format(t=sql.Identifier(tenant.schema, "products"))
    )
    legacy.map_schema(db, tenant.schema, tenant.owner)
    tenant.import_()
    found = rows(
        db,
        "select p.product_key::int, l.title is null, l.sku, l.price::text, l.currency, p.notes"
        " from legacy.products as p join public.listings as l on l.id = p.listing_id"
        " where p.schema_name = %s order by 1",
        tenant.schema,
    )
    assert found == [
        (1, False, "S", None, "EUR", ["price_unreadable", "title_cut"]),
        (2, True, None, None, None, ["sku_taken", "price_unreadable", "currency_unreadable", "word_cut"]),
        (3, True, None, "1.01", None, []),
        (4, False, None, None, None, ["sku_taken", "price_unreadable"]),
    ]


def test_a_sku_of_the_owner_is_not_taken_twice(db: Conn) -> None:
    tenant = Tenant(db, [[url("a")]])
    with as_user(db, tenant.owner):
        db.execute("insert into public.listings (sku) values ('SKU-1')")
    tenant.import_()
    assert rows(db, "select notes from legacy.products where schema_name = %s", tenant.schema) == [
        ["sku_taken"]
    ]


@pytest.mark.parametrize("schema", HOSTILE)
def test_names_are_taken_literally(db: Conn, schema: str) -> None:
    db.execute("create schema y; create table y.products (id int)")
    tenant = Tenant(db, [[url("a"), url("b")], None], schema)
    was = tenant.source()
    assert tenant.run("plan_images")["products"] == 2
    assert tenant.import_()["images"] == 2
    assert tenant.run("drop_source_column")["dropped"]
    assert tenant.run("restore_images")["column_created"]
    assert tenant.source() == was


def test_other_tables_and_columns(db: Conn) -> None:
    owner = new_user(db)
    db.execute(
        'create schema shop; create table shop."It""ems" ("K ey" uuid primary key, caption text, "Pics" jsonb);'
        'insert into shop."It""ems" values (gen_random_uuid(), \'A\', \'[{"src": "p/1.png", "n": 2},'
        ' {"src": "/p/2.webp", "n": 1}]\')'
    )
    legacy.map_schema(
        db,
        "shop",
        owner,
        table_name='It"ems',
        key_column="K ey",
        images_column="Pics",
        columns={"title": "caption"},
        url_key="src",
        order_key="n",
        base_url="https://old.example.test/files/",
    )
    assert one(db, "select legacy.import_images('shop')")["images"] == 2
    assert rows(
        db,
        "select l.title, e.url, i.position, i.mime_type, i.file_name from public.listings as l"
        " join public.listing_images as i on i.listing_id = l.id join legacy.images as e on e.image_id = i.id"
        " where l.owner_id = %s order by 3",
        owner,
    ) == [
        ("A", "https://old.example.test/files/p/2.webp", 0, "image/webp", "2.webp"),
        ("A", "https://old.example.test/files/p/1.png", 1, "image/png", "1.png"),
    ]


def test_mappings_that_make_no_sense(db: Conn) -> None:
    owner, other = new_user(db), new_user(db)
    legacy.create_table(db, "t")
    for code, status, options in (
        ("legacy_table_missing", 404, {"table_name": "nope"}),
        ("legacy_column_missing", 422, {"images_column": "nope"}),
        ("legacy_column_missing", 422, {"columns": {"title": "nope"}}),
        ("legacy_column_missing", 422, {"columns": {"owner_id": "name"}}),
        ("legacy_column_not_jsonb", 422, {"images_column": "name"}),
    ):
        with refused(code, status), db.transaction():
            legacy.map_schema(db, "t", owner, **options)
    with refused("legacy_owner_missing", 404), db.transaction():
        legacy.map_schema(db, "t", uuid4())
    db.execute("create view t.v as select * from t.products")
    with refused("legacy_not_a_table", 422), db.transaction():
        legacy.map_schema(db, "t", owner, table_name="v")
    for function in ("import_images", "plan_images", "drop_source_column", "restore_images"):
        with refused("legacy_schema_not_mapped", 404), db.transaction():
            db.execute(f"select legacy.{function}('nobody')")
    legacy.add_products(db, "t", [[url("a")]])
    legacy.map_schema(db, "t", owner)
    one(db, "select legacy.import_images('t')")
    with refused("legacy_owner_fixed", 409), db.transaction():
        legacy.map_schema(db, "t", other)


def test_keys_that_cannot_tell_products_apart(db: Conn) -> None:
    tenant = Tenant(db, [[url("a")], [url("b")]])
    db.execute(sql.SQL("update {} set name = 'same'").format(sql.Identifier(tenant.schema, "products")))
    legacy.map_schema(db, tenant.schema, tenant.owner, key_column="name")
    with refused("legacy_key_unusable", 422), db.transaction():
        tenant.import_()
    assert rows(db, "select id from public.listings where owner_id = %s", tenant.owner) == []


def test_nobody_of_the_api_gets_in(db: Conn) -> None:
    for role in ("anon", "authenticated", "service_role", "media_worker", "analyst"):
        for privilege in ("usage", "create"):
            assert not one(db, "select has_schema_privilege(%s, 'legacy', %s)", role, privilege)


def test_a_row_of_another_owner_cannot_be_linked(db: Conn) -> None:
    mine, theirs = Tenant(db, [[url("a")]]), Tenant(db, [[url("a")]])
    mine.import_(), theirs.import_()
    image = one(db, "select id from public.listing_images where owner_id = %s", theirs.owner)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), db.transaction():
        db.execute("update legacy.images set image_id = %s where owner_id = %s", [image, mine.owner])
    with pytest.raises(psycopg.errors.ForeignKeyViolation), db.transaction():
        db.execute("update legacy.products set owner_id = %s where owner_id = %s", [theirs.owner, mine.owner])


def test_very_long_and_very_deep_values(db: Conn) -> None:
    """100,000 entries, a megabyte in one, a thousand levels: the limit of a listing holds and the label stays last."""
    tenant = Tenant(
        db,
        [
            [url(str(n)) for n in range(100_000)],
            [{"url": url("a"), "junk": "x" * 1_000_000}, url("b")],
            None,
            ["\\u0000", "https://h/\\u0000.jpg"],
        ],
    )
    db.execute(
        sql.SQL(
            "update {} set images = ('[' || repeat('[', 1000) || repeat(']', 1000) || ', \"https://h/a.jpg\"]')::jsonb"
            " where id = 3"
        ).format(sql.Identifier(tenant.schema, "products"))
    )
    before = tenant.source()
    answer = tenant.import_()
    assert answer["entries"] == 100_000 + 2 + 2 + 2
    found = tenant.images(1)
    assert len(found) == 50
    assert found[48] == (url("48"), 48, False)
    assert found[49] == (url("99999"), 49, True)
    assert answer["oddities"]["over_limit"] == 100_000 - 50
    assert tenant.images(2)[1] == (url("b"), 1, True)
    assert tenant.outcomes(3) == ["nested", "image"]
    tenant.run("drop_source_column")
    tenant.run("restore_images")
    assert tenant.source() == before
    with pytest.raises(psycopg.errors.UntranslatableCharacter), db.transaction():
        db.execute("""select '["\\u0000"]'::jsonb""")


def test_counts_that_differ_stop_the_import(db: Conn) -> None:
    """A trigger that swallows a row is noticed, and nothing of the schema stays."""
    tenant = Tenant(db, [[url("a"), url("b"), url("swallowed")], [url("c")]])
    db.execute(
        "create function pg_temp.swallow() returns trigger language plpgsql as"
        " $$ begin if new.file_name = 'swallowed.jpg' then return null; end if; return new; end $$;"
        "create trigger swallow before insert on public.listing_images for each row"
        " execute function pg_temp.swallow();"
        # The row that is missing would already be refused by the foreign key.
        "alter table legacy.images drop constraint image_became_one_of_the_same_listing"
    )
    with refused("legacy_counts_differ", 409) as info, db.transaction():
        tenant.import_()
    assert "images: 3, not 4" in str(info.value)
    assert rows(db, "select id from legacy.products where schema_name = %s", tenant.schema) == []


def test_the_column_goes_and_comes_back(db: Conn) -> None:
    """With its default, not null, checks, indexes and comment, byte for byte, whatever the seller did meanwhile."""
    tenant = Tenant(db, [[url("a"), {"b": 1.0, "url": url("b")}], [], [1.10, "x", None]])
    table = sql.Identifier(tenant.schema, "products")
    db.execute(
        sql.SQL(
            "alter table {t} alter images set default '[]', alter images set not null,"
            " add constraint is_array check (jsonb_typeof(images) = 'array');"
            "create index on {t} using gin (images); comment on column {t}.images is 'it''s old'"
        ).format(t=table)
    )
    describe = "select legacy.describe_column((%s)::regclass, 'images')"
    regclass = one(db, "select format('%%I.products', %s::text)", tenant.schema)
    was, shape = tenant.source(), one(db, describe, regclass)
    tenant.import_()
    with as_user(db, tenant.owner):
        db.execute("delete from public.listing_images where position = 0")
        db.execute("delete from public.listings where title = 'Article 3'")
    dropped = tenant.run("drop_source_column")
    assert dropped["dropped"]
    assert dropped["same"] == 3
    assert tenant.run("drop_source_column") == {"schema": tenant.schema, "dropped": False}
    with refused("legacy_column_dropped", 409), db.transaction():
        tenant.import_()
    db.execute(sql.SQL("insert into {} (id, name) values (9, 'of after')").format(table))
    answer = tenant.run("restore_images")
    assert answer["column_created"]
    assert answer["not_imported"] == 1
    assert tenant.source() == [*was, (9, "[]")]
    assert one(db, describe, regclass) == shape
    assert tenant.run("restore_images")["restored"] == 0


def test_a_changed_source_is_not_dropped_and_is_restored(db: Conn) -> None:
    tenant = Tenant(db, [[url("a")], [url("b")]])
    was = tenant.source()
    tenant.import_()
    table = sql.Identifier(tenant.schema, "products")
    db.execute(sql.SQL("update {} set images = '[1.0]' where id = 1").format(table))
    with refused("legacy_source_changed", 409), db.transaction():
        tenant.run("drop_source_column")
    assert tenant.run("restore_images")["restored"] == 1
    assert tenant.source() == was
    legacy.add_products(db, tenant.schema, [[url("new"), url("label")]], first=3)
    with refused("legacy_source_changed", 409), db.transaction():
        tenant.run("drop_source_column")
    assert tenant.import_()["products"] == 1
    assert tenant.run("drop_source_column")["dropped"]


def test_a_trigger_that_rewrites_the_column_is_noticed(db: Conn) -> None:
    tenant = Tenant(db, [[url("a")]])
    tenant.import_()
    table = sql.Identifier(tenant.schema, "products")
    db.execute(
        sql.SQL(
            "update {t} set images = '[]'; create function pg_temp.rewrite() returns trigger language plpgsql as"
            " $$ begin new.images := '[2]'; return new; end $$; create trigger rewrite before update on {t}"
            " for each row execute function pg_temp.rewrite()"
        ).format(t=table)
    )
    with refused("legacy_not_restored", 409), db.transaction():
        tenant.run("restore_images")


def test_the_seed(db: Conn) -> None:
    """3,282 products, 611 of them with a known label problem, in four tenants: all found, and no other is doubted."""
    rng = random.Random(11)
    cuts = sorted(rng.sample(range(1, legacy.LABEL_PROBLEMS), 3))
    problems = [b - a for a, b in zip([0, *cuts], [*cuts, legacy.LABEL_PROBLEMS], strict=True)]
    sizes = [900, 900, 900, legacy.PRODUCTS - 2700]
    total = {"products": 0, "entries": 0, "images": 0, "labels": 0, "doubtful": 0}
    for n, (size, count) in enumerate(zip(sizes, problems, strict=True)):
        values, expected = legacy.shop(n, size, count)
        tenant = Tenant(db, values, f"user_{n}")
        before = tenant.source()
        answer = tenant.import_()
        assert {k: answer[k] for k in ("products", "entries", "images", "labels")} == {
            "products": expected.products,
            "entries": expected.entries,
            "images": expected.images,
            "labels": expected.labels,
        }
        doubtful = one(
            db,
            "select count(*) from legacy.label_review where schema_name = %s and confidence < 0.7",
            tenant.schema,
        )
        assert doubtful == expected.doubtful
        tenant.run("drop_source_column"), tenant.run("restore_images")
        assert tenant.source() == before
        for key in total:
            total[key] += getattr(expected, key)
    assert (total["products"], total["doubtful"]) == (legacy.PRODUCTS, legacy.LABEL_PROBLEMS)
    reported = rows(
        db,
        "select sum(products)::int, sum(entries)::int, sum(images)::int, sum(labels)::int, sum(waiting)::int,"
        " sum(fetched)::int from legacy.report",
    )
    assert reported == [
        (legacy.PRODUCTS, total["entries"], total["images"], total["labels"], total["images"], 0)
    ]
    dense = one(
        db,
        "select count(*) from (select listing_id from public.listing_images group by listing_id"
        " having max(position) + 1 <> count(*)) as gap",
    )
    assert dense == 0


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
    | st.sampled_from([url("a"), url("b"), "http://h/x.png", "javascript:x", "//h/y"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["url", "order", "x", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(JUNK, min_size=1, max_size=8))
def test_any_json_goes_in_and_comes_back(db: Conn, values: list[Any]) -> None:
    with db.transaction(force_rollback=True):
        tenant = Tenant(db, [Jsonb(value) for value in values])
        before = tenant.source()
        answer = tenant.import_()
        assert answer["products"] == len(values)
        assert answer["images"] + sum(answer["oddities"].values()) == answer["entries"]
        tenant.run("drop_source_column"), tenant.run("restore_images")
        assert tenant.source() == before


class TestLabels:
    def decide(self, tenant: Tenant, *decisions: tuple[int, str]) -> dict[str, Any]:
        answer: dict[str, Any] = one(
            tenant.conn,
            "select legacy.decide_labels(%s)",
            Jsonb([{"schema": tenant.schema, "product": str(p), "label": label} for p, label in decisions]),
        )
        return answer

    def test_confirm_correct_and_none(self, db: Conn) -> None:
        tenant = Tenant(db, [[url(f"{p}-{n}") for n in range(3)] for p in range(4)])
        tenant.import_()
        answer = self.decide(tenant, (1, "ok"), (2, "0"), (3, "none"))
        assert answer == {"confirmed": 1, "corrected": 2, "listings_changed": 2}
        labels = [[position for _, position, is_label in tenant.images(p) if is_label] for p in (1, 2, 3, 4)]
        assert labels == [[2], [0], [], [2]]
        assert rows(
            db,
            "select product_key, confidence::int, verdict, decided_ordinal from legacy.label_review"
            " where schema_name = %s and verdict is not null order by 1",
            tenant.schema,
        ) == [("1", 1, "confirmed", 2), ("2", 1, "corrected", 0), ("3", 1, "corrected", None)]
        assert rows(db, "select event from public.image_events where event ~ 'label' order by 1") == [
            "labelled",
            "unlabelled",
            "unlabelled",
        ]
        # Changed minds.
        assert self.decide(tenant, (3, "2"), (2, "2"))["listings_changed"] == 2

    def test_all_or_nothing(self, db: Conn) -> None:
        tenant, other = Tenant(db, [[url("a"), url("b")], None]), Tenant(db, [[url("a"), url("b")]])
        tenant.import_(), other.import_()
        with as_user(db, other.owner):
            db.execute("select public.remove_image(id) from public.listing_images where is_label")
        for decision in ((1, "7"), (99, "ok"), (1, "x"), (1, "-1"), (2, "0")):
            with refused("legacy_decision_invalid", 422), db.transaction():
                self.decide(tenant, (1, "none"), decision)
        with refused("legacy_decision_invalid", 422), db.transaction():
            self.decide(other, (1, "1"))
        assert [is_label for *_, is_label in tenant.images()] == [False, True]
        assert rows(db, "select product_id from legacy.label_decisions") == []

    def test_pixels_count(self, db: Conn) -> None:
        """A photo in the label's place, and a label elsewhere, are doubted; the better one is suggested."""
        tenant = Tenant(db, [[url(f"{p}-{n}") for n in range(4)] for p in range(2)])
        tenant.import_()
        for product, scores in ((1, (0.9, 0.0, 0.1, 0.1)), (2, (0.1, 0.0, 0.1, 0.95))):
            for ordinal, score in enumerate(scores):
                image = one(
                    db,
                    "select e.image_id from legacy.images as e join legacy.products as p on p.id = e.product_id"
                    " where p.schema_name = %s and p.product_key = %s and e.ordinal = %s",
                    tenant.schema,
                    str(product),
                    ordinal,
                )
                db.execute("select legacy.score_image(%s, %s, '{}')", [image, score])
        first, second = rows(
            db,
            "select confidence::float8, suggested_ordinal, speaks_against, speaks_for from legacy.label_review"
            " where schema_name = %s order by product_key",
            tenant.schema,
        )
        assert first[0] < 0.3
        assert first[1] == 0
        assert first[2] == ["looks_like_a_photo", "another_looks_like_a_label"]
        assert second[0] > 0.9
        assert second[1] is None
        assert "looks_like_a_label" in second[3]


def test_the_users_end_is_the_end_of_it(db: Conn) -> None:
    tenant = Tenant(db, [[url("a"), url("b")]])
    tenant.import_()
    db.execute("delete from auth.users where id = %s", [tenant.owner])
    for table in ("sources", "products", "images", "import_runs"):
        assert one(db, f"select count(*) from legacy.{table} where owner_id = %s", tenant.owner) == 0
    report = one(db, "select private.erasure_report(%s)", tenant.owner)
    assert report["rows"]["legacy.images"] == 0


def test_a_second_import_waits_and_finds_nothing(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect() as first, fresh_db.connect(autocommit=True) as second:
        tenant = Tenant(first, [[url("a")]] * 3)
        first.commit()
        tenant.import_()
        second.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute("select legacy.import_images(%s)", [tenant.schema])
        first.commit()
        assert one(second, "select legacy.import_images(%s)", tenant.schema)["products"] == 0
