"""Who may do what: one row for every table, view and function. A new one without a row fails the suite.

Cells of tables and views, for rows that belong to the owner and are not published:
`rows` the row is there (read, changed, deleted), `none` the statement runs and finds nothing, `-` no privilege.
Cells of functions: the roles that may execute them.
"""

from __future__ import annotations

ACTORS = ("anon", "owner", "other", "service_role", "media_worker", "analyst")
COMMANDS = ("select", "insert", "update", "delete")

ANYBODY = "rows  rows  rows  rows  -  -"
OWNER_ONLY = "-     rows  none  rows  -  -"
NOBODY = "-     -     -     -     -  -"
SERVICE = "-     -     -     rows  -  -"

# relation: {command: a cell for each of ACTORS}
RELATIONS: dict[str, dict[str, str]] = {
    "public.plans": {"select": ANYBODY, "insert": SERVICE, "update": SERVICE, "delete": SERVICE},
    "public.site_policies": {"select": ANYBODY, "insert": NOBODY, "update": SERVICE, "delete": NOBODY},
    "public.variant_specs": {"select": ANYBODY, "insert": NOBODY, "update": SERVICE, "delete": NOBODY},
    "public.profiles": {"select": OWNER_ONLY, "insert": NOBODY, "update": OWNER_ONLY, "delete": NOBODY},
    "public.listings": {
        # anon and others: drafts are not there; published ones are (test_published).
        "select": "none  rows  none  rows  -  -",
        "insert": "-     rows  rows  rows  -  -",
        "update": OWNER_ONLY,
        "delete": OWNER_ONLY,
    },
    "public.listing_images": {
        "select": OWNER_ONLY,
        "insert": NOBODY,
        "update": OWNER_ONLY,
        "delete": OWNER_ONLY,
    },
    "public.image_variants": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.image_events": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.gallery": {
        "select": "none  rows  none  none  -  -",
        "insert": NOBODY,
        "update": NOBODY,
        "delete": NOBODY,
    },
    "public.listing_covers": {
        "select": "none  rows  none  none  -  -",
        "insert": NOBODY,
        "update": NOBODY,
        "delete": NOBODY,
    },
    "public.label_images": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.media_tray": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.saved_lists": {
        "select": OWNER_ONLY,
        "insert": "-     rows  rows  -     -  -",
        "update": "-     rows  none  -     -  -",
        "delete": "-     rows  none  -     -  -",
    },
    "public.saved_list_items": {
        "select": OWNER_ONLY,
        "insert": "-     rows  rows  -     -  -",
        "update": NOBODY,
        "delete": "-     rows  none  -     -  -",
    },
    "public.saved_list_covers": {
        # The saved listing has no photo; what has one is in tests/sql/test_saved_lists.py.
        "select": "-     none  none  none  -  -",
        "insert": NOBODY,
        "update": NOBODY,
        "delete": NOBODY,
    },
    "public.image_sessions": {
        "select": OWNER_ONLY,
        "insert": NOBODY,
        "update": OWNER_ONLY,
        "delete": OWNER_ONLY,
    },
    "public.image_assets": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.generation_jobs": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.image_generation_events": {
        "select": OWNER_ONLY,
        "insert": NOBODY,
        "update": NOBODY,
        "delete": NOBODY,
    },
    "public.renders": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": OWNER_ONLY},
    "public.render_variants": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.usage_ledger": {"select": OWNER_ONLY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "public.collections": {
        "select": OWNER_ONLY,
        "insert": "-     rows  rows  -     -  -",
        "update": "-     rows  none  -     -  -",
        "delete": "-     rows  none  -     -  -",
    },
    "public.collection_items": {
        "select": OWNER_ONLY,
        "insert": "-     rows  rows  -     -  -",
        "update": NOBODY,
        "delete": "-     rows  none  -     -  -",
    },
    "public.community_collections": {
        "select": ANYBODY,
        "insert": SERVICE,
        "update": SERVICE,
        "delete": SERVICE,
    },
    "public.community_items": {"select": ANYBODY, "insert": SERVICE, "update": SERVICE, "delete": SERVICE},
    # The gate itself: read by the two views above it, as their owner.
    "private.passing_images": {"select": NOBODY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "private.visible_covers": {
        "select": "none  rows  none  none  -  -",
        "insert": NOBODY,
        "update": NOBODY,
        "delete": NOBODY,
    },
    "private.visible_images": {
        # Reached through gallery only: nobody but the three roles of the API has the privilege.
        "select": "none  rows  none  none  -  -",
        "insert": NOBODY,
        "update": NOBODY,
        "delete": NOBODY,
    },
    "public.site_policy_events": {"select": SERVICE, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    # What is left of deleted users; operators read it through private.erasure_report.
    "private.erasures": {"select": NOBODY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    # What `imageledger migrate` has applied.
    "private.schema_files": {"select": NOBODY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "queue.jobs": {"select": NOBODY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "queue.pauses": {"select": NOBODY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "queue.interventions": {"select": NOBODY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
    "queue.heartbeats": {"select": NOBODY, "insert": NOBODY, "update": NOBODY, "delete": NOBODY},
}

USER = "authenticated"
API = {USER}
EVERYBODY = {"anon", USER, "service_role"}
WORKER = {"media_worker", "service_role"}
INTERNAL: set[str] = set()

# function: the roles that may execute it, of anon, authenticated, service_role, media_worker, analyst
FUNCTIONS: dict[str, set[str]] = {
    "public.cover": EVERYBODY,
    "public.gallery": EVERYBODY,
    "public.gallery_as_of": API,
    "public.list_cover": {USER, "service_role"},
    "public.listing_history": API,
    "public.media_rules": EVERYBODY,
    "public.publish_listing": API,
    "public.remove_image": API,
    "public.reorder_images": API,
    "public.reserve_replacement": API,
    "public.reserve_uploads": API,
    "public.restore_image": API,
    "public.retry_image": API,
    "public.set_label": API,
    "public.add_asset": API,
    "public.cancel_generation": API,
    "public.delete_branch": API,
    "public.replay_branch": API,
    "public.retry_generation": API,
    "public.session_timeline": API,
    "public.submit_generation": API,
    "public.usage_summary": API,
    # Bodies of the above: definers, so they ask who is signed in.
    "private.remove_image": API,
    "private.reorder_images": API,
    "private.reserve_replacement": API,
    "private.reserve_uploads": API,
    "private.restore_image": API,
    "private.retry_image": API,
    "private.set_label": API,
    "private.order_as_of": API,
    "private.review_required_at": API,
    "private.tell_event": API,
    "private.add_asset": API,
    "private.cancel_generation": API,
    "private.delete_branch": API,
    "private.replay_branch": API,
    "private.retry_generation": API,
    "private.submit_generation": API,
    "private.generations_used": API,
    "private.month_begin": API,
    # Asked by policies, views and invoker functions, as the caller.
    "private.passes_gate": EVERYBODY,
    "private.review_required": EVERYBODY,
    "private.may_read_object": {"anon", USER},
    "private.may_write_object": API,
    "private.missing_to_publish": {USER, "service_role"},
    "private.refuse": {USER, "service_role"},
    "private.are_apply_settings": {"service_role"},
    "private.params_errors": {"service_role"},
    # The worker's.
    "private.abandon_generation": WORKER,
    "private.begin_generation": WORKER,
    "private.expire_generations": WORKER,
    "private.fail_generation": WORKER,
    "private.finish_generation": WORKER,
    "private.report_generation": WORKER,
    "private.abandon_image": WORKER,
    "private.abandon_review": WORKER,
    "private.begin_image": WORKER,
    "private.begin_review": WORKER,
    "private.expire_reservations": WORKER,
    "private.fail_image": WORKER,
    "private.finish_image": WORKER,
    "private.finish_review": WORKER,
    "private.lock_removable": WORKER,
    "private.purge_removed": WORKER,
    "private.queue_reviews": WORKER,
    "private.record_removal": WORKER,
    "private.referenced_paths": WORKER,
    "private.settle_removal": WORKER,
    "private.settle_replacements": WORKER,
    # An operator's, who logs in as the tables' own role (SUPABASE_DB_URL).
    "private.erasure_report": {"service_role"},
    "private.repair_image": INTERNAL,
    "private.sweep_bytes": INTERNAL,
    "private.sweep_images": INTERNAL,
    "private.sweep_objects": INTERNAL,
    # Called by the above and by triggers, as their owner.
    "private.branch_to": INTERNAL,
    "private.check_generation": INTERNAL,
    "private.check_lease": INTERNAL,
    "private.check_none_in_flight": INTERNAL,
    "private.check_quota": INTERNAL,
    "private.discard_generations": INTERNAL,
    "private.end_generation": INTERNAL,
    "private.generation_errors": INTERNAL,
    "private.generation_inputs": INTERNAL,
    "private.insert_generation": INTERNAL,
    "private.is_in_flight": INTERNAL,
    "private.is_own_input": INTERNAL,
    "private.lock_generation": INTERNAL,
    "private.may_take_render": INTERNAL,
    "private.measure_inputs": INTERNAL,
    "private.picture_errors": INTERNAL,
    "private.place_errors": INTERNAL,
    "private.record_generation_event": INTERNAL,
    "private.render_path": INTERNAL,
    "private.replay_next": INTERNAL,
    "private.request_of": INTERNAL,
    "private.result_paths": INTERNAL,
    "private.session_title": INTERNAL,
    "private.store_render": INTERNAL,
    "private.take_in_render": INTERNAL,
    "private.words_errors": INTERNAL,
    "private.actor": INTERNAL,
    "private.actor_id": INTERNAL,
    "private.becomes_label": INTERNAL,
    "private.check_budget": INTERNAL,
    "private.check_file": INTERNAL,
    "private.check_files": INTERNAL,
    "private.check_permutation": INTERNAL,
    "private.check_room": INTERNAL,
    "private.close_gaps": INTERNAL,
    "private.cut_over": INTERNAL,
    "private.drop_dangling_variants": INTERNAL,
    "private.enqueue_processing": INTERNAL,
    "private.enqueue_removal": INTERNAL,
    "private.enqueue_review": INTERNAL,
    "private.enqueue_withdrawal": INTERNAL,
    "private.extension_of": INTERNAL,
    "private.find_twin": INTERNAL,
    "private.folder_objects": INTERNAL,
    "private.insert_reservations": INTERNAL,
    "private.is_lost": INTERNAL,
    "private.is_rendered": INTERNAL,
    "private.is_withheld": INTERNAL,
    "private.lock_image": INTERNAL,
    "private.lock_listing": INTERNAL,
    "private.lock_owner": INTERNAL,
    "private.name_twin": INTERNAL,
    "private.owned_objects": INTERNAL,
    "private.must_be_rendered": INTERNAL,
    "private.pair_object": INTERNAL,
    "private.person_columns": INTERNAL,
    "private.queue_page": INTERNAL,
    "private.refuse_object": INTERNAL,
    "private.refuse_duplicate": INTERNAL,
    "private.refuse_second_label": INTERNAL,
    "private.share_owner": INTERNAL,
    "private.signed_in": INTERNAL,
    "private.storage_bytes_used": INTERNAL,
    "private.store_variants": INTERNAL,
    "private.take_in_folder": INTERNAL,
    "private.total_bytes": INTERNAL,
    "private.unqueue_page": INTERNAL,
    "private.uuid_or_null": INTERNAL,
    "private.variant_path": INTERNAL,
    "private.variant_roles": INTERNAL,
}

# Bucket of storage.objects: {command: a cell for each of ACTORS}, for an object of the owner's draft.
BUCKETS: dict[str, dict[str, str]] = {
    "private": {"select": "none rows none rows - -", "update": "none none none rows - -"},
    "media": {"select": "none rows none rows - -", "update": "none none none rows - -"},
    "public": {"select": "none rows none rows - -", "update": "none none none rows - -"},
}

# What Supabase's API roles reach of the schemas that are not exposed.
SCHEMA_USAGE: dict[str, set[str]] = {
    "private": {USER, "service_role", "media_worker"},
    "queue": {"media_worker"},
    "analytics": {"service_role", "analyst"},
    "legacy": set(),
}
