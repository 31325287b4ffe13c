"""What a sweep can find, how it is counted by owner, and in which slices the ledger is read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

ORPHAN_OBJECT = "orphan_object"
#: Kind of finding → what it means; those of images are mended by private.repair_image.
KINDS = {
    ORPHAN_OBJECT: "an object that no row refers to",
    "original_missing": "a row whose original is gone",
    "original_differs": "an original whose size or checksum is not the ledger's",
    "variant_missing": "a ready image without all of its variants",
    "variant_differs": "a variant whose size or checksum is wrong",
    "upload_unnoticed": "an upload that its row does not know of",
    "stuck": "an image in processing that no job works on",
    "picture_missing": "a render whose picture is gone",
    "picture_differs": "a render's picture whose size or checksum is not the ledger's",
    "picture_back": "a picture that was marked as lost, and is there again",
    "thumb_missing": "a render's picture without its thumbnail",
    "thumb_differs": "a render's thumbnail whose bytes are wrong",
    "unreadable": "bytes that Storage did not deliver; nothing is concluded from it",
}
#: Findings about renders, by path; mended by private.repair_picture.
OF_RENDERS = frozenset(
    {"picture_missing", "picture_differs", "picture_back", "thumb_missing", "thumb_differs"}
)
#: Findings that no repair is made for.
HOPELESS = frozenset({"unreadable"})
#: Who owns what lies outside of every user's folder.
NOBODY = "nobody"
_LAST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `path` is None when it is about several variants of an image."""

    owner_id: UUID | None
    kind: str
    bucket: str
    path: str | None
    image_id: UUID | None
    detail: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            name: value if value is None or name in {"kind", "bucket", "path", "detail"} else str(value)
            for name, value in asdict(self).items()
        }


@dataclass
class Tally:
    """Counts by owner and kind. Bounded by the number of owners, not by that of findings."""

    by_owner: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    repairs: Counter[str] = field(default_factory=Counter)
    verified_objects: int = 0
    verified_bytes: int = 0

    def add(self, finding: Finding) -> None:
        self.by_owner[str(finding.owner_id or NOBODY)][finding.kind] += 1

    @property
    def by_kind(self) -> Counter[str]:
        return sum(self.by_owner.values(), Counter())

    @property
    def total(self) -> int:
        return self.by_kind.total()

    @property
    def unrepaired(self) -> int:
        return sum(count for kind, count in self.by_kind.items() if kind in HOPELESS)


@dataclass(frozen=True, slots=True)
class Slice:
    """A range of owners, and of the names of objects in their folders and between them."""

    name_from: str
    name_to: str | None
    owner_from: UUID
    owner_to: UUID


def slices(objects: int, owner: UUID | None = None) -> Iterator[Slice]:
    """The whole ledger in parts of some ten thousand objects, or the part of one owner.

    Names that begin with no id lie in the slice that they sort into, so that no object is left out.
    """
    if owner is not None:
        yield Slice(f"{owner}/", f"{owner}0", owner, owner)
        return
    digits = 0 if objects < 50_000 else 1 if objects < 500_000 else 2
    count = 16**digits
    for n in range(count):
        step = 2 ** (128 - 4 * digits)
        yield Slice(
            name_from=f"{n:0{digits}x}" if n else "",
            name_to=f"{n + 1:0{digits}x}" if n + 1 < count else None,
            owner_from=UUID(int=n * step),
            owner_to=UUID(int=(n + 1) * step - 1) if n + 1 < count else _LAST,
        )
