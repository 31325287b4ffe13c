"""A long random run: sellers who do everything that a seller can do, workers that die, and two people who look on.

Each seller is a thread with a seeded random generator, an unmodified client, and a plain model of what should be
there. `Soak.run` ends when all agree: model, ledger, storage, gallery, queue.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
from PIL import Image

from tests.support.audit import assert_ledger_is_storage
from tests.support.images import quadrants, saved
from tests.support.people import Person
from tests.support.processes import wait_until
from tests.support.stack import Stack
from tests.support.worker import WorkerProcess

MOST_LISTINGS, MOST_IMAGES = 4, 8


class Hidden:
    """Which images nobody else may see, why, and since when that was acknowledged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: dict[str, set[str]] = {}
        self._versions: dict[str, int] = {}
        self._folders: dict[str, str] = {}

    def know(self, image: str, folder: str, *reasons: str) -> None:
        """A new image; `folder` is that of its variants."""
        with self._lock:
            self._folders[image] = folder
            self._reasons[image] = set(reasons)
            self._versions[image] = 0

    def hide(self, reason: str, *images: str) -> None:
        """After the change was acknowledged."""
        with self._lock:
            for image in images:
                self._reasons[image].add(reason)

    def show(self, reason: str, *images: str) -> None:
        """Before the change is asked for."""
        with self._lock:
            for image in images:
                self._reasons[image].discard(reason)
                self._versions[image] += 1

    def now(self) -> dict[str, int]:
        """Hidden images; whoever is in two answers with one number was hidden all the time between."""
        with self._lock:
            return {image: self._versions[image] for image, why in self._reasons.items() if why}

    def folder(self, image: str) -> str:
        with self._lock:
            return self._folders[image]


@dataclass
class Listing:
    """What should be there."""

    id: str
    order: list[str] = field(default_factory=list)
    label: str | None = None
    #: Removed images, and whether each was the label.
    removed: dict[str, bool] = field(default_factory=dict)
    #: New image to the one that it will replace.
    pending: dict[str, str] = field(default_factory=dict)
    status: str = "draft"

    @property
    def images(self) -> list[str]:
        return [*self.order, *self.removed, *self.pending]


class Seller:
    """One user. Every action is checked against the model at once."""

    def __init__(self, stack: Stack, seed: str, hidden: Hidden) -> None:
        self.person = Person.sign_up(stack)
        self.random = random.Random(seed)
        self.hidden = hidden
        self.listings: list[Listing] = []
        self.uploaded: set[str] = set()
        self.log: list[str] = []
        self._photos = 0

    def act(self) -> None:
        """One random action that makes sense now."""
        if not self.listings:
            self.new_listing()
            return
        listing = self.random.choice(self.listings)
        self.take_over(listing)
        actions: list[Callable[[Listing], None]] = [self.upload]
        if len(self.listings) < MOST_LISTINGS:
            actions.append(lambda _: self.new_listing())
        if listing.order:
            actions += [self.reorder, self.label, self.remove, self.replace, self.delete, self.publish]
        if listing.removed:
            actions += [self.restore] * 2
        if len(self.listings) > 1 and self.random.random() < 0.15:
            actions.append(self.delete_listing)
        if listing.status == "published":
            actions.append(self.unpublish)
        self.random.choice(actions)(listing)
        if listing in self.listings:
            self.check(listing)

    def note(self, *words: object) -> None:
        self.log.append(f"{time.monotonic():.2f} " + " ".join(map(str, words)))

    def rpc(self, function: str, **arguments: Any) -> Any:
        self.note(function, arguments)
        return self.person.client.rpc(function, arguments).execute().data

    def new_listing(self) -> None:
        listing = Listing(self.person.new_listing(title="Lamp", price=12, currency="EUR"))
        self.note("listing", listing.id)
        self.listings.append(listing)

    def photo(self) -> bytes:
        """No two alike."""
        self._photos += 1
        size = (self.random.randrange(48, 160), self.random.randrange(48, 160))
        picture = quadrants(size)
        picture.paste(Image.new("RGB", (8, 8), (self._photos % 256, self._photos // 256, 99)))
        return saved(picture, "JPEG", comment=f"{self.person.id} {self._photos}".encode())

    def describe(self, data: bytes, **more: Any) -> dict[str, Any]:
        return {"file_name": "lamp.jpg", "mime_type": "image/jpeg", "byte_size": len(data), **more}

    def send(self, row: dict[str, str], data: bytes) -> None:
        self.person.client.storage.from_(row["bucket"]).upload(
            row["path"], data, {"content-type": "image/jpeg"}
        )
        self.uploaded.add(row["image_id"])

    def know(self, listing: Listing, image: str, *reasons: str) -> None:
        draft = () if listing.status == "published" else ("draft",)
        self.hidden.know(image, f"{self.person.id}/{listing.id}/{image}", *draft, *reasons)

    def upload(self, listing: Listing) -> None:
        room = MOST_IMAGES - len(listing.order)
        if room <= 0:
            return
        photos = [self.photo() for _ in range(self.random.randint(1, min(3, room)))]
        label = self.random.randrange(len(photos) * 3) if listing.label is None else -1
        files = [self.describe(data, is_label=n == label) for n, data in enumerate(photos)]
        reserved = self.rpc("reserve_uploads", listing_id=listing.id, files=files)
        for n, row in enumerate(reserved):
            self.know(listing, row["image_id"], *(["label"] if n == label else []))
            listing.order.append(row["image_id"])
            if n == label:
                listing.label = row["image_id"]
        # Now and then somebody closes the browser: the reservation waits.
        sent = list(zip(reserved, photos, strict=True))
        self.random.shuffle(sent)
        for row, data in sent[: None if self.random.random() < 0.9 else -1]:
            self.send(row, data)

    def reorder(self, listing: Listing) -> None:
        self.random.shuffle(listing.order)
        answer = self.rpc("reorder_images", listing_id=listing.id, image_ids=listing.order)
        assert [row["id"] for row in answer] == listing.order

    def label(self, listing: Listing) -> None:
        if listing.label:
            image, listing.label = listing.label, None
            self.hidden.show("label", image, *(n for n, old in listing.pending.items() if old == image))
            self.rpc("set_label", image_id=image, is_label=False)
        else:
            image = listing.label = self.random.choice(listing.order)
            self.rpc("set_label", image_id=image, is_label=True)
            self.hidden.hide("label", image)

    def remove(self, listing: Listing) -> None:
        image = self.random.choice([i for i in listing.order if i not in listing.pending.values()] or [""])
        if not image:
            return
        listing.order.remove(image)
        listing.removed[image] = image == listing.label
        if image == listing.label:
            listing.label = None
        self.rpc("remove_image", image_id=image)
        self.hidden.hide("removed", image)

    def restore(self, listing: Listing) -> None:
        free = [i for i, is_label in listing.removed.items() if not (is_label and listing.label)]
        if not free or len(listing.order) >= MOST_IMAGES:
            return
        image = self.random.choice(free)
        self.hidden.show("removed", image)
        row = self.rpc("restore_image", image_id=image)
        listing.order.insert((row[0] if isinstance(row, list) else row)["position"], image)
        if listing.removed.pop(image):
            listing.label = image

    def replace(self, listing: Listing) -> None:
        old = self.random.choice([i for i in listing.order if i not in listing.pending.values()] or [""])
        if not old:
            return
        data = self.photo()
        row = self.rpc("reserve_replacement", image_id=old, file=self.describe(data))
        self.know(listing, row["image_id"], *(["label"] if old == listing.label else []))
        listing.pending[row["image_id"]] = old
        self.send(row, data)
        # What else this listing's owner does waits for it now and then only.
        if self.random.random() < 0.5:
            self.take_over(listing)

    def take_over(self, listing: Listing) -> None:
        """Waits until replacements have taken their places."""
        for new, old in list(listing.pending.items()):
            deadline = time.monotonic() + 90
            while self.rows(listing)[new]["position"] is None:
                assert time.monotonic() < deadline, f"replacement {new} of {old} never came"
                time.sleep(0.1)
            listing.order[listing.order.index(old)] = new
            listing.removed[old] = old == listing.label
            if old == listing.label:
                listing.label = new
                self.hidden.hide("label", new)
            self.hidden.hide("removed", old)
            del listing.pending[new]

    def delete(self, listing: Listing) -> None:
        image = self.random.choice([i for i in listing.images if i not in listing.pending])
        if image in listing.pending.values():
            return
        self.note("delete", image)
        self.person.client.table("listing_images").delete().eq("id", image).execute()
        if image in listing.order:
            listing.order.remove(image)
        listing.removed.pop(image, None)
        if image == listing.label:
            listing.label = None
        self.hidden.hide("deleted", image)

    def publish(self, listing: Listing) -> None:
        if listing.status == "published":
            return
        self.hidden.show("draft", *listing.images)
        answer = self.rpc("publish_listing", listing_id=listing.id)
        if answer["status"] == "published":
            listing.status = "published"
        else:
            assert answer["missing"] == ["photo"], answer
            self.hidden.hide("draft", *listing.images)

    def unpublish(self, listing: Listing) -> None:
        listing.status = self.random.choice(["draft", "archived"])
        self.note(listing.status, listing.id)
        table = self.person.client.table("listings")
        table.update({"status": listing.status}).eq("id", listing.id).execute()
        self.hidden.hide("draft", *listing.images)

    def delete_listing(self, listing: Listing) -> None:
        self.note("delete listing", listing.id)
        self.person.client.table("listings").delete().eq("id", listing.id).execute()
        self.listings.remove(listing)
        self.hidden.hide("deleted", *listing.images)

    def rows(self, listing: Listing) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.person.images(listing.id)}

    def check(self, listing: Listing) -> None:
        """The ledger is the model, but for replacements whose turn may come at any moment."""
        if listing.pending:
            return
        rows = self.rows(listing)
        live = sorted((r for r in rows.values() if r["position"] is not None), key=lambda r: r["position"])
        assert [r["position"] for r in live] == list(range(len(live)))
        assert [r["id"] for r in live] == listing.order
        assert [r["id"] for r in live if r["is_label"]] == ([listing.label] if listing.label else [])
        assert {i for i, r in rows.items() if r["position"] is None} == listing.removed.keys()


class Observer:
    """Somebody without a listing, or nobody: looks for what they must not see. `looks` counts."""

    def __init__(self, stack: Stack, hidden: Hidden, person: Person | None, seed: str) -> None:
        self._hidden, self._person = hidden, person
        self._random = random.Random(seed)
        token = person.access_token if person else stack.anon_key
        headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=stack.api_url, headers=headers, timeout=30)
        self.looks = self.seen = 0

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path)

    def look(self) -> None:
        before = self._hidden.now()
        rows = self.get("/rest/v1/gallery?select=*").json()
        covers = self.get("/rest/v1/listing_covers?select=*").json()
        assert all(row["listing_status"] == "published" for row in rows)
        seen = {row["id"] for row in rows} | {row["image_id"] for row in covers}
        after = self._hidden.now()
        leaked = {i for i in seen if i in before and before[i] == after.get(i)}
        assert not leaked, f"hidden and seen in the gallery: {leaked}"
        for image in self._random.sample(sorted(before), min(3, len(before))):
            folder = self._hidden.folder(image)
            before = self._hidden.now()
            status = self.get(f"/storage/v1/object/authenticated/media/{folder}/card.webp").status_code
            still = image in before and before[image] == self._hidden.now().get(image)
            assert status != 200 or not still, f"hidden and served: {image}"
            owner, listing, _ = folder.split("/")
            original = f"/storage/v1/object/authenticated/private/{owner}/listings/{listing}/{image}.jpg"
            assert self.get(original).status_code != 200
        if self._person:
            for table in ("listing_images", "image_variants", "image_events", "media_tray", "label_images"):
                assert self.get(f"/rest/v1/{table}?select=*").json() == [], table
        self.looks += 1
        self.seen += len(seen)


class Soak:
    """The run. `stack` is its own: its workers are killed."""

    def __init__(self, stack: Stack, seed: int, *, sellers: int = 3, workers: int = 2) -> None:
        self.stack, self.seed = stack, seed
        self.hidden = Hidden()
        self.sellers = [Seller(stack, f"{seed} seller {n}", self.hidden) for n in range(sellers)]
        stranger = Person.sign_up(stack)
        self.observers = [
            Observer(stack, self.hidden, person, f"{seed} observer {n}")
            for n, person in enumerate((None, stranger))
        ]
        self._workers = workers
        self._stop, self._no_more_kills = threading.Event(), threading.Event()
        self._errors: list[BaseException] = []
        self.actions = self.kills = 0

    def run(self, seconds: float) -> None:
        """Raises AssertionError, with the seed, when something is not as it should be."""
        threads = [threading.Thread(target=self._repeat, args=(self._act, seller)) for seller in self.sellers]
        threads += [threading.Thread(target=self._repeat, args=(self._look, o)) for o in self.observers]
        killer = threading.Thread(target=self._kill_workers)
        for thread in (*threads, killer):
            thread.start()
        self._stop.wait(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()
        # Not before: a seller's last action may wait for a replacement.
        self._no_more_kills.set()
        killer.join()
        if self._errors:
            raise AssertionError(self._story()) from self._errors[0]
        try:
            self._settle()
        except AssertionError as error:
            raise AssertionError(self._story()) from error

    def _act(self, seller: Seller) -> None:
        seller.act()
        self.actions += 1

    def _look(self, observer: Observer) -> None:
        observer.look()
        self._stop.wait(0.05)

    def _repeat(self, turn: Callable[[Any], None], who: Any) -> None:
        try:
            while not self._stop.is_set():
                turn(who)
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _worker(self) -> WorkerProcess:
        settings = {"WORKER_LEASE_SECONDS": "3", "WORKER_MAINTENANCE_SECONDS": "1"}
        return WorkerProcess(self.stack, "--processes", "1", "--threads", "2", **settings)

    def _kill_workers(self) -> None:
        chance = random.Random(f"{self.seed} killer")
        workers = [self._worker().start() for _ in range(self._workers)]
        try:
            while not self._no_more_kills.wait(chance.uniform(2, 5)):
                victim = chance.randrange(len(workers))
                workers[victim].kill()
                self.kills += 1
                self._no_more_kills.wait(chance.uniform(0, 1))
                workers[victim] = self._worker().start()
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()
        finally:
            for worker in workers:
                worker.kill()

    def _story(self) -> str:
        tails = ("\n  ".join([s.person.id, *s.log[-12:]]) for s in self.sellers)
        errors = "\n".join(repr(error) for error in self._errors)
        return f"SOAK_SEED={self.seed}: {errors}\n" + "\n".join(tails)

    def _settle(self) -> None:
        """Ledger, storage and model are one, and the queue is empty."""
        with self._worker(), psycopg.connect(self.stack.admin_db_url, autocommit=True) as conn:

            def count(query: str) -> int:
                row = conn.execute(query).fetchone()  # type: ignore[arg-type]
                assert row is not None
                return int(row[0])

            waiting = "select count(*) from queue.jobs where state in ('scheduled', 'ready', 'running')"
            wait_until(lambda: count(waiting) == 0, 120, "the queue is empty")
            assert count("select count(*) from queue.jobs where state = 'dead'") == 0
            for seller in self.sellers:
                for listing in seller.listings:
                    seller.take_over(listing)
                    seller.check(listing)
            self._check_ready(conn)
            self._check_gallery()
            assert_ledger_is_storage(self.stack)
            before = self._state(conn)
            conn.execute(
                "select queue.enqueue(j.actor, j.args, j.owner_id) from queue.jobs as j where j.state = 'succeeded'"
            )
            wait_until(lambda: count(waiting) == 0, 60, "every job is delivered once more")
            assert_ledger_is_storage(self.stack)
            assert self._state(conn) == before, "a job that came twice had an effect"

    @staticmethod
    def _state(conn: psycopg.Connection[Any]) -> list[Any]:
        """Photos, their history and all objects, by digest."""
        tables = ("public.listing_images", "public.image_variants", "public.image_events", "storage.objects")
        return [
            conn.execute(
                f"select count(*), md5(string_agg(t::text, '' order by t::text)) from {name} as t"
            ).fetchone()  # type: ignore[arg-type]
            for name in tables
        ]

    def _check_ready(self, conn: psycopg.Connection[Any]) -> None:
        uploaded = set().union(*(seller.uploaded for seller in self.sellers))
        rows = conn.execute(
            "select i.id::text, i.state, i.position, i.error, (select count(*) from public.image_events as e"
            " where e.image_id = i.id and e.event = 'processed'), (select count(*) from public.image_events as e"
            " where e.image_id = i.id and e.event = 'unlabelled') from public.listing_images as i"
        ).fetchall()
        known = {i for s in self.sellers for listing in s.listings for i in listing.images}
        assert {row[0] for row in rows} == known
        for image, state, position, error, processed, unlabelled in rows:
            if image not in uploaded:
                assert state == "awaiting_upload", (image, state)
            elif position is not None:
                assert state == "ready", (image, state, error)
                # Again only after a time as label, which may have cost it its renderings.
                assert 1 <= processed <= 1 + unlabelled, (image, processed)
            else:  # removed before its turn, or after
                assert processed <= 1 + unlabelled, image

    def _check_gallery(self) -> None:
        expected = {}
        for seller in self.sellers:
            for listing in seller.listings:
                shown = [i for i in listing.order if i != listing.label and i in seller.uploaded]
                if listing.status == "published" and shown:
                    expected[listing.id] = shown
        found: dict[str, list[str]] = {}
        for row in self.observers[0].get("/rest/v1/gallery?select=id,listing_id&order=position").json():
            found.setdefault(row["listing_id"], []).append(row["id"])
        assert found == expected
