"""Listings out and in through PostgREST and the CLI, and exports to marketplaces, with real photos."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from cli.exchange import sites
from cli.exchange.csv_text import CsvError, CsvFile
from tests.api.test_attacks_storage import photo
from tests.support.people import PASSWORD, Person
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

NASTY = (
    "sku,title,description,price,currency,quantity,attributes\r\n"
    'A-1,\'=cmd|\' /C calc\'!A0,"say ""hi"",\r\nback\\slash\\\\ ",12.00,EUR,3,"{""ebay"": {""*Category"": ""9""}}"\r\n'
    "b 2,'NULL,'-5,0.05,USD,0,\r\n"
    "ü-3,日本 ＝,'@x,,,,\r\n"
)


def get(person: Person, query: str = "?order=sku") -> httpx.Response:
    return person.rest("GET", f"listing_csv{query}", headers={"Accept": "text/csv"})


def post(person: Person, body: str | bytes) -> httpx.Response:
    data = body.encode() if isinstance(body, str) else body
    return person.rest("POST", "listing_csv", content=data, headers={"Content-Type": "text/csv"})


def cli(person: Person, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return person.stack.cli(
        *arguments, check=False, **({"IMAGELEDGER_ACCESS_TOKEN": person.access_token} | env)
    )


def read(body: bytes) -> None:
    file = CsvFile(io.BytesIO(body))
    for _ in file.rows():
        pass
    file.finish()


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    assert done.returncode == error["exit_code"]
    assert error["remedy"]
    return error


def test_the_same_bytes_by_every_way_out_and_in(person: Person, other: Person, tmp_path: Path) -> None:
    assert post(person, NASTY).status_code == 201
    whole = get(person).content
    rows = list(csv.DictReader(io.StringIO(whole.decode(), newline="")))
    assert [row["title"] for row in rows] == ["'=cmd|' /C calc'!A0", "'NULL", "日本 ＝"]
    assert (
        person.rest("GET", "listings?sku=eq.A-1").json()[0]["description"] == 'say "hi",\r\nback\\slash\\\\ '
    )

    as_user, as_operator = tmp_path / "user.csv", tmp_path / "operator.csv"
    assert cli(person, "csv", "export", str(as_user)).returncode == 0
    assert cli(person, "csv", "export", str(as_operator), "--owner", person.id).returncode == 0
    assert as_user.read_bytes() == as_operator.read_bytes() == whole

    assert post(other, whole).status_code == 201
    assert get(other).content == whole
    done = cli(
        other,
        "csv",
        "import",
        str(as_user),
        "--json",
        IMAGELEDGER_EMAIL=other.email,
        IMAGELEDGER_PASSWORD=PASSWORD,
    )
    assert json.loads(done.stdout) == {
        "rows": 3,
        "created": 0,
        "updated": 0,
        "unchanged": 3,
        "dry_run": False,
    }
    third = Person.sign_up(person.stack)
    done = cli(third, "csv", "import", str(as_user), "--dry-run", "--json", "--owner", third.id)
    assert json.loads(done.stdout)["created"] == 3
    assert get(third).text.count("\r\n") == 1
    assert cli(third, "csv", "import", str(as_user), "--owner", third.id).returncode == 0
    assert get(third).content == whole


def test_a_file_of_a_browser(person: Person) -> None:
    """Excel's "CSV UTF-8" begins with a byte order mark; PostgREST alone would refuse it, and drop cells silently."""
    body = {"file": "\ufeffsku,title,price\r\nA,Lamp,12\r\nB,'=1\r\n"}
    answer = person.rest("POST", "rpc/import_csv", json=body | {"dry_run": True})
    assert [(p["line"], p["rule"]) for p in answer.json()["problems"]] == [(3, "row_has_all_cells")]
    answer = person.rest("POST", "rpc/import_csv", json=body)
    assert (answer.status_code, answer.json()["details"]) == (422, "csv_invalid")
    assert "Row 3" in answer.json()["hint"]
    assert person.client.rpc("import_csv", {"file": "\ufeffsku,title\r\nA,'=1\r\n"}).execute().data["created"]
    assert "A,draft,'=1," in get(person).text


def test_filters_ranges_and_pages(person: Person, tmp_path: Path) -> None:
    post(person, "sku,brand\n" + "".join(f"{n:04},{'odd' if n % 2 else 'even'}\n" for n in range(1205)))
    assert get(person, "?order=sku&brand=eq.odd").text.count("odd") == 602
    ranged = person.rest("GET", "listing_csv?order=sku", headers={"Accept": "text/csv", "Range": "1000-1999"})
    assert ranged.status_code in {200, 206}
    assert ranged.text.splitlines()[1].startswith("1000,")
    done = cli(person, "csv", "export", str(tmp_path / "all.csv"), "--json")
    assert json.loads(done.stdout) == {"rows": 1205, "without_sku": 0}
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert [line[:4] for line in lines[1:]] == [f"{n:04}" for n in range(1205)]


def test_postgrest_tells_every_problem_and_imports_nothing(person: Person) -> None:
    answer = post(person, 'sku,price,currency\nGOOD,1,EUR\nA,abc,EUR\nA,1,euro\n"x\ny",-1,\n')
    assert answer.status_code == 422
    assert answer.json()["details"] == "csv_invalid"
    hint = answer.json()["hint"]
    for told in (
        'Row 3, column price, value "abc"', "Row 4, column sku", "Row 4, column currency", "price_is_not_negative",
    ):  # fmt: skip
        assert told in hint
    assert get(person).text.count("\r\n") == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\xef\xbb\xbfsku,title\na,x\n", 400),
        (b'sku,title\na,x"y\n', 400),
        (b'sku,title\na,"x"y\n', 400),
        ("sku,title\na,x\n".encode("utf-16"), 400),
        (b"sku,title\na,\xff\n", 400),
        (b"sku,title\na,x\0y\n", 400),
        (b",".join(b"c%d" % n for n in range(100_000)) + b"\n" + b"," * 99_999 + b"\n", 400),
        (b"sku,owner_id\na,x\n", 400),
        (b"", 400),
    ],
    ids=[
        "bom",
        "bare quote",
        "behind a quote",
        "utf-16",
        "latin-1",
        "nul",
        "1e5 columns",
        "owner_id",
        "empty",
    ],
)
def test_what_postgrest_answers_hostile_files(person: Person, body: bytes, status: int) -> None:
    """Its own reader, documented as it is; nothing gets in, and it lives."""
    answer = post(person, body)
    assert answer.status_code in {status, 500}
    assert get(person).text.count("\r\n") == 1


@pytest.mark.parametrize(
    ("body", "rule", "line"),
    [
        (b'sku,title\na,b\nc,x"y\n', "cell_is_quoted_whole", 3),
        (b'sku,title\na,"x"y\n', "cell_is_quoted_whole", 2),
        (b'sku,title\na,"x\n' + b"y" * (1 << 21), "row_is_bounded", 2),
        ("sku,title\na,x\n".encode("utf-16"), "text_is_utf8", 1),
        (b"sku,title\na,x\nb,caf\xe9\n", "text_is_utf8", 3),
        (b"sku,title\na,x\0y\n", "no_nul", 2),
        (b"sku,title,sku\na,b,c\n", "column_is_named_once", 1),
        (b"sku,nope\na,b\n", "column_is_known", 1),
        (b"title\nx\n", "sku_is_given", 1),
        (b"sku;title\na;b\n", "cells_end_with_a_comma", 1),
        (b"sku,title\na\n", "row_has_all_cells", 2),
        (b"", "file_has_a_header", 1),
        (b",".join(b"c%d" % n for n in range(100_000)) + b"\n", "column_is_known", 1),
        (b"sku,title\ra,b\r", "cell_is_quoted_whole", 1),
    ],
)
def test_hostile_files(body: bytes, rule: str, line: int) -> None:
    """What the command reads with; the commands themselves are below."""
    with pytest.raises(CsvError) as info:
        read(body)
    error = info.value.as_dict()
    assert (error["code"], error["exit_code"]) == ("csv_invalid", 7)
    assert (error["data"]["problems"][0]["rule"], error["data"]["problems"][0]["line"]) == (rule, line)
    assert len(error["data"]["problems"]) <= 50


def test_reading_is_bounded_in_memory() -> None:
    """As many rows as one likes: what is kept is a row, and the numbers of those that were skipped."""

    class Rows(io.BytesIO):
        left = 30_000

        def readline(self, _: int | None = -1) -> bytes:
            self.left -= 1
            return (
                b"sku,title\n"
                if self.left == 29_999
                else b'a,"bright, large lamp"\n'
                if self.left > 0
                else b""
            )

    tracemalloc.start()
    file = CsvFile(Rows())
    assert sum(1 for _ in file.rows()) == 29_998
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_what_reading_and_the_database_find_comes_together(person: Person, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(b"\xef\xbb\xbfsku,title,price\r\nok,x,1\r\n\r\na,b\r\nb,x,abc\r\n")
    for who in ([], ["--owner", person.id]):
        error = error_of(cli(person, "csv", "import", str(file), "--json", *who))
        found = [(p["line"], p["rule"]) for p in error["data"]["problems"]]
        assert found == [(4, "row_has_all_cells"), (5, "price_is_not_negative")]
    assert get(person).text.count("\r\n") == 1
    error = error_of(cli(person, "csv", "import", str(tmp_path / "none.csv"), "--json"))
    assert (error["code"], error["exit_code"]) == ("file_unreadable", 2)
    file.write_bytes(b"sku,price\na,abc\n")
    assert (
        error_of(cli(person, "csv", "import", str(file), "--json"))["data"]["problems"][0]["column"]
        == "price"
    )


def test_who_you_are(person: Person, stack: Stack) -> None:
    assert stack.cli("csv", "export", check=False).returncode == 2
    wrong = stack.cli("csv", "export", check=False, IMAGELEDGER_EMAIL=person.email, IMAGELEDGER_PASSWORD="no")
    assert "sign_in_failed" in wrong.stderr
    assert cli(person, "csv", "export", IMAGELEDGER_ACCESS_TOKEN="a.b.c").returncode == 1
    nobody = stack.cli("csv", "export", "--owner", "00000000-0000-0000-0000-000000000000", check=False)
    assert nobody.returncode == 2


@pytest.fixture(scope="module")
def seller(stack: Stack, worker: WorkerProcess) -> Person:
    """Two listings: GOOD with two photos of 800 pixels, whose sku a spreadsheet would run; SMALL with one too small."""
    person = Person.sign_up(stack)
    words = {
        "description": "Bright",
        "price": 12,
        "currency": "EUR",
        "category": "20697",
        "condition": "Used",
        "attributes": {"ebay": {"*Location": "Berlin"}},
    }
    good = person.new_listing(sku="=GOOD", title="Lamp", **words)
    small = person.new_listing(sku="SMALL", title="Chair", **words)
    person.upload(good, *((f"{c}.jpg", "image/jpeg", photo(c, (800, 600))) for c in ("red", "blue", "lime")))
    person.upload(small, ("s.jpg", "image/jpeg", photo("red", (400, 300))))
    images = person.wait_until_settled(good)
    person.client.rpc("set_label", {"image_id": images[0]["id"], "is_label": True}).execute()
    person.wait_until_settled(small)
    return person


def test_links_that_work_in_order(seller: Person, tmp_path: Path) -> None:
    out = tmp_path / "generic.csv"
    done = cli(
        seller,
        "export",
        "--site",
        "generic",
        "--format",
        "csv",
        "--url-life",
        "10m",
        "--out",
        str(out),
        "--json",
    )
    assert json.loads(done.stdout) == {"site": "generic", "listings": 2, "photos": 3, "problems": []}
    row = next(csv.DictReader(io.StringIO(out.read_text(), newline="")))
    assert row["sku"] == "'=GOOD"
    urls = row["images"].split("|")
    colors = [Image.open(io.BytesIO(httpx.get(url).content)).convert("RGB").getpixel((5, 5)) for url in urls]
    assert [max(range(3), key=color.__getitem__) for color in colors] == [2, 1]  # type: ignore[union-attr]


def test_problems_write_nothing(seller: Person, tmp_path: Path) -> None:
    out, photos = tmp_path / "ebay.csv", tmp_path / "photos"
    arguments = ["export", "--site", "ebay", "--out", str(out), "--copy-files", str(photos), "--json"]
    error = error_of(cli(seller, *arguments))
    assert (error["code"], error["exit_code"]) == ("export_problems", 7)
    assert [(p["sku"], p["code"]) for p in error["data"]["problems"]] == [("SMALL", "photo_too_small")]
    assert list(tmp_path.iterdir()) == []

    done = cli(seller, *arguments, "--partial")
    assert done.returncode == 0
    assert json.loads(done.stdout)["photos"] == 2
    rows = list(csv.DictReader(io.StringIO(out.read_text(), newline="")))
    assert rows[0]["*Action(SiteID=Germany|Country=DE|Currency=EUR|Version=1193|CC=UTF-8)"] == "Add"
    assert (rows[0]["CustomLabel"], rows[0]["*ConditionID"]) == ("'=GOOD", "3000")
    assert (rows[0]["*StartPrice"], rows[0]["*Location"]) == ("12.00", "Berlin")
    files = rows[0]["PicURL"].split("|")
    assert [Image.open(photos / name).format for name in files] == ["WEBP", "WEBP"]
    assert len(rows) == 1


def test_links_that_a_site_does_not_take_are_problems(seller: Person) -> None:
    error = error_of(
        cli(seller, "export", "--site", "ebay", "--listing", "=GOOD", "--out", "/dev/null", "--json")
    )
    assert {p["code"] for p in error["data"]["problems"]} == {"url_not_https"}


def test_etsy_gets_jpeg_copies_and_by_the_operator_too(seller: Person, tmp_path: Path) -> None:
    error = error_of(cli(seller, "export", "--site", "etsy", "--out", str(tmp_path / "a"), "--json"))
    assert "photo_format" in {p["code"] for p in error["data"]["problems"]}
    photos = tmp_path / "photos"
    done = cli(
        seller,
        "export",
        "--site",
        "etsy",
        "--copy-files",
        str(photos),
        "--owner",
        seller.id,
        "--listing",
        "=GOOD",
    )
    assert done.returncode == 0, done.stderr
    row = next(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert Image.open(photos / row["IMAGE1"]).format == Image.open(photos / row["IMAGE2"]).format == "JPEG"
    assert row["IMAGE3"] == ""


def test_shopify_has_a_row_a_picture(seller: Person, tmp_path: Path) -> None:
    copies = ["--copy-files", str(tmp_path / "photos"), "--listing", "=GOOD"]
    done = cli(seller, "export", "--site", "shopify", *copies)
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert [(row["Handle"], row["Title"], row["Image Position"]) for row in rows] == [
        ("good", "Lamp", "1"), ("good", "", "2"),
    ]  # fmt: skip


def test_json_of_each_site() -> None:
    columns = {
        "sku": "A", "title": "Lamp", "description": None, "price": 12, "currency": "EUR", "quantity": 1,
        "brand": "Ikea",
        "category": None, "condition": "like new", "size": None, "color": None,
    }  # fmt: skip
    listing = columns | {"attributes": {"etsy": {"who_made": "i_did"}, "ebay": "nonsense"}}
    picture = {"url": "https://example.test/a", "width": 1, "height": 1, "alt_text": None}
    made = {
        site: json.loads(
            sites.render(site, "json", [{"site": site, "listing": listing, "photos": [picture]}])
        )[0]
        for site in ("ebay", "etsy", "vinted", "generic")
    }
    assert made["ebay"]["product"]["imageUrls"] == made["etsy"]["images"] == ["https://example.test/a"]
    assert made["ebay"]["condition"] == "LIKE_NEW"
    assert made["ebay"]["product"]["aspects"] == {"Brand": ["Ikea"]}
    assert made["etsy"]["who_made"] == "i_did"
    assert (
        made["vinted"]["photos"][0]["url"] == made["generic"]["photos"][0]["url"] == "https://example.test/a"
    )


def test_what_a_file_lacks_is_told() -> None:
    def payload(currency: str | None, **stated: str) -> dict[str, Any]:
        return {
            "site": "ebay",
            "listing": {"currency": currency, "attributes": {"ebay": stated}},
            "photos": [],
        }

    here = {"*Location": "Berlin"}
    payloads = [payload("EUR", **here), payload("USD", **here), payload("EUR"), payload(None, **here)]
    found = sites.lacking("ebay", "csv", payloads)
    assert [[p["field"] for p in each] for each in found] == [
        [], ["currency"], ["attributes.ebay.*Location"], [],
    ]  # fmt: skip
    assert "USD" in found[1][0]["message"]
    assert '{"ebay": {"*Location": "…"}}' in found[2][0]["remedy"]
    assert [p["code"] for p in sites.lacking("ebay", "csv", [payload("XAU", **here)])[0]] == [
        "currency_differs"
    ]
    assert [len(each) for each in sites.lacking("shopify", "csv", payloads)] == [0, 1, 0, 0]
    assert [len(each) for each in sites.lacking("generic", "csv", payloads)] == [0, 0, 0, 0]
    assert [p["field"] for p in sites.lacking("etsy", "json", payloads[:1])[0]] == [
        "attributes.etsy.who_made", "attributes.etsy.when_made", "attributes.etsy.taxonomy_id",
    ]  # fmt: skip


def test_not_ones_own_and_wrong_words(seller: Person, other: Person) -> None:
    theirs = other.new_listing(sku="THEIRS", title="x")
    for name in (theirs, "THEIRS"):
        assert "listing_not_found" in cli(seller, "export", "--site", "generic", "--listing", name).stderr
    # Also of somebody who has nothing to export.
    nobody = Person.sign_up(seller.stack)
    for way in ([], ["--owner", nobody.id]):
        assert "site_not_found" in cli(nobody, "export", "--site", "nope", *way).stderr
    for life in ("8d",):
        assert cli(seller, "export", "--site", "generic", "--url-life", life).returncode == 2
