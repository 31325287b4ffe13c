"""A listing's life against a plain Python model: every rule does the same to both, every step compares what is seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from psycopg.types.json import Jsonb

from tests.sql.scene import Conn, Scene, call, file, lease, one, order, refused, reserve, result, rows, store
from tests.sql.test_review import go_round, withdraw
from tests.support.roles import as_anon, as_role, as_service, as_user

#: Few, so that the same bytes come again.
BYTES = ("0", "1", "2")
ROOM = 6

#: What the owner sees, in one answer.
SEEN = """
select jsonb_build_object(
  'gallery', coalesce((select jsonb_agg(jsonb_build_array(id, position) order by position) from public.gallery), '[]'),
  'covers', coalesce((select jsonb_agg(image_id) from public.listing_covers), '[]'),
  'labels', coalesce((select jsonb_agg(id) from public.label_images), '[]'),
  'tray', coalesce((select jsonb_object_agg(id, status) from public.media_tray), '{}'),
  'twins', coalesce((
    select jsonb_object_agg(id, duplicate_of) from public.listing_images where duplicate_of is not null
  ), '{}'))
"""


@dataclass
class Photo:
    """What the model knows of one image; its place is in Model.live."""

    state: str = "awaiting_upload"
    review: str = "not_required"
    is_label: bool = False
    sha: str = ""
    alt_text: str | None = None
    tags: list[str] = field(default_factory=list)
    path: str = ""
    replaces: str | None = None
    duplicate_of: str | None = None
    removed: bool = False
    removed_position: int | None = None
    #: Its variants lie in bucket media; they were taken away; their removal is ordered.
    rendered: bool = False
    withdrawn: bool = False
    ordered: bool = False


@dataclass
class Model:
    """The listing: `live` is the order; `photos` is every image that is a row."""

    photos: dict[str, Photo] = field(default_factory=dict)
    live: list[str] = field(default_factory=list)
    review_on: bool = False
    duplicates: str = "flag"
    is_public: bool = False

    def passes(self, image: str) -> bool:
        photo = self.photos[image]
        return (
            photo.state == "ready"
            and not photo.is_label
            and not photo.withdrawn
            and image in self.live
            and (not self.review_on or photo.review == "allowed")
        )

    def gallery(self) -> list[str]:
        return [image for image in self.live if self.passes(image)]

    def words(self) -> list[tuple[str, int, str | None, list[str], bool]]:
        """What gallery_as_of answers."""
        return [
            (i, self.live.index(i), self.photos[i].alt_text, self.photos[i].tags, self.is_public)
            for i in self.gallery()
        ]

    def waiting(self) -> list[str]:
        return [i for i, p in self.photos.items() if not p.removed and i not in self.live]

    def label(self) -> str | None:
        return next((image for image in self.live if self.photos[image].is_label), None)

    def tray(self) -> dict[str, str]:
        found = {}
        for image, photo in self.photos.items():
            if photo.removed:
                found[image] = "removed"
            elif photo.state != "ready":
                found[image] = photo.state
            elif image not in self.live or (not photo.is_label and not self.passes(image)):
                found[image] = {"rejected": "rejected", "error": "review_failed"}.get(
                    photo.review, "awaiting_review" if image in self.live else "awaiting_turn"
                )
        return found

    def twin(self, image: str, sha: str) -> str | None:
        """The image with the same bytes that counts, the first in the order."""
        photo = self.photos[image]
        found = [
            other
            for other, p in self.photos.items()
            if p.sha == sha
            and p.state != "failed"
            and not p.removed
            and other != image
            and not (image not in self.live and photo.replaces == other)
            and not (other not in self.live and p.replaces == image)
        ]
        return min(found, key=lambda i: (self.live.index(i) if i in self.live else ROOM + 1, i), default=None)

    def remove(self, image: str) -> None:
        self.photos[image].removed = True
        if image in self.live:
            self.photos[image].removed_position = self.live.index(image)
            self.live.remove(image)

    def forget(self, image: str) -> None:
        """The row goes, and those that name it let go of it."""
        if image in self.live:
            self.live.remove(image)
            for other in [i for i in self.waiting() if self.photos[i].replaces == image]:
                self.forget(other)
        del self.photos[image]
        for photo in self.photos.values():
            photo.replaces = None if photo.replaces == image else photo.replaces
            photo.duplicate_of = None if photo.duplicate_of == image else photo.duplicate_of

    def cut_over(self, image: str) -> None:
        photo = self.photos[image]
        old = photo.replaces
        if photo.removed or image in self.live or photo.state != "ready" or old not in self.live:
            return
        flag = self.photos[old].is_label
        if not (flag or (not photo.withdrawn and (photo.review == "allowed" or not self.review_on))):
            return
        place = self.live.index(old)
        self.remove(old)
        self.live.insert(place, image)
        photo.is_label = flag
        photo.ordered |= flag

    def becomes_label(self, image: str) -> bool:
        photo = self.photos[image]
        old = photo.replaces
        return photo.is_label or (image not in self.live and old in self.live and self.photos[old].is_label)

    def is_withheld(self, photo: Photo) -> bool:
        return photo.is_label or (self.review_on and photo.review == "rejected")

    def come_back(self, photo: Photo, was_label: bool = False) -> None:
        """A ready photo that is no label any more, or is restored."""
        if self.is_withheld(photo):
            return
        if photo.withdrawn or (was_label and not photo.rendered):
            photo.state, photo.withdrawn = "uploaded", True
        elif self.review_on and photo.review in ("not_required", "error"):
            photo.review = "pending"


class LifeMachine(RuleBasedStateMachine):
    """Everything that can happen to the photos of one listing. One connection; each example is rolled back."""

    conn: Conn
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(self.conn)
        self.scene.policy(images_per_listing_max=ROOM)
        self.model = Model()
        self.moments: list[tuple[datetime, list[Any]]] = []
        self.round_is_due = False

    def teardown(self) -> None:
        """The past as it was remembered, also of what is gone by now."""
        try:
            if self.moments:
                with as_user(self.conn, self.scene.owner):
                    found = rows(
                        self.conn,
                        "select coalesce(jsonb_agg(jsonb_build_array("
                        " g.image_id, g.position, g.alt_text, g.tags, g.is_public) order by g.position)"
                        " filter (where g.image_id is not null), '[]')"
                        " from unnest(%s::timestamptz[]) with ordinality as m (at, n)"
                        " left join lateral public.gallery_as_of(%s, m.at) as g on true group by m.n order by m.n",
                        [at for at, _ in self.moments],
                        self.scene.listing,
                    )
                assert found == [seen for _, seen in self.moments]
        finally:
            self.conn.rollback()

    # What rules choose from.

    def pick(self, data: Any, images: list[str]) -> str:
        return str(data.draw(st.sampled_from(images)))

    def in_state(self, *states: str) -> list[str]:
        return [i for i, p in self.model.photos.items() if p.state in states]

    def call(self, function: str, *args: Any) -> Any:
        return call(self.conn, self.scene.owner, function, *args)

    @initialize(label=st.booleans())
    def begin(self, label: bool) -> None:
        self.reserve_files([{}, {}, {}])
        for image, sha in zip(list(self.model.live), BYTES, strict=True):
            self.store(image)
            self.process(image, sha)
        if label:
            self.mark(self.model.live[-1], True)

    def reserve_files(self, files: list[dict[str, Any]]) -> None:
        reserved = reserve(
            self.conn, self.scene.owner, self.scene.listing, *(file("a.jpg", **more) for more in files)
        )
        for row, more in zip(reserved, files, strict=True):
            image = row["image_id"]
            self.model.photos[image] = Photo(path=row["path"], **more)
            self.model.live.append(image)

    def store(self, image: str) -> None:
        store(self.conn, self.model.photos[image].path, self.scene.owner)
        self.model.photos[image].state = "uploaded"

    # Uploads and the worker.

    @rule(count=st.integers(1, 3), label=st.booleans(), alt_text=st.sampled_from([None, "A lamp."]))
    def reserve(self, count: int, label: bool, alt_text: str | None) -> None:
        files: list[dict[str, Any]] = [{"alt_text": alt_text, "tags": ["a"] * n} for n in range(count)]
        files[0]["is_label"] = label
        if len(self.model.live) + count > ROOM:
            with refused("too_many_images", 409):
                self.reserve_files(files)
        elif label and self.model.label():
            with refused("label_exists", 409):
                self.reserve_files(files)
        else:
            self.reserve_files(files)

    def awaited(self) -> list[str]:
        return [i for i in self.in_state("awaiting_upload") if not self.model.photos[i].removed]

    @precondition(awaited)
    @rule(data=st.data())
    def upload(self, data: Any) -> None:
        self.store(self.pick(data, self.awaited()))

    @precondition(lambda self: self.in_state("uploaded"))
    @rule(data=st.data(), sha=st.sampled_from(BYTES))
    def finish(self, data: Any, sha: str) -> None:
        self.process(self.pick(data, self.in_state("uploaded")), sha)

    def process(self, image: str, sha: str) -> None:
        photo = self.model.photos[image]
        job, token = self.lease(image)
        if photo.removed and job is None:
            return
        with as_role(self.conn, "service_role"):
            work = one(self.conn, "select private.begin_image(%s, %s, %s)", image, job, token)
        if photo.removed:
            assert work is None
            self.conn.execute("select queue.complete(%s, %s)", [job, token])
            return
        first = not photo.sha
        sha = photo.sha or sha
        done = result(work, sha256=sha * 64)
        self.store_variants([v["path"] for v in done["variants"]])
        with as_role(self.conn, "service_role"):
            state = one(
                self.conn, "select private.finish_image(%s, %s, %s, %s)", image, job, token, Jsonb(done)
            )
        twin = self.model.twin(image, sha) if first and self.model.duplicates != "allow" else None
        photo.duplicate_of = twin or photo.duplicate_of
        if twin and self.model.duplicates == "refuse":
            photo.state = "failed"
        else:
            photo.state, photo.sha = "ready", sha
            photo.withdrawn = self.model.becomes_label(image)
            photo.rendered = not photo.withdrawn
            if photo.rendered and photo.review not in ("allowed", "rejected"):
                photo.review = "pending" if self.model.review_on else "not_required"
            photo.ordered |= photo.withdrawn or photo.review == "rejected"
            self.model.cut_over(image)
        assert state == photo.state

    def store_variants(self, paths: list[str]) -> None:
        with as_service(self.conn):
            self.conn.execute(
                "insert into storage.objects (bucket_id, name, metadata, version)"
                " select 'media', p, jsonb_build_object('size', 1, 'eTag', gen_random_uuid()), gen_random_uuid()::text"
                " from unnest(%s::text[]) as p on conflict (bucket_id, name) do update"
                " set metadata = excluded.metadata, version = excluded.version",
                [paths],
            )

    @precondition(lambda self: len(self.model.live) < ROOM)
    @rule(sha=st.sampled_from(BYTES))
    def arrive(self, sha: str) -> None:
        """The whole way of a photo in one step, so that galleries are not always empty."""
        self.reserve_files([{}])
        image = self.model.live[-1]
        self.store(image)
        self.process(image, sha)

    def lease(self, image: str) -> tuple[Any, Any]:
        """Its job; (None, None) for a removed image whose job ran already."""
        if self.model.photos[image].removed and not rows(
            self.conn,
            "select from queue.jobs where actor = 'process_image' and state = 'ready' and args ->> 'image_id' = %s",
            image,
        ):
            return None, None
        return lease(self.conn, image)

    @precondition(lambda self: self.in_state("uploaded"))
    @rule(data=st.data())
    def fail(self, data: Any) -> None:
        self.break_off(self.pick(data, self.in_state("uploaded")))

    def break_off(self, image: str) -> None:
        job, token = self.lease(image)
        if job is None:
            return
        with as_role(self.conn, "service_role"):
            one(self.conn, "select private.fail_image(%s, %s, %s, 'corrupt', 'Broken.')", image, job, token)
        self.model.photos[image].state = "failed"

    @precondition(lambda self: self.in_state("failed"))
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        image = self.pick(data, self.in_state("failed"))
        photo = self.model.photos[image]
        if photo.removed:
            with refused("image_not_failed", 409):
                self.call("retry_image", image)
        else:
            self.call("retry_image", image)
            photo.state, photo.duplicate_of = "uploaded", None

    @precondition(lambda self: self.in_state("awaiting_upload"))
    @rule(data=st.data())
    def expire(self, data: Any) -> None:
        image = self.pick(data, self.in_state("awaiting_upload"))
        self.conn.execute("update public.listing_images set upload_expires_at = now() where id = %s", [image])
        assert one(self.conn, "select private.expire_reservations(100)") == 1
        self.model.forget(image)

    # The seller.

    @precondition(lambda self: self.model.live)
    @rule(data=st.data())
    def reorder(self, data: Any) -> None:
        images = data.draw(st.permutations(self.model.live))
        with as_user(self.conn, self.scene.owner):
            self.conn.execute("select public.reorder_images(%s, %s::uuid[])", [self.scene.listing, images])
        self.model.live = list(images)

    @precondition(lambda self: self.model.photos)
    @rule(data=st.data(), flag=st.sampled_from([True, True, False]))
    def set_label(self, data: Any, flag: bool) -> None:
        label = self.model.label()
        image = self.pick(data, [*self.model.photos, *([label] * 3 if label else [])])
        if image not in self.model.live:
            with refused("image_not_live", 409):
                self.call("set_label", image, flag)
        elif flag and self.model.label() not in (None, image):
            with refused("label_exists", 409):
                self.call("set_label", image, True)
        else:
            self.mark(image, flag)

    def mark(self, image: str, flag: bool) -> None:
        assert self.call("set_label", image, flag)["is_label"] is flag
        photo = self.model.photos[image]
        was_label, photo.is_label = photo.is_label, flag
        photo.ordered |= flag
        if was_label and not flag and photo.state == "ready":
            self.model.come_back(photo, was_label)

    @precondition(lambda self: self.model.photos)
    @rule(
        data=st.data(),
        alt_text=st.sampled_from([None, "A chair.", ""]),
        tags=st.sampled_from([[], ["b", "c"]]),
    )
    def describe(self, data: Any, alt_text: str | None, tags: list[str]) -> None:
        image = self.pick(data, list(self.model.photos))
        with as_user(self.conn, self.scene.owner):
            self.conn.execute(
                "update public.listing_images set alt_text = %s, tags = %s where id = %s",
                [alt_text, tags, image],
            )
        self.model.photos[image].alt_text, self.model.photos[image].tags = alt_text, tags

    @precondition(lambda self: self.model.photos)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        image = self.pick(data, list(self.model.photos))
        self.call("remove_image", image)
        if not self.model.photos[image].removed:
            going = [i for i in self.model.waiting() if self.model.photos[i].replaces == image]
            for gone in [*going, image]:
                self.model.remove(gone)

    def removed(self) -> list[str]:
        return [i for i, p in self.model.photos.items() if p.removed]

    @precondition(removed)
    @rule(data=st.data())
    def restore(self, data: Any) -> None:
        image = self.pick(data, self.removed())
        photo, model = self.model.photos[image], self.model
        twin = model.twin(image, photo.sha) if photo.sha and model.duplicates != "allow" else None
        problem = None
        if photo.removed_position is None:
            problem = "replacement_not_restorable"
        elif len(model.live) >= ROOM:
            problem = "too_many_images"
        elif photo.is_label and model.label():
            problem = "label_exists"
        elif twin and model.duplicates == "refuse":
            problem = "duplicate_image"
        if problem:
            with refused(problem, 409):
                self.call("restore_image", image)
            return
        self.call("restore_image", image)
        assert photo.removed_position is not None
        model.live.insert(min(photo.removed_position, len(model.live)), image)
        photo.removed, photo.removed_position, photo.duplicate_of = False, None, twin
        if photo.state == "ready" and not photo.is_label:
            model.come_back(photo)
            photo.ordered |= photo.review == "rejected"

    @precondition(removed)
    @rule(data=st.data())
    def purge(self, data: Any) -> None:
        image = self.pick(data, self.removed())
        self.conn.execute("update public.listing_images set deleted_at = '2000-01-01' where id = %s", [image])
        with refused("undo_time_over", 410):
            self.call("restore_image", image)
        assert one(self.conn, "select private.purge_removed(100)") == 1
        self.model.forget(image)

    @precondition(lambda self: len(self.model.photos) > 2)
    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        images = data.draw(
            st.lists(st.sampled_from(list(self.model.photos)), min_size=1, max_size=2, unique=True)
        )
        with as_user(self.conn, self.scene.owner):
            self.conn.execute("delete from public.listing_images where id = any(%s::uuid[])", [images])
        for image in images:
            if image in self.model.photos:
                self.model.forget(image)

    @precondition(lambda self: self.model.photos)
    @rule(data=st.data(), then=st.sampled_from(["wait", "upload", "fail", *BYTES]))
    def replace(self, data: Any, then: str) -> None:
        # Photos that are being replaced come up more often: what two replacements do to each other is the point.
        targets = [p.replaces for i, p in self.model.photos.items() if p.replaces in self.model.live]
        targets += [self.model.label()] * 2
        images = [*self.model.live, *self.model.waiting(), *(t for t in targets if t)]
        image = self.pick(data, images or list(self.model.photos))
        rivals = [i for i in self.model.waiting() if self.model.photos[i].replaces == image]
        ended = [i for i in rivals if self.has_ended(i)]
        problem = "replacement_exists" if rivals != ended else ""
        if image not in self.model.live:
            problem = "image_not_live"
        if problem:
            with refused(problem, 409):
                self.reserve_replacement(image)
            return
        row = self.reserve_replacement(image)
        for gone in ended:
            self.model.remove(gone)
        new = row["image_id"]
        self.model.photos[new] = Photo(path=row["path"], replaces=image)
        if then != "wait":
            self.store(new)
        if then == "fail":
            self.break_off(new)
        elif then in BYTES:
            self.process(new, then)

    def has_ended(self, image: str) -> bool:
        photo = self.model.photos[image]
        return photo.state == "failed" or photo.review in ("rejected", "error")

    def reserve_replacement(self, image: str) -> Any:
        with as_user(self.conn, self.scene.owner):
            return one(self.conn, "select public.reserve_replacement(%s, %s)", image, Jsonb(file("b.jpg")))

    # The site and its reviewers.

    def undecided(self) -> list[str]:
        return [
            image
            for image in self.in_state("ready")
            if self.model.photos[image].review in ("pending", "not_required")
            and not self.model.photos[image].removed
            and not self.model.photos[image].is_label
        ]

    @precondition(undecided)
    @rule(data=st.data(), verdict=st.sampled_from(["allowed"] * 4 + ["rejected", "error"]))
    def review(self, data: Any, verdict: str) -> None:
        image = self.pick(data, self.undecided())
        self.conn.execute(
            "update public.listing_images set review_state = %s where id = %s", [verdict, image]
        )
        self.conn.execute("select private.cut_over(%s)", [image])
        photo = self.model.photos[image]
        photo.review = verdict
        photo.ordered |= verdict == "rejected"
        self.model.cut_over(image)

    @rule()
    def switch_review(self) -> None:
        self.model.review_on = not self.model.review_on
        self.scene.policy(photo_review_enabled=self.model.review_on)
        self.round_is_due = True
        if not self.model.review_on:
            self.settle()

    def settle(self) -> None:
        for image in self.model.waiting():
            self.model.cut_over(image)

    @rule()
    def maintain(self) -> None:
        one(self.conn, "select private.settle_replacements(10)")
        self.settle()

    @precondition(lambda self: self.round_is_due)
    @rule()
    def go_round(self) -> None:
        """The job that a switch of the review has ordered."""
        assert go_round(self.conn) == 1
        self.round_is_due = False
        for image in self.in_state("ready"):
            photo = self.model.photos[image]
            if photo.removed or photo.is_label:
                continue
            if not self.model.review_on and photo.withdrawn:
                photo.state = "uploaded"
            elif self.model.review_on and photo.review in ("not_required", "error"):
                photo.review = "pending"
            elif self.model.review_on and photo.review == "rejected":
                photo.ordered = True
        if not self.model.review_on:
            self.settle()

    @precondition(lambda self: any(p.ordered for p in self.model.photos.values()))
    @rule()
    def withdraw(self) -> None:
        """The removal jobs: renderings of labels and rejected photos go, those that are shown again stay."""
        withdraw(self.conn)
        for photo in self.model.photos.values():
            if photo.ordered and photo.state == "ready" and photo.rendered and self.model.is_withheld(photo):
                photo.rendered, photo.withdrawn = False, True
            photo.ordered = False

    @rule(mode=st.sampled_from(["allow", "flag", "refuse"]))
    def treat_duplicates(self, mode: str) -> None:
        self.scene.policy(duplicate_images=mode)
        self.model.duplicates = mode

    @rule(public=st.booleans())
    def publish(self, public: bool) -> None:
        if public:
            answer = one_answer(self, "select public.publish_listing(%s)")
            self.model.is_public |= bool(self.model.gallery())
            assert (answer["status"] == "published") is self.model.is_public
        else:
            one_answer(self, "update public.listings set status = 'draft' where id = %s returning true")
            self.model.is_public = False

    @invariant()
    def agrees(self) -> None:
        """Order, label, covers, gallery and tray are the model's, at every step."""
        type(self).steps += 1
        model, listing = self.model, self.scene.listing
        assert order(self.conn, listing) == model.live
        gallery = model.gallery()
        with as_user(self.conn, self.scene.owner):
            seen = one(self.conn, SEEN)
        assert seen == {
            "gallery": [[image, model.live.index(image)] for image in gallery],
            "covers": gallery[:1],
            "labels": [image for image in [model.label()] if image],
            "tray": model.tray(),
            "twins": {i: p.duplicate_of for i, p in model.photos.items() if p.duplicate_of},
        }
        with as_anon(self.conn):
            assert rows(self.conn, "select id::text from public.gallery order by position") == (
                gallery if model.is_public else []
            )
        now = one(self.conn, "select clock_timestamp()")
        self.moments.append((now, [list(row) for row in model.words()]))


def one_answer(machine: LifeMachine, query: str) -> Any:
    with as_user(machine.conn, machine.scene.owner):
        return one(machine.conn, query, machine.scene.listing)
