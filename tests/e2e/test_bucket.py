"""`imageledger bucket`: two real S3 servers, and the objects as Supabase Storage lays them out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from boto3.s3.transfer import TransferConfig

from tests.conftest import FreshDatabase, throw_away
from tests.e2e.test_operators import in_process
from tests.support.images import make_jpeg
from tests.support.s3 import S3Server
from tests.support.stack import Stack

OWNER = uuid4()


class Move:
    """A project whose Storage keeps its objects in `old`, and `new`, where they are to go."""

    def __init__(self, stack: Stack, database: FreshDatabase, old: S3Server, new: S3Server) -> None:
        self.stack, self.database, self.old, self.new = stack, database, old, new
        self.conn = psycopg.connect(database.admin_url, autocommit=True)

    def store(self, bucket: str, name: str, body: bytes, mime: str = "image/webp") -> str:
        """An object as Storage writes it: into the store, sent in parts from 5 MiB on, then the row with its ETag."""
        version = str(uuid4())
        key = f"stub/{bucket}/{name}/{version}"
        extra = {"ContentType": mime, "CacheControl": "max-age=31536000"}
        parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
        self.old.client.upload_fileobj(BytesIO(body), self.old.bucket, key, ExtraArgs=extra, Config=parts)
        etag = self.old.get(key)["ETag"]
        self.conn.execute(
            "insert into storage.objects (bucket_id, name, owner_id, version, metadata) values (%s, %s, %s, %s, %s)",
            (
                bucket,
                name,
                str(OWNER),
                version,
                json.dumps({"size": len(body), "mimetype": mime, "eTag": etag}),
            ),
        )
        return key

    def run(self, *arguments: str, code: int = 0, **environment: str) -> Any:
        env = self.old.environment("FROM") | self.new.environment("TO") | environment
        given, out, err = in_process(
            self.stack, "bucket", *arguments, "--json", SUPABASE_DB_URL=self.database.url, **env
        )
        assert given == code, f"{arguments}\n{out}\n{err}"
        return json.loads(out) if out else json.loads(err.splitlines()[-1])["error"]


@pytest.fixture(scope="module")
def move(stack: Stack, template: str) -> Iterator[Move]:
    with S3Server("lightsail") as old, S3Server("amazon") as new, throw_away(stack, template) as database:
        old.wait()
        new.wait()
        made = Move(stack, database, old, new)
        # Rows without a request behind them: the policies and the pairing are not what is tested here.
        made.conn.execute("alter table storage.objects disable trigger user")
        yield made
        made.conn.close()


def test_a_bucket_moves_with_everything_that_storage_takes_from_it(move: Move) -> None:
    small = [move.store("media", f"{OWNER}/l/i{n}/card.webp", make_jpeg((40 + n, 30))) for n in range(5)]
    large = move.store("private", f"{OWNER}/listings/l/i.jpg", os.urandom(11 * 2**20), "image/jpeg")
    odd = move.store("private", f"{OWNER}/inputs/ä +%2F&.png", b"bytes", "image/png")
    keys = {*small, large, odd}
    assert move.old.get(large)["ETag"].endswith('-3"')

    dry = move.run("copy", "--dry-run")
    assert (dry["objects"], dry["copied"], dry["there"], move.new.keys()) == (7, 7, 0, set())
    part = move.run("copy", "--bucket", "media")
    assert (part["objects"], part["copied"], move.new.keys()) == (5, 5, set(small))
    rest = move.run("copy", "--threads", "16")
    assert (rest["copied"], rest["there"], rest["etags_changed"], rest["findings"]) == (2, 5, 0, [])
    assert move.new.keys() == keys
    for key in keys:
        assert move.new.get(key) == move.old.get(key)
    assert move.run("copy")["there"] == 7

    # What is damaged over there is found and sent again; what is gone too.
    move.new.client.put_object(Bucket=move.new.bucket, Key=small[0], Body=b"x" * 10)
    move.new.client.delete_object(Bucket=move.new.bucket, Key=odd)
    again = move.run("copy")
    assert (again["copied"], again["there"]) == (2, 5)
    assert move.new.get(small[0]) == move.old.get(small[0])


def test_what_the_old_store_lost_is_told_and_the_rest_is_moved(move: Move) -> None:
    lost = move.store("media", f"{OWNER}/l/lost/card.webp", b"lost")
    kept = move.store("media", f"{OWNER}/l/kept/card.webp", b"kept")
    move.old.client.delete_object(Bucket=move.old.bucket, Key=lost)
    told = move.run("copy", code=7)
    assert (told["missing"], [f["key"] for f in told["findings"]]) == (1, [lost])
    assert move.new.get(kept)["Body"] == b"kept"
    move.conn.execute("set storage.allow_delete_query = 'true'")
    move.conn.execute("delete from storage.objects where name like %s", (f"{OWNER}/l/lost/%",))


def test_what_was_removed_between_two_copies_is_pruned(move: Move) -> None:
    gone = move.store("media", f"{OWNER}/l/gone/card.webp", b"gone")
    move.run("copy")
    move.new.client.put_object(Bucket=move.new.bucket, Key="another-tenant/media/x/y", Body=b"not ours")
    before = move.new.keys()
    move.conn.execute("set storage.allow_delete_query = 'true'")
    move.conn.execute("delete from storage.objects where name like %s", (f"{OWNER}/l/gone/%",))
    dry = move.run("prune")
    assert (dry["unknown"], dry["deleted"], dry["keys"], move.new.keys()) == (1, 0, [gone], before)
    assert move.run("prune", "--yes")["deleted"] == 1
    assert move.new.keys() == before - {gone}


def test_a_store_that_is_not_named_or_not_there_is_told(move: Move) -> None:
    unset = move.run("copy", code=2, S3_TO_BUCKET="", S3_TO_REGION="")
    assert "S3_TO_BUCKET, S3_TO_REGION" in unset["message"]
    assert move.run("prune", code=1, S3_TO_BUCKET="nowhere")["code"] == "store_failed"
