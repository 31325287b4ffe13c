"""Copying files from servers that are not ours: which addresses are asked, and what becomes of what they answer."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.picture_server import PictureServer
from worker.errors import ConfigError
from worker.outside.addresses import is_listed, is_public, networks_from_env, resolve
from worker.outside.download import download
from worker.outside.errors import FetchRefused, FetchUnavailable
from worker.outside.retry_after import LONGEST, retry_after

LOOPBACK = networks_from_env({"LEGACY_FETCH_NETWORKS": "127.0.0.0/8, ::1/128"})


@pytest.fixture(scope="module")
def server() -> Iterator[PictureServer]:
    with PictureServer() as running:
        running.pictures["/a.jpg"] = b"picture"
        running.pictures["/flaky.jpg"] = b"picture"
        running.pictures["/empty"] = b""
        yield running


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_public_addresses_are() -> None:
    for address in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"):
        assert is_public(ipaddress.ip_address(address))


def test_the_list_of_hosts() -> None:
    hosts = ["cdn.example.com", "*.example.org", "store.example.net:8443"]
    for host, port in (("cdn.example.com", 443), ("a.b.example.org", 80), ("store.example.net", 8443)):
        assert is_listed(host, port, hosts)
    for host, port in (
        ("example.com", 443),
        ("evil-cdn.example.com", 443),
        ("example.org", 443),
        ("evilexample.org", 443),
        ("cdn.example.com", 22),
        ("store.example.net", 443),
        ("cdn.example.com.evil.test", 443),
    ):
        assert not is_listed(host, port, hosts)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://cdn.example.com/x", "scheme_refused"),
        ("javascript:alert(1)", "scheme_refused"),
        ("data:image/png;base64,AAAA", "scheme_refused"),
        ("file:///etc/passwd", "scheme_refused"),
        ("http://user:secret@cdn.example.com/x", "url_invalid"),
        ("http://cdn.example.com:99999/x", "url_invalid"),
        ("http://[::1/x", "url_invalid"),
        ("http:///x", "host_refused"),
        ("http://evil.test/x", "host_refused"),
        ("http://cdn.example.com@evil.test/x", "url_invalid"),
        ("http://evil.test#cdn.example.com/x", "host_refused"),
        ("http://127.0.0.1/x", "host_refused"),
    ],
)
def test_addresses_that_are_refused(url: str, code: str) -> None:
    with pytest.raises(FetchRefused) as info:
        resolve(url, ["cdn.example.com"], ())
    assert info.value.code == code
    assert "secret" not in info.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1"])
def test_a_listed_name_does_not_make_an_address_public(host: str) -> None:
    """However loopback is written."""
    with pytest.raises((FetchRefused, FetchUnavailable)) as info:
        resolve(f"http://{host}/x", [host], ())
    assert not isinstance(info.value, FetchRefused) or info.value.code == "address_refused"


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is replaced: no test may depend on a name of the internet."""

    def answer(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(FetchRefused) as info:
        resolve("http://cdn.example.com/", ["cdn.example.com"], ())
    assert info.value.code == "address_refused"


def test_networks_that_make_no_sense() -> None:
    assert networks_from_env({}) == ()
    with pytest.raises(ConfigError):
        networks_from_env({"LEGACY_FETCH_NETWORKS": "everything"})


def fetch(server: PictureServer, path: str, target: Path, **options: Any) -> int:
    settings = {"hosts": [server.host], "networks": LOOPBACK, "max_bytes": 1000, "seconds": 5.0} | options
    return download(server.url + path, target, **settings)


def test_a_picture_comes(server: PictureServer, tmp_path: Path) -> None:
    assert fetch(server, "/a.jpg?size=1", tmp_path / "x") == 7
    assert (tmp_path / "x").read_bytes() == b"picture"
    assert server.requests[-1] == ("/a.jpg", server.host)


def test_redirects_are_followed_and_checked(server: PictureServer, tmp_path: Path) -> None:
    assert fetch(server, f"/to?{server.url}/a.jpg", tmp_path / "x") == 7
    assert fetch(server, "/to?/a.jpg", tmp_path / "x") == 7
    for target, code in (
        ("http://evil.test/", "host_refused"),
        ("file:///etc/passwd", "scheme_refused"),
        (f"http://localhost:{server.port}/a.jpg", "host_refused"),
    ):
        with pytest.raises(FetchRefused) as info:
            fetch(server, f"/to?{target}", tmp_path / "x")
        assert info.value.code == code
    with pytest.raises(FetchRefused) as info:
        # Listed, and private: the address that it leads to is checked like the first.
        fetch(
            server,
            f"/to?http://127.0.0.2:{server.port}/a.jpg",
            tmp_path / "x",
            hosts=[server.host, f"127.0.0.2:{server.port}"],
            networks=[ipaddress.ip_network("127.0.0.1/32")],
        )
    assert info.value.code == "address_refused"


def test_the_name_is_looked_up_once(
    server: PictureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that answers another address the second time leads nowhere else: the checked one is connected to."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def answer(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        if host != "pictures.test":
            return real(host, port, *rest, **more)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.9"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    url = f"http://pictures.test:{server.port}/a.jpg"
    wanted = [f"pictures.test:{server.port}"]
    assert download(url, tmp_path / "x", hosts=wanted, networks=LOOPBACK, max_bytes=100) == 7
    assert asked == ["pictures.test"]
    assert server.requests[-1] == ("/a.jpg", wanted[0])


def test_redirects_end(server: PictureServer, tmp_path: Path) -> None:
    path = "/a.jpg"
    for _ in range(7):
        path = f"/to?{server.url}{path}"
    with pytest.raises(FetchRefused) as info:
        fetch(server, path, tmp_path / "x")
    assert info.value.code == "too_many_redirects"


@pytest.mark.parametrize(
    ("path", "code"),
    [("/nope", "http_404"), ("/endless", "too_large"), ("/empty", "empty")],
)
def test_what_is_refused(server: PictureServer, path: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(FetchRefused) as info:
        fetch(server, path, tmp_path / "x", max_bytes=200_000)
    assert info.value.code == code


def test_what_may_pass(server: PictureServer, tmp_path: Path) -> None:
    with pytest.raises(FetchUnavailable):
        fetch(server, "/flaky.jpg", tmp_path / "x")
    assert fetch(server, "/flaky.jpg", tmp_path / "x") == 7
    with pytest.raises(FetchUnavailable):
        fetch(server, "/slow", tmp_path / "x", seconds=0.5)
    with pytest.raises(FetchUnavailable):
        download("http://127.0.0.1:9/", tmp_path / "x", hosts=["127.0.0.1:9"], networks=LOOPBACK, max_bytes=1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "86400"}, LONGEST),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        # By the other side's clock, however wrong this one's or theirs is.
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0.0),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
