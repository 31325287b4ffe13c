"""`supabase db advisors`, security and performance: nothing of level WARN or above but what is reasoned here."""

from __future__ import annotations

import json
import subprocess

from cli.stack.binaries import find_supabase
from tests.conftest import FreshDatabase
from tests.support.stack import ROOT, clean_environment

# (lint, schema.object): why it is right as it is. One that no longer occurs must go.
_BOUND_AT_CREATION = (
    "an SQL-standard body (`return …`, `begin atomic …`) is bound to its objects when it is created, so no "
    "search_path can change it; a SET clause would only keep it from being inlined into policies and views"
)
EXCEPTIONS = {
    ("function_search_path_mutable", "private.variant_roles"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "private.variant_path"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "private.no_expiry"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "legacy.entries"): (
        "operators' alone, and only asked by functions that pin theirs, into which it is inlined"
    ),
    ("function_search_path_mutable", "private.passes_gate"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "private.extension_of"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "public.gallery"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "public.cover"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "public.list_cover"): _BOUND_AT_CREATION,
    (
        "function_search_path_mutable",
        "public.listing_csv_file",
    ): "an aggregate: it has no body, and no SET clause",
    ("function_search_path_mutable", "private.csv_cell"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "private.csv_value"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "private.listing_csv_input"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "private.listing_csv_changes"): _BOUND_AT_CREATION,
    ("function_search_path_mutable", "queue.sane_lease"): _BOUND_AT_CREATION,
}


def test_advisors_find_nothing_but_the_reasoned_exceptions(fresh_db: FreshDatabase) -> None:
    command = [
        str(find_supabase()),
        "db",
        "advisors",
        "--type",
        "all",
        "--level",
        "warn",
        "--agent",
        "no",
        "-o",
        "json",
    ]
    done = subprocess.run(
        [*command, f"--remote={fresh_db.url}?sslmode=disable"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {
        (lint["name"], f"{lint['metadata'].get('schema')}.{lint['metadata'].get('name')}"): lint["detail"]
        for lint in json.loads(done.stdout)
    }
    assert {key: detail for key, detail in found.items() if key not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() - found.keys() == set()
