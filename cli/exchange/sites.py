"""The files that sites take: from payloads of export_listing, whose photos have a `url` or a `file`, to text.

What only one site asks for (eBay's category number, Etsy's who_made) a seller states in the listing's attributes
under the site's id; a member becomes the column, or the JSON member, of its name:
{"ebay": {"*Category": "31387", "*Location": "Berlin"}, "etsy": {"who_made": "i_did"}}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from cli.exchange.csv_text import harmless, line

Payload = dict[str, Any]
Found = dict[str, Any]

#: Item condition ID values, developer.ebay.com/api-docs/sell/static/metadata/condition-id-values.html.
_EBAY_CONDITIONS = {
    "new": "1000", "new with tags": "1000", "new without tags": "1500", "new with defects": "1750",
    "certified refurbished": "2000", "like new": "2750", "used": "3000", "very good": "4000", "good": "5000",
    "acceptable": "6000", "for parts": "7000",
}  # fmt: skip
_EBAY_SITES = {
    "USD": ("US", "US"), "GBP": ("UK", "GB"), "EUR": ("Germany", "DE"), "AUD": ("Australia", "AU"),
    "CAD": ("Canada", "CA"), "CHF": ("Switzerland", "CH"), "PLN": ("Poland", "PL"), "HKD": ("HongKong", "HK"),
    "SGD": ("Singapore", "SG"), "MYR": ("Malaysia", "MY"), "PHP": ("Philippines", "PH"),
}  # fmt: skip
_ETSY_PHOTOS = 10
#: Arguments of createDraftListing that no column of ours is.
_ETSY_STATED = ("who_made", "when_made", "taxonomy_id")
#: Files that have one currency for all rows: eBay's is in its header, Shopify's is the shop's own.
_ONE_CURRENCY = {("ebay", "csv"), ("shopify", "csv")}


def formats_of(site: str) -> tuple[str, ...]:
    """The formats a site's file can have; the first is its own."""
    return ("csv", "json") if site in _CSV else ("json", "csv")


def render(site: str, kind: str, payloads: Sequence[Payload]) -> str:
    """The file's text."""
    if kind == "json":
        return json.dumps([_object(site, p) for p in payloads], indent=2, ensure_ascii=False) + "\n"
    return _CSV.get(site, _generic)(payloads)


def lacking(site: str, kind: str, payloads: Sequence[Payload]) -> list[list[Found]]:
    """What this file in particular asks for and a listing does not say, in the order of `payloads`."""
    currency = _currency(payloads)
    return [
        [*_unstated(site, kind, payload), *_of_another_currency(site, kind, payload, currency)]
        for payload in payloads
    ]


def _unstated(site: str, kind: str, payload: Payload) -> list[Found]:
    names: Iterable[str] = ()
    if (site, kind) == ("ebay", "csv"):
        # A star is how eBay marks what it does not do without; the others are columns, of which its rules tell.
        names = ("*Location",)
    elif (site, kind) == ("etsy", "json"):
        names = _ETSY_STATED
    stated = _own(payload)
    return [
        {
            "code": "field_missing",
            "field": f"attributes.{site}.{name}",
            "message": f"{name} is not stated, and the site asks for it.",
            "remedy": f"State it in the listing's attributes: {json.dumps({site: {name: '…'}}, ensure_ascii=False)}.",
        }
        for name in names
        if not stated.get(name, "").strip()
    ]


def _of_another_currency(site: str, kind: str, payload: Payload, currency: str) -> list[Found]:
    own = payload["listing"]["currency"]
    if not own or (site, kind) not in _ONE_CURRENCY:
        return []
    if site == "ebay" and own not in _EBAY_SITES:
        message, remedy = f"No site of eBay's template takes {own}.", "Change the currency."
    elif own != currency:
        message = f"The price is in {own}, and the file is in {currency}, the currency of its first listing."
        remedy = "Export the listings of each currency on their own: --listing."
    else:
        return []
    return [{"code": "currency_differs", "field": "currency", "message": message, "remedy": remedy}]


def _currency(payloads: Sequence[Payload]) -> str:
    return next((p["listing"]["currency"] for p in payloads if p["listing"]["currency"]), "USD")


def _price(payload: Payload) -> str:
    price = payload["listing"]["price"]
    return "" if price is None else f"{price:.2f}"


def _own(payload: Payload) -> dict[str, str]:
    """What the seller states for this site only."""
    stated = payload["listing"]["attributes"].get(payload["site"])
    if not isinstance(stated, dict):
        return {}
    return {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in stated.items()
        if value is not None
    }


def _pictures(payload: Payload) -> list[str]:
    return [photo.get("url") or photo.get("file") or "" for photo in payload["photos"]]


def _table(rows: Iterable[dict[str, Any]], names: Sequence[str]) -> str:
    """Also what a seller adds becomes columns, behind the site's own."""
    every = list(rows)
    columns = list(dict.fromkeys([*names, *(name for row in every for name in row)]))
    text = [line(harmless(name) if name not in names else name for name in columns)]
    text += [line(harmless(_text(row.get(name))) for name in columns) for row in every]
    return "".join(text)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _ebay(payloads: Sequence[Payload]) -> str:
    """Seller Hub's (File Exchange's) template: one row a listing, pictures in one cell, separated by |."""
    currency = _currency(payloads)
    site, country = _EBAY_SITES.get(currency, ("US", "US"))
    action = f"*Action(SiteID={site}|Country={country}|Currency={currency}|Version=1193|CC=UTF-8)"
    names = (
        action, "CustomLabel", "*Category", "*Title", "*ConditionID", "C:Brand", "C:Size", "C:Color", "PicURL",
        "*Description", "*Format", "*Duration", "*StartPrice", "*Quantity", "*Location",
    )  # fmt: skip

    def row(payload: Payload) -> dict[str, Any]:
        listing = payload["listing"]
        condition = listing["condition"] or ""
        return {
            action: "Add",
            "CustomLabel": listing["sku"],
            "*Category": listing["category"],
            "*Title": listing["title"],
            "*ConditionID": _EBAY_CONDITIONS.get(condition.lower(), condition),
            "C:Brand": listing["brand"],
            "C:Size": listing["size"],
            "C:Color": listing["color"],
            "PicURL": "|".join(_pictures(payload)),
            "*Description": _html(listing["description"]),
            "*Format": "FixedPrice",
            "*Duration": "GTC",
            "*StartPrice": _price(payload),
            "*Quantity": listing["quantity"],
        } | _own(payload)

    return _table(map(row, payloads), names)


def _etsy(payloads: Sequence[Payload]) -> str:
    """The columns of the file that Etsy's shop manager writes (Download data, currently for sale listings)."""
    images = tuple(f"IMAGE{n}" for n in range(1, _ETSY_PHOTOS + 1))
    names = (
        "TITLE",
        "DESCRIPTION",
        "PRICE",
        "CURRENCY_CODE",
        "QUANTITY",
        "TAGS",
        "MATERIALS",
        *images,
        "SKU",
    )

    def row(payload: Payload) -> dict[str, Any]:
        listing = payload["listing"]
        return {
            "TITLE": listing["title"],
            "DESCRIPTION": listing["description"],
            "PRICE": _price(payload),
            "CURRENCY_CODE": listing["currency"],
            "QUANTITY": listing["quantity"],
            "SKU": listing["sku"],
            **dict(zip(images, _pictures(payload), strict=False)),
        } | _own(payload)

    return _table(map(row, payloads), names)


def _shopify(payloads: Sequence[Payload]) -> str:
    """The product CSV: rows of one handle are one product, the first with its words, each with one picture."""
    names = (
        "Handle", "Title", "Body (HTML)", "Vendor", "Type", "Published", "Option1 Name", "Option1 Value", "Variant SKU",
        "Variant Inventory Tracker", "Variant Inventory Qty", "Variant Inventory Policy", "Variant Fulfillment Service",
        "Variant Price", "Image Src", "Image Position", "Image Alt Text", "Status",
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    handles: set[str] = set()
    for payload in payloads:
        listing = payload["listing"]
        word = re.sub(r"[^a-z0-9]+", "-", (listing["sku"] or "").lower()).strip("-")
        # Two skus that differ by case or signs only are two products.
        handle = word if word and word not in handles else f"{word}-{listing['id'][:8]}".strip("-")
        handles.add(handle)
        first = {
            "Handle": handle,
            "Title": listing["title"],
            "Body (HTML)": _html(listing["description"]),
            "Vendor": listing["brand"],
            "Type": listing["category"],
            "Published": "FALSE",
            "Option1 Name": "Title",
            "Option1 Value": "Default Title",
            "Variant SKU": listing["sku"],
            "Variant Inventory Tracker": "shopify",
            "Variant Inventory Qty": listing["quantity"],
            "Variant Inventory Policy": "deny",
            "Variant Fulfillment Service": "manual",
            "Variant Price": _price(payload),
            "Status": "draft",
        } | _own(payload)
        pictures = [
            {"Handle": handle, "Image Src": url, "Image Position": n, "Image Alt Text": photo["alt_text"]}
            for n, (url, photo) in enumerate(zip(_pictures(payload), payload["photos"], strict=True), 1)
        ]
        rows += [first | (pictures[0] if pictures else {}), *pictures[1:]]
    return _table(rows, names)


def _html(text: str | None) -> str:
    """Plain words in a cell that is read as HTML."""
    escaped = (text or "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\r\n", "\n").replace("\n", "<br>\n")


def _generic(payloads: Sequence[Payload]) -> str:
    names = (
        "sku", "title", "description", "price", "currency", "quantity", "brand", "category", "condition", "size",
        "color", "images",
    )  # fmt: skip

    def row(payload: Payload) -> dict[str, Any]:
        listing = payload["listing"]
        own = {"price": _price(payload), "images": "|".join(_pictures(payload))}
        return {n: listing[n] for n in names[:-1]} | own | _own(payload)

    return _table(map(row, payloads), names)


def _object(site: str, payload: Payload) -> dict[str, Any]:
    """Etsy: arguments of Open API v3 createDraftListing. eBay: an item of its Inventory API. Others: plain."""
    listing = payload["listing"]
    own = listing["attributes"].get(site)
    own = own if isinstance(own, dict) else {}
    pictures = _pictures(payload)
    aspects = {
        k: [listing[c]] for k, c in (("Brand", "brand"), ("Size", "size"), ("Color", "color")) if listing[c]
    }
    made: dict[str, Any]
    if site == "ebay":
        made = {
            "sku": listing["sku"],
            "condition": (listing["condition"] or "").upper().replace(" ", "_"),
            "availability": {"shipToLocationAvailability": {"quantity": listing["quantity"]}},
            "product": {
                "title": listing["title"],
                "description": listing["description"],
                "aspects": aspects,
                "imageUrls": pictures,
            },
        }
    elif site == "etsy":
        made = {k: listing[k] for k in ("quantity", "title", "description", "price", "sku")} | {
            "images": pictures
        }
    else:
        plain = (
            "sku",
            "title",
            "description",
            "price",
            "currency",
            "quantity",
            "brand",
            "category",
            "condition",
        )
        made = {k: listing[k] for k in (*plain, "size", "color")} | {
            "photos": [
                {
                    "url" if "url" in p else "file": at,
                    "width": p["width"],
                    "height": p["height"],
                    "alt_text": p["alt_text"],
                }
                for p, at in zip(payload["photos"], pictures, strict=True)
            ]
        }
    return made | own


_CSV = {"ebay": _ebay, "etsy": _etsy, "shopify": _shopify}
