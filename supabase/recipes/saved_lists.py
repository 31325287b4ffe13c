"""Saved lists: a buyer's own named lists of published listings; what is off sale comes as None."""

from __future__ import annotations

from typing import Any

from postgrest import APIError
from supabase import Client

UNIQUE_VIOLATION = "23505"


def save_listing(supabase: Client, name: str, listing_id: str) -> str:
    """Saves a listing to the list of this name, which is made if need be. Answers the list's id."""
    lists: Any = supabase.table("saved_lists").select("id").eq("name", name).limit(1).execute().data
    if not lists:
        lists = supabase.table("saved_lists").insert({"name": name}).execute().data
    list_id = str(lists[0]["id"])
    try:
        supabase.table("saved_list_items").insert({"list_id": list_id, "listing_id": listing_id}).execute()
    except APIError as error:
        if error.code != UNIQUE_VIOLATION:  # it is in the list already
            raise
    return list_id


def saved_lists(supabase: Client) -> list[dict[str, Any]]:
    """All lists with their cover, and what is in them, oldest first."""
    lists: Any = (
        supabase.table("saved_lists")
        .select(
            "id, name, cover:list_cover(listing_id, thumbhash, variants),"
            " saved_list_items(listing_id, listings(title, price, currency, cover(thumbhash, variants)))"
        )
        .order("created_at")
        .execute()
        .data
    )
    return list(lists)


def unsave_listing(supabase: Client, list_id: str, listing_id: str) -> None:
    """Takes a listing out of a list."""
    query = supabase.table("saved_list_items").delete()
    query.eq("list_id", list_id).eq("listing_id", listing_id).execute()
