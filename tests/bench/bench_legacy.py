"""The import of a million legacy images against a plain `insert … select` of the same rows.

    python -m tests.bench.bench_legacy [--images 1000000] [--schemas 4] [--check] [--json]

Starts an embedded stack of its own. `import` is legacy.import_images, schema by schema, each in its transaction: it
reads JSONB, decides on every entry, writes listings, images, their history and the legacy tables, and counts all of it
anew. `plain` is what any import has to do at least: the same rows of `listings` and `listing_images`, already computed,
in one statement each into empty tables of the same shape (columns, checks, indexes, foreign key; no triggers). `all`
copies the rows of every table that the import wrote, in the same way. The target: at most 3 times `plain`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.bench.databases import Databases
from tests.support import legacy
from tests.support.roles import new_user
from tests.support.stack import run_cli, start_stack

#: What the import may cost, in times of `plain`.
RATIO_MAX = 3.0
IMAGES_A_PRODUCT = 5
#: Tables that the import writes, parents first; the first two are what `plain` copies.
TABLES = (
    "public.listings",
    "public.listing_images",
    "public.image_events",
    "legacy.products",
    "legacy.images",
)
PLAIN = TABLES[:2]


@dataclass(frozen=True)
class Result:
    """Seconds, and rows of public.listing_images a second."""

    images: int
    products: int
    import_seconds: float
    plain_seconds: float
    all_seconds: float
    rows_per_second: float
    ratio: float
    ratio_all: float
    restore_seconds: float


def fill(conn: psycopg.Connection[Any], schema: str, first: int, count: int) -> None:
    """`count` products of IMAGES_A_PRODUCT images, half of them as strings, half as objects."""
    legacy.create_table(conn, schema)
    conn.execute(
        f"""
        insert into {schema}.products (id, name, sku, price, images)
        select n, 'Article ' || n, 'SKU-' || n, 9.5, (
          select jsonb_agg(case when n % 2 = 0 then to_jsonb(u.url)
            else jsonb_build_object('url', u.url, 'order', u.i) end order by u.i)
          from (
            select i, 'https://cdn.example.test/p/' || n || '/' || i || '.jpg' as url
            from generate_series(1, {IMAGES_A_PRODUCT}) as i
          ) as u
        )
        from generate_series({first}, {first + count - 1}) as n
        """,  # type: ignore[arg-type]
    )
    conn.execute(f"analyze {schema}.products")  # type: ignore[arg-type]


def copies(conn: psycopg.Connection[Any]) -> dict[str, float]:
    """Seconds to copy each table's rows into an empty one of its shape."""
    conn.execute("create schema plain")
    seconds = {}
    for table in TABLES:
        name = "plain." + table.replace(".", "_")
        conn.execute(f"create table {name} (like {table} including all)")  # type: ignore[arg-type]
        if table == "public.listing_images":
            conn.execute(
                f"alter table {name} add foreign key (owner_id, listing_id)"  # type: ignore[arg-type]
                " references plain.public_listings (owner_id, id)"
            )
        conn.execute("checkpoint")
        started = time.perf_counter()
        override = "overriding system value" if table == "public.image_events" else ""
        conn.execute(f"insert into {name} {override} select * from {table}")  # type: ignore[arg-type]
        seconds[table] = time.perf_counter() - started
    return seconds


def measure(images: int, schemas: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="imageledger-bench-") as folder:
        home = Path(folder) / "home"
        try:
            stack = start_stack(home)
            with (
                Databases(stack).new(ledger=True) as database,
                psycopg.connect(database.admin_url, autocommit=True) as admin,
                psycopg.connect(database.url, autocommit=True) as conn,
            ):
                products = images // IMAGES_A_PRODUCT // schemas
                names = [f"user_{n}" for n in range(schemas)]
                for n, name in enumerate(names):
                    fill(conn, name, 1 + n * products, products)
                    legacy.map_schema(conn, name, new_user(conn))
                admin.execute("checkpoint")
                imported = 0
                started = time.perf_counter()
                for name in names:
                    row = conn.execute("select legacy.import_images(%s)", [name]).fetchone()
                    assert row is not None
                    imported += int(row[0]["images"])
                import_seconds = time.perf_counter() - started
                assert imported == products * schemas * IMAGES_A_PRODUCT
                seconds = copies(admin)
                started = time.perf_counter()
                for name in names:
                    conn.execute("select legacy.drop_source_column(%s)", [name])
                    conn.execute("select legacy.restore_images(%s)", [name])
                restore_seconds = time.perf_counter() - started
        finally:
            run_cli(home, "down", "--destroy", "--yes", check=False)
    plain = sum(seconds[table] for table in PLAIN)
    whole = sum(seconds.values())
    return Result(
        images=imported,
        products=products * schemas,
        import_seconds=import_seconds,
        plain_seconds=plain,
        all_seconds=whole,
        rows_per_second=imported / import_seconds,
        ratio=import_seconds / plain,
        ratio_all=import_seconds / whole,
        restore_seconds=restore_seconds,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_legacy", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--schemas", type=int, default=4)
    parser.add_argument("--check", action="store_true", help=f"fail above {RATIO_MAX:g} times `plain`")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.images, options.schemas)
    if options.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        print(f"{result.images} images of {result.products} products in {options.schemas} schemas")
        print(f"import   {result.import_seconds:8.1f} s  {result.rows_per_second:10.0f} images/s")
        print(f"plain    {result.plain_seconds:8.1f} s  ratio {result.ratio:.2f} (at most {RATIO_MAX:g})")
        print(f"all      {result.all_seconds:8.1f} s  ratio {result.ratio_all:.2f}")
        print(f"column dropped and restored in {result.restore_seconds:.1f} s")
    return int(options.check and result.ratio > RATIO_MAX)


if __name__ == "__main__":
    sys.exit(main())
