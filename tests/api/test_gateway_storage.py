"""Storage's wire: every method of storage3's bucket and file clients, unmodified, and HTTP around them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from psycopg import sql
from storage3.exceptions import StorageApiError
from supabase import Client

from tests.api.gateway_support import (
    access_token,
    http,
    own_folder_bucket,
    service_client,
    signed_up,
    unique,
    user_id,
)
from tests.support.stack import Stack

TEXT: Any = {"content-type": "text/plain"}


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> Iterator[str]:
    with own_folder_bucket(stack) as name:
        yield name


@pytest.fixture(scope="module")
def user(stack: Stack) -> Client:
    return signed_up(stack)


@pytest.fixture(scope="module")
def other(stack: Stack) -> Client:
    return signed_up(stack)


@pytest.fixture
def folder(user: Client) -> str:
    """A fresh folder below the user's own."""
    return f"{user_id(user)}/{uuid4().hex}"


def row_of(stack: Stack, bucket: str, name: str) -> dict[str, Any] | None:
    with psycopg.connect(stack.admin_db_url, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(
            "select * from storage.objects where bucket_id = %s and name = %s", (bucket, name)
        ).fetchone()


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert body.keys() == {"statusCode", "code", "error", "message"}
    return response.status_code, body["statusCode"], body["error"]


class TestBuckets:
    def test_life(self, stack: Stack) -> None:
        storage = service_client(stack).storage
        name = unique("bucket")
        limits: Any = {"public": False, "file_size_limit": 1000, "allowed_mime_types": ["image/*"]}
        assert storage.create_bucket(name, options=limits) == {"name": name}
        found = storage.get_bucket(name)
        assert (found.id, found.public, found.file_size_limit) == (name, False, 1000)
        assert found.allowed_mime_types == ["image/*"]
        assert name in [each.id for each in storage.list_buckets()]
        storage.update_bucket(name, {"public": True})
        found = storage.get_bucket(name)
        assert (found.public, found.file_size_limit) == (True, 1000)
        with pytest.raises(StorageApiError) as taken:
            storage.create_bucket(name)
        assert (taken.value.status, taken.value.code) == ("409", "Duplicate")
        storage.from_(name).upload("a.png", b"x", {"content-type": "image/png"})
        with pytest.raises(StorageApiError) as full:
            storage.delete_bucket(name)
        assert full.value.status == "409"
        storage.empty_bucket(name)
        assert storage.from_(name).list() == []
        storage.delete_bucket(name)
        with pytest.raises(StorageApiError) as gone:
            storage.get_bucket(name)
        assert gone.value.status == "404"

    @pytest.mark.parametrize("name", ["a/b", "ü", "x" * 101, " x", "", "a\0b"])
    def test_bad_names(self, stack: Stack, name: str) -> None:
        body = {"name": name}
        response = http(stack, "POST", "/storage/v1/bucket", stack.service_role_key, json=body)
        assert refusal(response)[:2] == (400, "400")

    def test_users_see_and_make_none(self, user: Client) -> None:
        assert user.storage.list_buckets() == []
        with pytest.raises(StorageApiError) as refused:
            user.storage.create_bucket(unique("mine"))
        assert (refused.value.status, refused.value.code) == ("403", "Unauthorized")

    def test_limits_hold(self, stack: Stack) -> None:
        with own_folder_bucket(stack, file_size_limit=1000, allowed_mime_types=["image/png"]) as name:
            person = signed_up(stack)
            files, path = person.storage.from_(name), f"{user_id(person)}/a.png"
            with pytest.raises(StorageApiError) as wrong_type:
                files.upload(path, b"x", {"content-type": "image/jpeg"})
            assert (wrong_type.value.status, wrong_type.value.code) == ("415", "invalid_mime_type")
            with pytest.raises(StorageApiError) as too_large:
                files.upload(path, b"x" * 1001, {"content-type": "image/png"})
            assert (too_large.value.status, too_large.value.code) == ("413", "Payload too large")
            raw = http(
                stack,
                "POST",
                f"/storage/v1/object/{name}/{path}",
                access_token(person),
                content=iter([b"x" * 600, b"x" * 600]),
                headers={"content-type": "image/png"},
            )
            assert refusal(raw) == (400, "413", "Payload too large")
            assert files.list(user_id(person)) == []
            files.upload(path, b"x" * 1000, {"content-type": "image/png"})


class TestFiles:
    def test_upload_and_what_the_row_says(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        data = b"hello \0 world"
        options: Any = {"content-type": "image/png", "cache-control": "60", "metadata": {"shot": 1}}
        answer = user.storage.from_(bucket).upload(f"{folder}/a b (1).png", data, options)
        assert answer.full_path == f"{bucket}/{folder}/a b (1).png"
        assert user.storage.from_(bucket).download(f"{folder}/a b (1).png") == data
        row = row_of(stack, bucket, f"{folder}/a b (1).png")
        assert row is not None
        assert str(row["owner"]) == row["owner_id"] == user_id(user)
        assert row["metadata"]["size"] == row["metadata"]["contentLength"] == len(data)
        assert row["metadata"]["mimetype"] == "image/png"
        assert row["metadata"]["cacheControl"] == "max-age=60"
        assert row["metadata"]["eTag"] == f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324
        assert row["user_metadata"] == {"shot": 1}

    def test_raw_body(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        metadata = base64.b64encode(json.dumps({"k": "v"}).encode()).decode()
        response = http(
            stack,
            "POST",
            f"/storage/v1/object/{bucket}/{folder}/raw.bin",
            access_token(user),
            content=b"raw",
            headers={"content-type": "image/webp", "cache-control": "max-age=9", "x-metadata": metadata},
        )
        assert response.json().keys() == {"Id", "Key"}
        info = user.storage.from_(bucket).info(f"{folder}/raw.bin")
        assert (info["size"], info["content_type"]) == (3, "image/webp")
        assert (info["cache_control"], info["metadata"]) == ("max-age=9", {"k": "v"})

    def test_empty_file(self, bucket: str, user: Client, folder: str) -> None:
        files = user.storage.from_(bucket)
        files.upload(f"{folder}/empty", b"", TEXT)
        assert files.download(f"{folder}/empty") == b""

    def test_replacing(self, bucket: str, user: Client, folder: str) -> None:
        files, path = user.storage.from_(bucket), f"{folder}/a"
        files.upload(path, b"1", TEXT)
        with pytest.raises(StorageApiError) as taken:
            files.upload(path, b"2", TEXT)
        assert (taken.value.status, taken.value.code) == ("409", "Duplicate")
        assert files.download(path) == b"1"
        files.upload(path, b"2", {**TEXT, "upsert": "true"})
        assert files.download(path) == b"2"
        files.update(path, b"3", TEXT)
        assert files.download(path) == b"3"

    def test_exists_info_move_copy_remove(self, bucket: str, user: Client, folder: str) -> None:
        files = user.storage.from_(bucket)
        files.upload(f"{folder}/a", b"1", TEXT)
        files.move(f"{folder}/a", f"{folder}/b")
        assert (files.exists(f"{folder}/a"), files.exists(f"{folder}/b")) == (False, True)
        files.copy(f"{folder}/b", f"{folder}/c")
        assert files.download(f"{folder}/b") == files.download(f"{folder}/c") == b"1"
        with pytest.raises(StorageApiError) as taken:
            files.copy(f"{folder}/b", f"{folder}/c")
        assert taken.value.status == "409"
        with pytest.raises(StorageApiError) as occupied:
            files.move(f"{folder}/b", f"{folder}/c")
        assert occupied.value.status == "409"
        removed = files.remove([f"{folder}/b", f"{folder}/nothing"])
        assert [each["name"] for each in removed] == [f"{folder}/b"]
        assert files.download(f"{folder}/c") == b"1"
        with pytest.raises(StorageApiError) as gone:
            files.download(f"{folder}/b")
        assert gone.value.status == "404"

    def test_listing(self, bucket: str, user: Client, folder: str) -> None:
        files = user.storage.from_(bucket)
        for name in ("b.txt", "a.txt", "sub/one.txt", "sub/deep/two.txt", "Zed.txt", "sub2/x"):
            files.upload(f"{folder}/{name}", name.encode(), TEXT)

        def names(options: Any = None, below: str = "") -> list[str]:
            return [each["name"] for each in files.list(folder + below, options)]

        assert names() == ["a.txt", "b.txt", "sub", "sub2", "Zed.txt"]
        assert names(below="/") == names()
        assert names({"sortBy": {"column": "name", "order": "desc"}}) == names()[::-1]
        assert names({"limit": 2, "offset": 1}) == ["b.txt", "sub"]
        assert names({"search": "SU"}) == ["sub", "sub2"]
        assert names(below="/sub") == ["deep", "one.txt"]
        assert names({"sortBy": {"column": "created_at", "order": "desc"}}) == [
            "sub2",
            "sub",
            "Zed.txt",
            "a.txt",
            "b.txt",
        ]
        entries = {each["name"]: each for each in files.list(folder)}
        assert entries["sub"]["id"] is None
        assert entries["a.txt"]["metadata"]["size"] == 5

    def test_search_text_is_not_a_pattern(self, bucket: str, user: Client, folder: str) -> None:
        files = user.storage.from_(bucket)
        files.upload(f"{folder}/axb.txt", b"", TEXT)
        for search in ("a_b", "%", "a%"):
            assert files.list(folder, {"search": search}) == []

    def test_pages_by_cursor(self, bucket: str, user: Client, folder: str) -> None:
        files = user.storage.from_(bucket)
        for name in ("1", "2", "3", "d/1", "d/2"):
            files.upload(f"{folder}/{name}", b"", TEXT)
        for column in ("name", "created_at"):
            seen: list[str] = []
            options: Any = {
                "prefix": f"{folder}/",
                "limit": 2,
                "with_delimiter": True,
                "sortBy": {"column": column},
            }
            while True:
                page = files.list_v2(options)
                seen += [each.name for each in (*page.folders, *page.objects)]
                if not page.hasNext:
                    break
                options["cursor"] = page.nextCursor
            assert sorted(seen) == [f"{folder}/{name}" for name in ("1", "2", "3", "d/")], column
        flat = files.list_v2({"prefix": f"{folder}/d"})
        assert [each.name for each in flat.objects] == [f"{folder}/d/1", f"{folder}/d/2"]

    @pytest.mark.parametrize("name", ["ü.jpg", "a\\b", "a%00b", "a%7Fb", "a#b", "a[b]"])
    def test_keys_that_are_refused(
        self, stack: Stack, bucket: str, user: Client, folder: str, name: str
    ) -> None:
        url = httpx.URL(stack.api_url).copy_with(path="")
        path = f"/storage/v1/object/{bucket}/{folder}/" + name.replace("#", "%23").replace("\\", "%5C")
        headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {access_token(user)}"}
        for method in ("POST", "GET", "DELETE"):
            response = httpx.request(method, f"{url}{path}", headers=headers, content=b"x")
            assert refusal(response) == (400, "400", "InvalidKey"), method

    @pytest.mark.parametrize(
        "content", [b"", b"--x\r\n", b"--x--\r\n", b"nonsense", b"--x\r\nA: b\r\n\r\nv\r\n--x--"]
    )
    def test_multipart_without_a_file(
        self, stack: Stack, bucket: str, user: Client, folder: str, content: bytes
    ) -> None:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        path = f"/storage/v1/object/{bucket}/{folder}/none"
        response = http(stack, "POST", path, access_token(user), content=content, headers=headers)
        assert refusal(response)[:2] == (400, "400")
        assert row_of(stack, bucket, f"{folder}/none") is None

    def test_multipart_that_ends_early(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        content = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf a fi'
        headers = {"content-type": "multipart/form-data; boundary=x"}
        path = f"/storage/v1/object/{bucket}/{folder}/half"
        response = http(stack, "POST", path, access_token(user), content=content, headers=headers)
        assert refusal(response)[:2] == (400, "400")
        assert row_of(stack, bucket, f"{folder}/half") is None


class TestServing:
    def test_headers_ranges_and_conditions(
        self, stack: Stack, bucket: str, user: Client, folder: str
    ) -> None:
        path, data = f"{folder}/a.txt", bytes(range(256)) * 4
        user.storage.from_(bucket).upload(path, data, {"content-type": "image/png", "cache-control": "77"})

        def get(method: str = "GET", query: str = "", **headers: str) -> httpx.Response:
            url = f"/storage/v1/object/authenticated/{bucket}/{path}{query}"
            return http(stack, method, url, access_token(user), headers=headers)

        whole = get()
        assert whole.content == data
        etag = whole.headers["etag"]
        assert etag == f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324
        assert whole.headers["cache-control"] == "max-age=77"
        assert whole.headers["content-type"] == "image/png"
        assert whole.headers["accept-ranges"] == "bytes"
        head = get("HEAD")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "1024", b"")
        for asked, start, stop in (
            ("0-9", 0, 10),
            ("1000-", 1000, 1024),
            ("-24", 1000, 1024),
            ("5-9999", 5, 1024),
        ):
            part = get(Range=f"bytes={asked}")
            assert part.status_code == 206
            assert part.content == data[start:stop]
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
            assert part.headers["content-length"] == str(stop - start)
        assert refusal(get(Range="bytes=5000-")) == (400, "416", "InvalidRange")
        for ignored in ("bytes=9-2", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=0-1,3-4"):
            assert get(Range=ignored).content == data
        assert get(**{"If-None-Match": f'"x", W/{etag}'}).status_code == 304
        assert get(**{"If-None-Match": '"x"'}).status_code == 200
        assert get(**{"If-Modified-Since": whole.headers["last-modified"]}).status_code == 304
        assert get(**{"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 200
        assert get(**{"If-Modified-Since": "nonsense"}).status_code == 200
        assert get(query="?download").headers["content-disposition"] == "attachment;"
        named = get(query="?download=a%20%22b.txt").headers["content-disposition"]
        assert named == "attachment; filename=a%20%22b.txt; filename*=UTF-8''a%20%22b.txt"

    def test_html_is_never_served_as_html(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        user.storage.from_(bucket).upload(f"{folder}/x", b"<script>", {"content-type": "text/html"})
        path = f"/storage/v1/object/{bucket}/{folder}/x"
        assert http(stack, "GET", path, access_token(user)).headers["content-type"] == "text/plain"

    def test_public_buckets(self, stack: Stack) -> None:
        with own_folder_bucket(stack, public=True) as name:
            person = signed_up(stack)
            path = f"{user_id(person)}/a.txt"
            person.storage.from_(name).upload(path, b"open", TEXT)
            url = person.storage.from_(name).get_public_url(path)
            assert httpx.get(url).content == b"open"
            assert httpx.head(url).headers["content-length"] == "4"
            base = f"{stack.api_url}/storage/v1/object"
            assert httpx.get(f"{base}/info/public/{name}/{path}").json()["size"] == 4
            assert httpx.get(f"{base}/{name}/{path}").content == b"open"
            assert refusal(httpx.get(f"{url}x")) == (400, "404", "not_found")

    def test_a_private_bucket_does_not_exist_for_strangers(
        self, stack: Stack, bucket: str, user: Client, folder: str
    ) -> None:
        path = f"{folder}/a.txt"
        user.storage.from_(bucket).upload(path, b"secret", TEXT)
        base = f"{stack.api_url}/storage/v1/object"
        for door in ("", "public/", "info/", "info/public/"):
            assert refusal(httpx.get(f"{base}/{door}{bucket}/{path}")) == (400, "404", "Bucket not found"), (
                door
            )
        response = httpx.get(f"{base}/authenticated/{bucket}/{path}")
        assert refusal(response) == (400, "404", "Bucket not found")

    def test_not_offered(self, stack: Stack, bucket: str) -> None:
        response = http(stack, "GET", f"/storage/v1/render/image/public/{bucket}/a.png?width=1")
        assert refusal(response) == (400, "409", "FeatureNotEnabled")
        response = http(stack, "POST", "/storage/v1/upload/resumable")
        assert refusal(response) == (404, "404", "NotSupported")


class TestSignedUrls:
    def test_download(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        files, path = user.storage.from_(bucket), f"{folder}/a b.txt"
        files.upload(path, b"x", TEXT)
        url = files.create_signed_url(path, 60, {"download": "n.txt"})["signedURL"]
        assert url is not None
        response = httpx.get(url)
        assert response.content == b"x"
        assert "n.txt" in response.headers["content-disposition"]
        assert "expires" in response.headers
        assert refusal(httpx.get(url.replace("a%20b", "other").replace("a+b", "other")))[1] == "400"
        assert refusal(httpx.get(url[:-20] + "A" * 20))[1] == "400"
        assert refusal(httpx.get(url.split("?")[0]))[1] == "400"

    def test_expired(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        files, path = user.storage.from_(bucket), f"{folder}/a.txt"
        files.upload(path, b"x", TEXT)
        claims = {"url": f"{bucket}/{path}", "scope": "download", "exp": int(time.time()) - 1}
        url = f"/storage/v1/object/sign/{bucket}/{path}?token={jwt.encode(claims, stack.jwt_secret)}"
        assert refusal(http(stack, "GET", url)) == (400, "400", "InvalidJWT")

    def test_many(self, bucket: str, user: Client, folder: str) -> None:
        files = user.storage.from_(bucket)
        files.upload(f"{folder}/a", b"x", TEXT)
        good, bad = files.create_signed_urls([f"{folder}/a", f"{folder}/nothing"], 60)
        assert good["error"] is None
        assert good["signedURL"] is not None
        assert httpx.get(good["signedURL"]).content == b"x"
        assert bad["signedURL"] is None
        assert bad["error"]

    def test_upload(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        files, path = user.storage.from_(bucket), f"{folder}/a.txt"
        signed: Any = files.create_signed_upload_url(path)
        stranger = service_client(stack)
        stranger.storage.from_(bucket).upload_to_signed_url(path, signed["token"], b"x", TEXT)
        row = row_of(stack, bucket, path)
        assert row is not None
        assert row["owner_id"] == user_id(user)
        with pytest.raises(StorageApiError) as taken:
            files.upload_to_signed_url(path, signed["token"], b"y", TEXT)
        assert taken.value.status == "409"
        with pytest.raises(StorageApiError):
            files.upload_to_signed_url(f"{folder}/b.txt", signed["token"], b"y", TEXT)
        assert files.download(path) == b"x"

    def test_scopes_are_not_exchangeable(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        files, path = user.storage.from_(bucket), f"{folder}/a.txt"
        files.upload(path, b"x", TEXT)
        url = files.create_signed_url(path, 60)["signedURL"]
        assert url is not None
        read_token = url.split("token=")[1]
        with pytest.raises(StorageApiError) as refused:
            files.upload_to_signed_url(path, read_token, b"y", TEXT)
        assert refused.value.code == "InvalidSignature"
        write_token = files.create_signed_upload_url(f"{folder}/b.txt")["token"]
        for token in (write_token, access_token(user), stack.service_role_key):
            path_and_token = f"/storage/v1/object/sign/{bucket}/{folder}/b.txt?token={token}"
            assert refusal(http(stack, "GET", path_and_token))[2] == "InvalidSignature"


class TestPolicies:
    def test_other_peoples_objects(
        self, stack: Stack, bucket: str, user: Client, other: Client, folder: str
    ) -> None:
        mine, theirs = user.storage.from_(bucket), other.storage.from_(bucket)
        path = f"{folder}/a.txt"
        mine.upload(path, b"mine", TEXT)
        target = f"{user_id(other)}/{uuid4().hex}"
        for attempt in (
            lambda: theirs.upload(f"{folder}/b.txt", b"x", TEXT),
            lambda: theirs.upload(path, b"x", {**TEXT, "upsert": "true"}),
            lambda: theirs.update(path, b"x", TEXT),
            lambda: theirs.download(path),
            lambda: theirs.info(path),
            lambda: theirs.create_signed_url(path, 60),
            lambda: theirs.create_signed_upload_url(f"{folder}/b.txt"),
            lambda: theirs.move(path, target),
            lambda: theirs.copy(path, target),
            lambda: mine.move(path, target),
            lambda: mine.copy(path, target),
        ):
            with pytest.raises(StorageApiError) as refused:
                attempt()
            assert refused.value.status in {"403", "404"}
        assert theirs.list(folder) == []
        assert theirs.list_v2({"prefix": folder}).objects == []
        assert theirs.remove([path]) == []
        token = access_token(other)
        assert refusal(http(stack, "DELETE", f"/storage/v1/object/{bucket}/{path}", token))[1] == "403"
        assert mine.download(path) == b"mine"

    def test_the_probe_is_the_caller_and_the_write_is_service_role(
        self, stack: Stack, bucket: str, user: Client, folder: str
    ) -> None:
        with psycopg.connect(stack.db_url, autocommit=True) as connection:
            connection.execute(
                """
                create table public.t_seen (
                  role text, uid uuid, version text, metadata jsonb, owner_id text, operation text
                );
                grant all on public.t_seen to anon, authenticated, service_role;
                create function public.t_see() returns trigger language plpgsql as $$
                begin
                  insert into public.t_seen values (
                    auth.role(), auth.uid(), new.version, new.metadata, new.owner_id, storage.operation());
                  return new;
                end$$;
                """
            )
            connection.execute(
                sql.SQL(
                    "create trigger t_see after insert on storage.objects for each row"
                    " when (new.bucket_id = {}) execute function public.t_see()"
                ).format(sql.Literal(bucket))
            )
            try:
                user.storage.from_(bucket).upload(f"{folder}/a.txt", b"x", TEXT)
                seen = connection.execute("select * from public.t_seen").fetchall()
            finally:
                connection.execute("drop trigger t_see on storage.objects")
                connection.execute("drop function public.t_see(); drop table public.t_seen")
        (only,) = seen
        role, uid, version, metadata, owner_id, operation = only
        assert (role, uid, owner_id) == ("service_role", None, user_id(user))
        assert version != "1"
        assert metadata["size"] == 1
        assert operation == "storage.object.upload"

    @pytest.mark.parametrize("guard", ["new.version = '1'", "new.version <> '1'"], ids=["probe", "write"])
    @pytest.mark.parametrize(
        ("state", "answer"),
        [
            ("42501", (400, "403", "Unauthorized", "not today")),
            ("P0001", (500, "500", "DatabaseError", "database error, code: P0001")),
            ("PT409", (500, "500", "DatabaseError", "database error, code: PT409")),
        ],
    )
    def test_errors_of_triggers(
        self,
        stack: Stack,
        bucket: str,
        user: Client,
        state: str,
        answer: tuple[int, str, str, str],
        guard: str,
    ) -> None:
        """Raised in the probe or in the real write: the client sees the same, and nothing is stored."""
        folder = f"{user_id(user)}/{uuid4().hex}"
        with psycopg.connect(stack.db_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL(
                    "create function public.t_raise() returns trigger language plpgsql as"
                    " $$begin raise exception using errcode = {}, message = 'not today'; end$$"
                ).format(sql.Literal(state))
            )
            connection.execute(
                sql.SQL(
                    "create trigger t_raise after insert on storage.objects for each row"
                    " when (new.bucket_id = {} and {}) execute function public.t_raise()"
                ).format(sql.Literal(bucket), sql.SQL(guard))
            )
            try:
                headers = {"content-type": "text/plain"}
                path = f"/storage/v1/object/{bucket}/{folder}/a.txt"
                response = http(stack, "POST", path, access_token(user), content=b"x", headers=headers)
            finally:
                connection.execute("drop trigger t_raise on storage.objects")
                connection.execute("drop function public.t_raise()")
        assert (*refusal(response), response.json()["message"]) == answer
        assert row_of(stack, bucket, f"{folder}/a.txt") is None

    def test_forged_tokens(self, stack: Stack, bucket: str, user: Client, folder: str) -> None:
        path = f"{folder}/a.txt"
        user.storage.from_(bucket).upload(path, b"x", TEXT)
        now = int(time.time())
        good = {"sub": user_id(user), "role": "authenticated", "exp": now + 600}
        secret = stack.jwt_secret
        none = jwt.encode(good, None, algorithm="none")  # type: ignore[arg-type]
        cases = {
            "other key": (jwt.encode({**good, "role": "service_role"}, "x" * 40), {"403"}),
            "alg none": (none, {"403"}),
            "expired": (jwt.encode({**good, "exp": now - 9}, secret), {"403"}),
            "superuser": (jwt.encode({**good, "role": "supabase_admin"}, secret), {"403"}),
            "postgres": (jwt.encode({**good, "role": "postgres"}, secret), {"403"}),
            "unknown role": (jwt.encode({**good, "role": "nobody"}, secret), {"403"}),
            "storage's role": (jwt.encode({**good, "role": "supabase_storage_admin"}, secret), {"403"}),
            "no sub": (jwt.encode({"role": "authenticated", "exp": now + 60}, secret), {"404"}),
            "sub not a UUID": (jwt.encode({**good, "sub": "me"}, secret), {"400"}),
            "role not text": (jwt.encode({**good, "role": ["service_role"]}, secret), {"404"}),
        }
        for name, (token, codes) in cases.items():
            response = http(
                stack, "POST", f"/storage/v1/object/sign/{bucket}/{path}", token, json={"expiresIn": 9}
            )
            assert (response.status_code, response.json()["statusCode"] in codes) == (400, True), (
                name,
                response.text,
            )
            response = http(stack, "GET", f"/storage/v1/object/{bucket}/{path}", token)
            assert response.status_code == 400, (name, response.text)


class TestBadRequests:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "bucket", {}),
            ("POST", "bucket", {"name": 7}),
            ("POST", "bucket", {"name": "x", "file_size_limit": "many"}),
            ("POST", "bucket", {"name": "x", "allowed_mime_types": ["nonsense"]}),
            ("POST", "bucket", {"name": "x", "public": "maybe"}),
            ("GET", "bucket?limit=x", None),
            ("GET", "bucket?sortColumn=owner", None),
            ("POST", "object/list/{bucket}", {}),
            ("POST", "object/list/{bucket}", {"prefix": "", "limit": 0}),
            ("POST", "object/list/{bucket}", {"prefix": "", "offset": -1}),
            ("POST", "object/list/{bucket}", {"prefix": "", "limit": 10**30}),
            ("POST", "object/list/{bucket}", {"prefix": "\0"}),
            ("POST", "object/list/{bucket}", {"prefix": "", "sortBy": {"column": "metadata"}}),
            ("POST", "object/list-v2/{bucket}", {"cursor": "%%%"}),
            ("POST", "object/list-v2/{bucket}", {"cursor": "YTp4"}),
            ("POST", "object/sign/{bucket}", {"expiresIn": 60}),
            ("POST", "object/sign/{bucket}", {"expiresIn": 60, "paths": []}),
            ("POST", "object/sign/{bucket}", {"expiresIn": 60, "paths": [7]}),
            ("POST", "object/sign/{bucket}/x", {"expiresIn": 0}),
            ("POST", "object/sign/{bucket}/x", {"expiresIn": 10**18}),
            ("POST", "object/sign/{bucket}/x", {"expiresIn": True}),
            ("POST", "object/move", {"bucketId": "{bucket}", "sourceKey": "x"}),
            ("POST", "object/copy", {"bucketId": "{bucket}", "sourceKey": "x", "destinationKey": "ü"}),
            ("DELETE", "object/{bucket}", {"prefixes": []}),
            ("DELETE", "object/{bucket}", {"prefixes": ["\0"]}),
            ("DELETE", "object/{bucket}", {"prefixes": ["x"] * 1001}),
        ],
    )
    def test_are_400(self, stack: Stack, bucket: str, method: str, path: str, body: Any) -> None:
        url = f"/storage/v1/{path.format(bucket=bucket)}"
        response = http(stack, method, url, stack.service_role_key, json=body)
        assert response.status_code == 400, response.text
        assert refusal(response)[1] in {"400", "415"}

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b"x" * 5_000_000])
    def test_not_json(self, stack: Stack, bucket: str, content: bytes) -> None:
        response = http(stack, "POST", f"/storage/v1/object/list/{bucket}", content=content)
        assert response.status_code == 400, response.text
