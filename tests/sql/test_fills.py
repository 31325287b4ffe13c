"""request_fill and what becomes of it: what is asked, what is written, what is left alone, what is taken back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.fills import answered, ask, begin, fill_of, finish, lease, submit
from tests.sql.scene import Scene, call, denied, new_listing, one, ready, refused, rows
from tests.support.roles import as_role, as_service, as_user, new_user


def texts(scene: Scene, *names: str) -> tuple[Any, ...]:
    row = scene.conn.execute(
        f"select {', '.join(names)} from public.listings where id = %s", [scene.listing]
    ).fetchone()
    assert row is not None
    return tuple(row)


def edit(scene: Scene, **columns: Any) -> None:
    with as_user(scene.conn, scene.owner):
        for name, value in columns.items():
            scene.conn.execute(
                f"update public.listings set {name} = %s where id = %s", [value, scene.listing]
            )


class TestRequest:
    def test_empty_fields_are_asked_for(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing, ["title", "description", "brand"])
        assert (fill["status"], fill["provider"], fill["overwrite"]) == ("queued", "local", False)
        assert fill["old_values"] == {"description": None, "brand": None}
        assert fill["skipped"] == {"title": "not_empty"}
        assert fill["fields"] == ["brand", "description"]
        assert rows(scene.conn, "select args ->> 'fill_id' from queue.jobs") == [str(fill["id"])]

    def test_overwrite(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing, ["title"], overwrite=True)
        assert fill["old_values"] == {"title": "Lamp"}

    def test_without_names_every_empty_one(self, scene: Scene) -> None:
        edit(scene, brand="  ")
        fill = ask(scene.conn, scene.owner, scene.listing)
        assert set(fill["old_values"]) == {"description", "brand", "category", "condition", "size", "color"}
        assert fill["skipped"] == {}

    def test_photos_through_the_gate_never_labels(self, scene: Scene) -> None:
        first, label, removed = ready(scene.conn, scene.owner, scene.listing, 3)
        call(scene.conn, scene.owner, "set_label", label, True)
        call(scene.conn, scene.owner, "remove_image", removed)
        fill = ask(scene.conn, scene.owner, scene.listing, ["alt_text", "tags"])
        assert fill["old_values"] == {f"images/{first}/alt_text": None, f"images/{first}/tags": []}
        work = begin(scene.conn, fill["id"], lease(scene.conn, fill["id"]))
        assert work is not None
        assert [photo["image_id"] for photo in work["photos"]] == [first]
        assert work["photos"][0]["path"].endswith(f"{first}/preview.webp")
        assert "owner_id" not in str(work)
        assert str(scene.owner) not in str({**work, "photos": []})

    def test_no_more_photos_than_the_policy_says(self, scene: Scene) -> None:
        images = ready(scene.conn, scene.owner, scene.listing, 3)
        scene.policy(fill_photos_max=2)
        fill = ask(scene.conn, scene.owner, scene.listing, ["alt_text"])
        assert set(fill["old_values"]) == {f"images/{image}/alt_text" for image in images[:2]}

    @pytest.mark.parametrize(
        ("arguments", "wrong"),
        [
            ({"fields": []}, "fields"),
            ({"fields": ["price"]}, "fields"),
            ({"fields": ["title", None]}, "fields"),
            ({"fields": ["title; drop table x"]}, "fields"),
            ({"provider": "nobody"}, "provider"),
            ({"idempotency_key": ""}, "idempotency_key"),
            ({"fields": ["owner_id"], "provider": "openai"}, "fields, provider"),
        ],
    )
    def test_what_is_wrong(self, scene: Scene, arguments: dict[str, Any], wrong: str) -> None:
        with refused("fill_invalid", 422) as info:
            ask(scene.conn, scene.owner, scene.listing, **arguments)
        assert info.value.diag.message_hint == f"Correct: {wrong}"

    def test_nothing_to_fill(self, scene: Scene) -> None:
        with refused("nothing_to_fill", 409):
            ask(scene.conn, scene.owner, scene.listing, ["title"])

    def test_of_others_and_of_nobody_alike(self, scene: Scene) -> None:
        for listing in (scene.theirs, uuid4()):
            with refused("listing_not_found", 404), scene.conn.transaction():
                ask(scene.conn, scene.owner, listing)
        fill = ask(scene.conn, scene.owner, scene.listing)
        for function in ("cancel_fill", "undo_fill"):
            for who, what in ((scene.other, fill["id"]), (scene.owner, uuid4())):
                with refused("fill_not_found", 404), scene.conn.transaction():
                    call(scene.conn, who, function, what)

    def test_one_at_a_time(self, scene: Scene) -> None:
        running = ask(scene.conn, scene.owner, scene.listing)
        with refused("fill_in_flight", 409) as info, scene.conn.transaction():
            ask(scene.conn, scene.owner, scene.listing)
        assert str(info.value.diag.message_hint).endswith(str(running["id"]))
        assert call(scene.conn, scene.owner, "cancel_fill", running["id"])["status"] == "canceled"
        ask(scene.conn, scene.owner, scene.listing)
        with refused("fill_ended", 409):
            call(scene.conn, scene.owner, "cancel_fill", running["id"])

    def test_the_same_key_answers_the_same_fill(self, scene: Scene) -> None:
        first = ask(scene.conn, scene.owner, scene.listing, ["brand"], idempotency_key="k")
        assert (
            ask(scene.conn, scene.owner, scene.listing, ["brand"], idempotency_key="k")["id"] == first["id"]
        )
        with refused("idempotency_key_reused", 422):
            ask(scene.conn, scene.owner, scene.listing, ["size"], idempotency_key="k")

    def test_the_plan_is_spent_by_what_was_paid(self, scene: Scene) -> None:
        with as_service(scene.conn):
            scene.conn.execute("insert into public.plans values ('two', 'Two', 1, 1000000, now(), now(), 2)")
            scene.conn.execute("update public.profiles set price_id = 'two' where id = %s", [scene.owner])

        def fails(fill: Any) -> None:
            held = lease(scene.conn, fill)
            begin(scene.conn, fill, held)
            with as_role(scene.conn, "service_role"):
                scene.conn.execute("select private.fail_fill(%s, %s, %s, 'x', 'No.', true)", [fill, *held])

        fails(ask(scene.conn, scene.owner, scene.listing)["id"])
        call(scene.conn, scene.owner, "cancel_fill", ask(scene.conn, scene.owner, scene.listing)["id"])
        answered(scene.conn, ask(scene.conn, scene.owner, scene.listing, ["size"])["id"], {"size": "M"})
        # Canceled after the provider was asked: paid.
        late = ask(scene.conn, scene.owner, scene.listing, ["brand"])["id"]
        held = lease(scene.conn, late)
        begin(scene.conn, late, held)
        assert submit(scene.conn, late, held) == "go"
        call(scene.conn, scene.owner, "cancel_fill", late)
        assert finish(scene.conn, late, held, {"brand": "Ikea"}) == "gone"
        assert texts(scene, "size", "brand") == ("M", None)
        with refused("fill_quota_spent", 402), scene.conn.transaction():
            ask(scene.conn, scene.owner, scene.listing, ["brand"])
        # Deleting the listing does not give it back.
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listings where id = %s", [scene.listing])
        with refused("fill_quota_spent", 402):
            ask(scene.conn, scene.owner, new_listing(scene.conn, scene.owner))

    def test_clients_only_read(self, scene: Scene) -> None:
        ask(scene.conn, scene.owner, scene.listing)
        with as_user(scene.conn, scene.owner):
            denied(scene.conn, "update public.listing_fills set status = 'succeeded'")
            denied(scene.conn, "insert into public.fill_fields values ('price', 'listing', 9, 'x', true)")

    def test_a_field_more_is_a_row_more(self, scene: Scene) -> None:
        scene.conn.execute(
            "alter table public.listings add column material text check (char_length(material) <= 9)"
        )
        with as_service(scene.conn):
            scene.conn.execute(
                "insert into public.fill_fields values ('material', 'listing', 9, 'Of what?', true)"
            )
        fill = ask(scene.conn, scene.owner, scene.listing, ["material"])
        assert answered(scene.conn, fill["id"], {"material": "Brass"})["status"] == "succeeded"
        assert texts(scene, "material") == ("Brass",)

    def test_limits_told_to_providers_are_the_tables(self, scene: Scene) -> None:
        for field, length in rows(
            scene.conn, "select field, length_max from public.fill_fields where target = 'listing'"
        ):
            edit(scene, **{field: "x" * length})
            with pytest.raises(psycopg.errors.CheckViolation), scene.conn.transaction():
                edit(scene, **{field: "x" * (length + 1)})
        policy = "select alt_text_length_max, tag_length_max from public.site_policies"
        told = "select length_max from public.fill_fields where target = 'image' order by field"
        assert rows(scene.conn, told) == list(rows(scene.conn, policy)[0])


class TestAnswer:
    def test_written_in_one_go(self, scene: Scene) -> None:
        image = ready(scene.conn, scene.owner, scene.listing)[0]
        fill = ask(
            scene.conn,
            scene.owner,
            scene.listing,
            ["title", "brand", "size", "alt_text", "tags"],
            overwrite=True,
        )
        values = {
            "title": "Brass lamp",
            "brand": "Ikea",
            "size": " ",
            f"images/{image}/alt_text": "A lamp.",
            f"images/{image}/tags": ["lamp", "brass"],
        }
        done = answered(scene.conn, fill["id"], values)
        assert (done["status"], done["model"], done["error"]) == ("succeeded", "m-1", None)
        assert done["applied"] == {name: value for name, value in values.items() if name != "size"}
        assert done["skipped"] == {"size": "no_value"}
        assert done["old_values"]["title"] == "Lamp"
        assert texts(scene, "title", "brand", "size") == ("Brass lamp", "Ikea", None)
        photo = "select alt_text, tags from public.listing_images where id = %s"
        assert rows(scene.conn, photo, image) == [("A lamp.", ["lamp", "brass"])]

        undone = call(scene.conn, scene.owner, "undo_fill", fill["id"])
        assert (undone["undone_at"] is not None, undone["kept"]) == (True, [])
        assert texts(scene, "title", "brand", "size") == ("Lamp", None, None)
        assert rows(scene.conn, photo, image) == [(None, [])]
        edit(scene, title="Brass lamp")
        assert call(scene.conn, scene.owner, "undo_fill", fill["id"])["undone_at"] == undone["undone_at"]
        assert texts(scene, "title") == ("Brass lamp",)

    def test_undo_leaves_what_was_edited_since(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing, ["brand", "size"])
        answered(scene.conn, fill["id"], {"brand": "Ikea", "size": "M"})
        edit(scene, brand="Habitat")
        assert call(scene.conn, scene.owner, "undo_fill", fill["id"])["kept"] == ["brand"]
        assert texts(scene, "brand", "size") == ("Habitat", None)

    def test_the_owner_was_faster(self, scene: Scene) -> None:
        image = ready(scene.conn, scene.owner, scene.listing)[0]
        fill = ask(
            scene.conn, scene.owner, scene.listing, ["title", "brand", "size", "alt_text"], overwrite=True
        )
        held = lease(scene.conn, fill["id"])
        begin(scene.conn, fill["id"], held)
        # An empty field is empty, whichever nothing stands in it.
        edit(scene, title="My lamp", size="")
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("update public.listing_images set alt_text = 'Mine'")
        values = {"title": "Brass lamp", "brand": "Ikea", "size": "M", f"images/{image}/alt_text": "A lamp."}
        assert finish(scene.conn, fill["id"], held, values) == "succeeded"
        assert texts(scene, "title", "brand", "size") == ("My lamp", "Ikea", "M")
        assert rows(scene.conn, "select alt_text from public.listing_images") == ["Mine"]
        done = fill_of(scene.conn, fill["id"])
        assert done["skipped"] == {"title": "edited", f"images/{image}/alt_text": "edited"}
        assert done["applied"] == {"brand": "Ikea", "size": "M"}

    def test_only_what_was_asked_for(self, scene: Scene) -> None:
        theirs = ready(scene.conn, scene.other, scene.theirs)[0]
        mine = ready(scene.conn, scene.owner, scene.listing)[0]
        fill = ask(scene.conn, scene.owner, scene.listing, ["brand"])
        values = {
            "brand": "Ikea",
            "title": "x",
            "status": "published",
            "price": "1",
            "owner_id": str(scene.other),
            f"images/{theirs}/alt_text": "x",
            f"images/{mine}/alt_text": "x",
            'brand" = null, "price': "1",
        }
        assert answered(scene.conn, fill["id"], values)["applied"] == {"brand": "Ikea"}
        assert texts(scene, "title", "status", "owner_id") == ("Lamp", "draft", scene.owner)
        assert rows(scene.conn, "select distinct alt_text from public.listing_images") == [None]

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("brand", "x" * 201, "brand is short"),
            ("alt_text", "x" * 1001, "limit of 1000"),
            ("tags", ["x"] * 21, "limit of 20"),
            ("tags", ["x" * 51], "limit of 50"),
            ("tags", ["x", "x" * 20, " "], "empty"),
        ],
        ids=["brand", "alt_text", "many", "long", "blank"],
    )
    def test_one_bad_value_writes_nothing(self, scene: Scene, field: str, value: Any, says: str) -> None:
        image = ready(scene.conn, scene.owner, scene.listing)[0]
        fill = ask(scene.conn, scene.owner, scene.listing, ["description", "size", field])
        key = field if field == "brand" else f"images/{image}/{field}"
        done = answered(scene.conn, fill["id"], {"description": "Good.", "size": "M", key: value})
        assert (done["status"], done["error_code"], done["is_retryable"]) == ("failed", "value_refused", True)
        assert says in done["error"]
        assert done["result"][key] == value
        assert done["applied"] == {}
        assert texts(scene, "description", "size", "brand") == (None, None, None)
        assert rows(scene.conn, "select state from queue.jobs where actor = 'fill_listing'") == ["succeeded"]
        with refused("fill_not_succeeded", 409):
            call(scene.conn, scene.owner, "undo_fill", fill["id"])

    def test_what_is_no_text_is_no_value(self, scene: Scene) -> None:
        image = ready(scene.conn, scene.owner, scene.listing)[0]
        fill = ask(scene.conn, scene.owner, scene.listing, ["brand", "size", "color", "tags"])
        values = {"brand": {"a": 1}, "size": 38, "color": "red", f"images/{image}/tags": "lamp"}
        done = answered(scene.conn, fill["id"], values)
        assert (done["status"], done["applied"]) == ("succeeded", {"color": "red"})
        assert set(done["skipped"].values()) == {"no_value"}

    def test_a_photo_that_became_a_label_is_shown_to_nobody(self, scene: Scene) -> None:
        image, other = ready(scene.conn, scene.owner, scene.listing, 2)
        fill = ask(scene.conn, scene.owner, scene.listing, ["brand", "alt_text"])["id"]
        held = lease(scene.conn, fill)
        begin(scene.conn, fill, held)
        call(scene.conn, scene.owner, "set_label", image, True)
        assert submit(scene.conn, fill, held, image, other) == "changed"
        assert fill_of(scene.conn, fill)["submitted_at"] is None
        assert submit(scene.conn, fill, held, other) == "go"
        assert fill_of(scene.conn, fill)["submitted_at"] is not None
        assert submit(scene.conn, fill, held, is_submitting=False) == "go"
        assert fill_of(scene.conn, fill)["submitted_at"] is None
        finish(
            scene.conn,
            fill,
            held,
            {f"images/{image}/alt_text": "A tag.", f"images/{other}/alt_text": "A lamp."},
        )
        assert fill_of(scene.conn, fill)["skipped"] == {
            "brand": "no_value",
            f"images/{image}/alt_text": "photo_gone",
        }

    def test_a_lost_lease_has_no_effect(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing, ["brand"])["id"]
        zombie = lease(scene.conn, fill)
        lease(scene.conn, fill)
        for act in (
            lambda: begin(scene.conn, fill, zombie),
            lambda: submit(scene.conn, fill, zombie),
            lambda: finish(scene.conn, fill, zombie, {"brand": "x"}),
        ):
            with pytest.raises(psycopg.Error) as info, scene.conn.transaction():
                act()
            assert info.value.sqlstate == "IL001"
        assert fill_of(scene.conn, fill)["status"] == "queued"

    def test_the_listing_is_gone(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing, ["title"], overwrite=True)["id"]
        held = lease(scene.conn, fill)
        begin(scene.conn, fill, held)
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listings where id = %s", [scene.listing])
        row = fill_of(scene.conn, fill)
        assert (row["status"], row["listing_id"], row["old_values"]) == ("canceled", None, {})
        assert submit(scene.conn, fill, held) == "gone"
        assert finish(scene.conn, fill, held, {"title": "x"}) == "gone"

    def test_texts_go_with_the_listing_and_rows_with_the_user(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing, ["title"], overwrite=True)["id"]
        answered(scene.conn, fill, {"title": "Secret word"})
        with as_user(scene.conn, scene.owner):
            scene.conn.execute("delete from public.listings where id = %s", [scene.listing])
        assert "Secret word" not in str(fill_of(scene.conn, fill))
        with refused("listing_not_found", 404), scene.conn.transaction():
            call(scene.conn, scene.owner, "undo_fill", fill)
        scene.conn.execute("delete from auth.users where id = %s", [scene.owner])
        assert rows(scene.conn, "select id from public.listing_fills") == []

    def test_without_an_end(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing)["id"]
        held = lease(scene.conn, fill)
        assert one(scene.conn, "select private.expire_fills()") == 0
        scene.conn.execute("update public.listing_fills set created_at = now() - interval '301 seconds'")
        assert one(scene.conn, "select private.expire_fills()") == 1
        assert fill_of(scene.conn, fill)["error_code"] == "timed_out"
        assert begin(scene.conn, fill, held) is None

    def test_given_up(self, scene: Scene) -> None:
        fill = ask(scene.conn, scene.owner, scene.listing)["id"]
        scene.conn.execute(
            "select queue.bury(j, 'worker lost') from queue.jobs as j where actor = 'fill_listing'"
        )
        row = fill_of(scene.conn, fill)
        assert (row["status"], row["error_code"], row["is_retryable"]) == ("failed", "fill_gave_up", True)
        assert "worker lost" not in row["error"]


class TestRaces:
    def test_many_at_once_one_is_taken(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect(autocommit=True) as conn:
            owner = new_user(conn)
            listing = new_listing(conn, owner, title="Lamp")

        def act(_: int) -> str:
            with fresh_db.connect(autocommit=True) as conn:
                try:
                    ask(conn, owner, listing)
                except psycopg.Error as error:
                    return str(error.diag.message_detail)
                return "taken"

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(act, range(16)))
        assert sorted(set(answers)) == ["fill_in_flight", "taken"]
        assert answers.count("taken") == 1

    @pytest.mark.parametrize("rival", ["edit", "cancel", "delete", "user"])
    def test_finish_against(self, fresh_db: FreshDatabase, rival: str) -> None:
        for _ in range(5):
            with fresh_db.connect(autocommit=True) as conn:
                owner = new_user(conn)
                listing = new_listing(conn, owner, title="Lamp")
                fill = ask(conn, owner, listing, ["title"], overwrite=True)["id"]
                held = lease(conn, fill)
                begin(conn, fill, held)

            def act(n: int) -> str:
                with fresh_db.connect(autocommit=True) as conn:
                    if n == 0:
                        return finish(conn, fill, held, {"title": "Machine"})  # noqa: B023
                    try:
                        if rival == "user":
                            conn.execute("delete from auth.users where id = %s", [owner])  # noqa: B023
                        elif rival == "cancel":
                            call(conn, owner, "cancel_fill", fill)  # noqa: B023
                        else:
                            with as_user(conn, owner):  # noqa: B023
                                conn.execute(
                                    "update public.listings set title = 'Mine' where id = %s"
                                    if rival == "edit"
                                    else "delete from public.listings where id = %s",
                                    [listing],  # noqa: B023
                                )
                    except psycopg.Error as error:
                        return str(error.diag.message_detail or error)
                    return "ok"

            with ThreadPoolExecutor(2) as pool:
                first, second = pool.map(act, range(2))
            assert first in {"succeeded", "gone"}
            assert second in {"ok", "fill_ended"}
            with fresh_db.connect(autocommit=True) as conn:
                titles = rows(conn, "select title from public.listings where id = %s", listing)
                match rival:
                    case "edit":
                        assert titles == ["Mine"]
                    case "cancel":
                        assert titles == (["Machine"] if first == "succeeded" else ["Lamp"])
                        assert (first == "succeeded") == (second == "fill_ended")
                    case _:
                        assert titles == []
