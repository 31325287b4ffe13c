"""A page of what is for sale, and one listing's photos: what passes the gate, in order, with links for minutes."""

from __future__ import annotations

from typing import Any

from supabase import Client

SECONDS = 600


def sign(supabase: Client, paths: list[str]) -> list[str | None]:
    """Links to objects of bucket media, in the order of the paths; None where the gate is closed by now."""
    if not paths:
        return []
    return [
        entry["signedURL"] or None
        for entry in supabase.storage.from_("media").create_signed_urls(paths, SECONDS)
    ]


def listings_page(supabase: Client, before: str | None = None, size: int = 24) -> list[dict[str, Any]]:
    """Published listings with their cover; `before` is the created_at of the last one on the page before."""
    query = (
        supabase.table("listings")
        .select("id, title, price, currency, created_at, cover(image_id, alt_text, thumbhash, variants)")
        .eq("status", "published")
    )
    if before:
        query = query.lt("created_at", before)
    listings: Any = query.order("created_at", desc=True).limit(size).execute().data
    covered = [listing for listing in listings if listing["cover"]]
    urls = sign(supabase, [listing["cover"]["variants"]["card"]["path"] for listing in covered])
    links = {listing["id"]: url for listing, url in zip(covered, urls, strict=True)}
    return [{**listing, "url": links.get(listing["id"])} for listing in listings]


def gallery_page(supabase: Client, listing_id: str, role: str = "detail") -> list[dict[str, Any]]:
    """One listing's photos, in order; thumbhash is what to show until the picture is there."""
    query = supabase.table("gallery").select("id, position, alt_text, thumbhash, variants")
    photos: Any = query.eq("listing_id", listing_id).order("position").execute().data
    pictures = [photo.pop("variants")[role] for photo in photos]
    urls = sign(supabase, [picture["path"] for picture in pictures])
    return [
        {**photo, "width": picture["width"], "height": picture["height"], "url": url}
        for photo, picture, url in zip(photos, pictures, urls, strict=True)
    ]
