"""The gateway under faults: large files, clients that go away, kill -9, a full disk, rows without files."""

from __future__ import annotations

import hashlib
import http.client
import random
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from cli.stack.gateway.settings import Settings, SettingsError
from tests.api.gateway_support import OwnGateway, own_gateway, service_client, unique
from tests.support.stack import Stack

MIB = 1024 * 1024


@pytest.fixture
def gateway(stack: Stack, tmp_path: Path) -> Iterator[OwnGateway]:
    with own_gateway(stack, tmp_path / "storage") as running:
        yield running


@pytest.fixture
def bucket(stack: Stack, gateway: OwnGateway) -> Iterator[str]:
    name = unique("faults")
    service_client(stack).storage.create_bucket(name)
    yield name
    httpx.post(f"{gateway.url}/storage/v1/bucket/{name}/empty", headers=service(stack))
    service_client(stack).storage.empty_bucket(name)
    service_client(stack).storage.delete_bucket(name)


def service(stack: Stack) -> dict[str, str]:
    return {"apikey": stack.service_role_key, "Authorization": f"Bearer {stack.service_role_key}"}


def rows(stack: Stack, bucket: str) -> dict[str, str]:
    """Name to version of the bucket's objects."""
    with psycopg.connect(stack.admin_db_url) as connection:
        found = connection.execute(
            "select name, version from storage.objects where bucket_id = %s", (bucket,)
        )
        return dict(found.fetchall())


def wait_for(condition: object, seconds: float = 5) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def noise(size: int, seed: int = 1) -> Iterator[bytes]:
    block = random.Random(seed).randbytes(MIB)
    for _ in range(size // MIB):
        yield block


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
def test_memory_stays_bounded(stack: Stack, gateway: OwnGateway, bucket: str, form: bool) -> None:
    size, url = 200 * MIB, f"{gateway.url}/storage/v1/object/{bucket}/big"
    httpx.post(f"{url}.warm", headers=service(stack), content=b"x" * MIB)
    before = gateway.resident_bytes()
    digest = hashlib.sha256()
    for block in noise(size):
        digest.update(block)
    head = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: image/png\r\n\r\n'
    )

    def body() -> Iterator[bytes]:
        yield head if form else b""
        yield from noise(size)
        yield b"\r\n--x--\r\n" if form else b""

    headers = service(stack) | {"content-type": "multipart/form-data; boundary=x" if form else "image/png"}
    assert httpx.post(url, headers=headers, content=body(), timeout=60).status_code == 200
    received = hashlib.sha256()
    with httpx.stream("GET", url, headers=service(stack), timeout=60) as answer:
        assert answer.headers["content-length"] == str(size)
        for chunk in answer.iter_bytes():
            received.update(chunk)
    assert received.digest() == digest.digest()
    assert gateway.resident_bytes() - before < 24 * MIB


def test_a_refusal_reaches_a_client_that_is_still_sending(
    stack: Stack, gateway: OwnGateway, bucket: str
) -> None:
    anon = {"apikey": stack.anon_key, "Authorization": f"Bearer {stack.anon_key}"}
    for name in (bucket, "no-such-bucket"):
        url = f"{gateway.url}/storage/v1/object/{name}/a"
        response = httpx.post(url, headers=anon, content=noise(20 * MIB), timeout=30)
        assert response.json()["statusCode"] in {"403", "404"}
    assert rows(stack, bucket) == {}
    assert gateway.versions() == gateway.temporary() == []


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
def test_an_interrupted_upload_leaves_nothing(
    stack: Stack, gateway: OwnGateway, bucket: str, form: bool
) -> None:
    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc)
    connection.putrequest("POST", f"/storage/v1/object/{bucket}/half")
    for name, value in service(stack).items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(50 * MIB))
    connection.putheader("Content-Type", "multipart/form-data; boundary=x" if form else "image/png")
    connection.endheaders()
    if form:
        connection.send(b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n')
    connection.send(b"x" * 8 * MIB)
    wait_for(gateway.temporary)
    connection.close()
    wait_for(lambda: not gateway.temporary())
    assert gateway.versions() == []
    assert rows(stack, bucket) == {}


def test_replaced_and_deleted_versions_leave_the_disk(stack: Stack, gateway: OwnGateway, bucket: str) -> None:
    base = f"{gateway.url}/storage/v1/object"
    for data in (b"1", b"2", b"3"):
        headers = service(stack) | {"x-upsert": "true"}
        assert httpx.post(f"{base}/{bucket}/a", headers=headers, content=data).status_code == 200
    assert len(gateway.versions()) == 1
    copy = {"bucketId": bucket, "sourceKey": "a", "destinationKey": "b"}
    assert httpx.post(f"{base}/copy", headers=service(stack), json=copy).status_code == 200
    assert {path.name for path in gateway.versions()} == set(rows(stack, bucket).values())
    assert len(gateway.versions()) == 2
    httpx.request("DELETE", f"{base}/{bucket}", headers=service(stack), json={"prefixes": ["a"]})
    assert httpx.get(f"{base}/{bucket}/b", headers=service(stack)).content == b"3"
    httpx.request("DELETE", f"{base}/{bucket}/b", headers=service(stack))
    assert gateway.versions() == []


def test_parallel_upserts_keep_exactly_one_version(stack: Stack, gateway: OwnGateway, bucket: str) -> None:
    url = f"{gateway.url}/storage/v1/object/{bucket}/same"

    def write(number: int) -> int:
        headers = service(stack) | {"x-upsert": "true"}
        return httpx.post(url, headers=headers, content=str(number).encode(), timeout=30).status_code

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(write, range(40))) == {200}
    assert [path.name for path in gateway.versions()] == list(rows(stack, bucket).values())
    assert int(httpx.get(url, headers=service(stack)).content) < 40


def test_a_download_survives_its_objects_deletion(stack: Stack, gateway: OwnGateway, bucket: str) -> None:
    url = f"{gateway.url}/storage/v1/object/{bucket}/a"
    httpx.post(url, headers=service(stack), content=noise(20 * MIB))
    with httpx.stream("GET", url, headers=service(stack), timeout=30) as answer:
        chunks = answer.iter_raw()
        size = len(next(chunks))
        httpx.delete(url, headers=service(stack))
        assert gateway.versions() == []
        size += sum(len(chunk) for chunk in chunks)
    assert size == 20 * MIB


def test_files_and_rows_after_a_crash(stack: Stack, gateway: OwnGateway, bucket: str) -> None:
    """What no row names goes at the next start; a row without its file is a 404, never a 500."""
    base = f"{gateway.url}/storage/v1/object/{bucket}"
    for name in ("kept", "lost"):
        httpx.post(f"{base}/{name}", headers=service(stack), content=name.encode())
    versions = rows(stack, bucket)
    (stray,) = (path for path in gateway.versions() if path.name == versions["lost"])
    stray.rename(stray.parent / str(uuid4()))
    (gateway.folder / "tmp" / str(uuid4())).write_bytes(b"half")
    gateway.restart()
    assert [path.name for path in gateway.versions()] == [versions["kept"]]
    assert gateway.temporary() == []
    assert httpx.get(f"{base}/kept", headers=service(stack)).content == b"kept"
    response = httpx.get(f"{base}/lost", headers=service(stack))
    assert (response.status_code, response.json()["statusCode"]) == (400, "404")


def test_a_folder_of_another_database_is_left_alone(stack: Stack, gateway: OwnGateway, bucket: str) -> None:
    stray = gateway.folder / "versions" / "ab" / str(uuid4())
    stray.write_bytes(b"precious")
    (gateway.folder / "database.json").write_text('{"cluster": "1", "name": "other", "oid": "2"}')
    gateway.restart()
    assert stray.exists()


def test_a_full_disk(stack: Stack, gateway: OwnGateway, bucket: str) -> None:
    """A write that fails is a 500 that leaves nothing; when there is room again, uploads work again."""
    url = f"{gateway.url}/storage/v1/object/{bucket}/a"
    unlimited = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (2 * MIB + 17, unlimited[1]))
    response = httpx.post(url, headers=service(stack), content=noise(10 * MIB), timeout=30)
    assert (response.status_code, response.json()["statusCode"]) == (500, "500")
    assert gateway.versions() == gateway.temporary() == []
    assert rows(stack, bucket) == {}
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert httpx.post(url, headers=service(stack), content=noise(10 * MIB), timeout=30).status_code == 200


def test_kill_9_while_uploading(stack: Stack, gateway: OwnGateway, bucket: str) -> None:
    """Killed at random moments: every acknowledged upload is there, byte for byte, and nothing by half."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged: dict[str, bytes] = {}
    stop = threading.Event()

    def upload(worker: int) -> None:
        source = random.Random(seed + worker)
        with httpx.Client(timeout=10) as client:
            while not stop.is_set():
                name = f"{worker}/{uuid4()}"
                data = source.randbytes(source.randrange(1, 3 * MIB))
                url = f"{gateway.url}/storage/v1/object/{bucket}/{name}"
                with suppress(httpx.TransportError):
                    if client.post(url, headers=service(stack), content=data).status_code == 200:
                        acknowledged[name] = hashlib.sha256(data).digest()

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(chance.uniform(0.2, 0.9))
            gateway.restart()
    finally:
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
    gateway.restart()
    versions = rows(stack, bucket)
    assert acknowledged
    assert acknowledged.keys() <= versions.keys()
    assert {path.name for path in gateway.versions()} == set(versions.values())
    assert gateway.temporary() == []
    for name, digest in acknowledged.items():
        stored = gateway.folder / "versions" / versions[name][:2] / versions[name]
        assert hashlib.sha256(stored.read_bytes()).digest() == digest


def test_it_refuses_to_start_without_its_settings() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_DB_URL"):
        Settings.from_environment({})


def test_secrets_stay_out_of_the_log(gateway: OwnGateway, stack: Stack) -> None:
    settings = Settings.from_environment(gateway.environment)
    for secret in (stack.jwt_secret, stack.service_role_key, stack.admin_db_url):
        assert secret not in repr(settings)
    assert "development" in gateway.log()
