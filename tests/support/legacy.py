"""Tenants' schemas as an earlier data model left them: products with a JSONB array of picture addresses."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

#: The size of the shop that this was made for.
PRODUCTS, LABEL_PROBLEMS = 3_282, 611


@dataclass(frozen=True)
class Expected:
    """What an import must find: counted while the values are made, not by the code under test."""

    products: int
    entries: int
    images: int
    labels: int
    doubtful: int


def create_table(conn: psycopg.Connection[Any], schema: str, extra: str = "") -> None:
    """An empty `schema`.products."""
    conn.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    conn.execute(
        sql.SQL(
            "create table {}.products (id bigint primary key, name text, sku text, price numeric, images jsonb"
            + extra
            + ")"
        ).format(sql.Identifier(schema))
    )


def add_products(conn: psycopg.Connection[Any], schema: str, values: list[Any], first: int = 1) -> None:
    """Products with these values of `images`; None is SQL null, Jsonb(None) JSON's."""
    with (
        conn.cursor() as cursor,
        cursor.copy(
            sql.SQL("copy {}.products (id, name, sku, price, images) from stdin").format(
                sql.Identifier(schema)
            )
        ) as copy,
    ):
        for n, value in enumerate(values, first):
            copy.write_row(
                (n, f"Article {n}", f"SKU-{n}", 9.5, None if value is None else Jsonb(_bare(value)))
            )


def _bare(value: Any) -> Any:
    return value.obj if isinstance(value, Jsonb) else value


def map_schema(conn: psycopg.Connection[Any], schema: str, owner: UUID | str, **options: Any) -> None:
    """legacy.map_schema with named arguments."""
    names = "".join(f", {name} => %s" for name in options)
    conn.execute(
        f"select legacy.map_schema(%s, %s{names})",  # type: ignore[arg-type]
        [schema, owner, *(Jsonb(v) if isinstance(v, dict) else v for v in options.values())],
    )


def shop(seed: int, products: int = PRODUCTS, problems: int = LABEL_PROBLEMS) -> tuple[list[Any], Expected]:
    """Values of `images` for a shop, with `problems` products whose label is doubtful in a known way.

    A problem is: two images only whose last one is called a front view; a last entry that doubles an earlier one;
    junk behind the last image; another image that is called label.
    """
    rng = random.Random(seed)
    doubtful = set(rng.sample(range(products), problems))
    values: list[Any] = []
    entries = images = labels = 0
    for n in range(products):
        value, real = _doubtful(rng, n) if n in doubtful else _clear(rng, n)
        values.append(value)
        entries += len(value) if isinstance(value, list) else 0
        images += real
        labels += real >= 2
    return values, Expected(products, entries, images, labels, problems)


def _url(n: int, name: str) -> str:
    return f"https://cdn.example.test/p/{n}/{name}.jpg"


def _clear(rng: random.Random, n: int) -> tuple[Any, int]:
    """A value whose label, if it has one, is clear, and how many images it has."""
    kind = rng.random()
    if kind < 0.03:
        return rng.choice([None, Jsonb(None), []]), 0
    if kind < 0.08:
        return [_url(n, "1")], 1
    count = rng.randint(3, 8)
    urls = [_url(n, str(i)) for i in range(count)]
    if kind < 0.55:
        return urls, count
    if kind < 0.8:
        objects = [{"url": url, "order": i, "id": rng.randint(1, 10**9)} for i, url in enumerate(urls)]
        rng.shuffle(objects)
        return objects, count
    if kind < 0.9:
        # Mixed, with a hole and a double before the end.
        return [urls[0], {"url": urls[1]}, None, urls[0], {"note": {"deep": [1, [2]]}}, *urls[2:]], count
    return [{"url": url, "order": str(i)} for i, url in enumerate(urls)], count


def _doubtful(rng: random.Random, n: int) -> tuple[Any, int]:
    match rng.randrange(4):
        case 0:
            return [_url(n, "1"), _url(n, "front-2")], 2
        case 1:
            return [_url(n, "1"), _url(n, "2"), _url(n, "3"), _url(n, "1")], 3
        case 2:
            return [_url(n, "1"), _url(n, "2"), _url(n, "3"), ""], 3
        case _:
            return [_url(n, "label-1"), _url(n, "2"), _url(n, "3")], 3
