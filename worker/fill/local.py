"""`local`: texts by rules, without any service, for development, demos and tests. It understands nothing.

It puts together what is known already: the listing's other texts, words of file names and tags, and the main
colour of a photo's middle. The same listing gives the same texts. What no rule knows it leaves out.
"""

from __future__ import annotations

import io
import re

from PIL import Image

from worker.fill.base import FillAnswer, FillRequest, Photo

MODEL = "local-rules-1"

COLOURS = {
    "black": (20, 20, 20),
    "white": (240, 240, 240),
    "grey": (128, 128, 128),
    "red": (190, 35, 40),
    "orange": (235, 130, 30),
    "yellow": (240, 215, 60),
    "green": (50, 140, 65),
    "blue": (40, 80, 180),
    "purple": (120, 60, 150),
    "pink": (240, 150, 180),
    "brown": (115, 75, 45),
    "beige": (220, 200, 165),
}
#: Words in the seller's texts, the first that is found, and the condition they tell.
CONDITIONS = {
    "like new": "like new",
    "brand new": "new",
    "with tags": "new",
    "unworn": "new",
    "unused": "new",
    "worn": "used",
    "used": "used",
    "vintage": "used",
    "damaged": "poor",
    "broken": "poor",
}
SIZE = re.compile(r"\bsize\s+(X{0,3}[SL]|M|\d{1,3}(?:[.,/]\d{1,2})?)\b", re.IGNORECASE)
#: What cameras and messengers call files: nothing about the article.
CAMERA_WORDS = {
    "img",
    "image",
    "dsc",
    "dscn",
    "dscf",
    "photo",
    "picture",
    "pxl",
    "screenshot",
    "whatsapp",
    "copy",
}


class LocalFiller:
    """See the module. Free, and so never in doubt."""

    repeats_safely = True

    def fill(self, request: FillRequest) -> FillAnswer:
        """What the rules know."""
        facts = _Facts(request)
        values: dict[str, str | list[str]] = {}
        for key in request.keys:
            value = facts.of_photo(key) if key.startswith("images/") else facts.of_listing(key)
            if value:
                values[key] = value
        return FillAnswer(values, MODEL)


class _Facts:
    """What can be told of a listing; each text may use those before it."""

    def __init__(self, request: FillRequest) -> None:
        self._request = request
        self._photos = {photo.image_id: (n, photo) for n, photo in enumerate(request.photos, 1)}
        self._known = {
            name: value.strip() for name, value in request.listing.items() if value and value.strip()
        }
        self._text = " ".join(self._known.get(name, "") for name in ("title", "description"))
        self._words = self._photo_words()
        for name in ("color", "condition", "size", "title", "description"):
            if not self._known.get(name) and (value := self.of_listing(name)):
                self._known[name] = value

    def of_listing(self, name: str) -> str | None:
        match name:
            case "color":
                return main_colour(self._request.photos[0]) if self._request.photos else None
            case "condition":
                low = self._text.lower()
                return next((means for words, means in CONDITIONS.items() if words in low), None)
            case "size":
                found = SIZE.search(self._text)
                return found[1].upper() if found else None
            case "title":
                parts = [self._known.get(part, "") for part in ("brand", "category", "color", "size")]
                named = self._known.get("category") or self._known.get("brand")
                words = " ".join(part for part in parts if part) if named else " ".join(self._words)
                return words[:1].upper() + words[1:80] if words else None
            case "description":
                return self._description()
        return None

    def of_photo(self, key: str) -> str | list[str] | None:
        _, image_id, name = key.split("/")
        if image_id not in self._photos:
            return None
        number, photo = self._photos[image_id]
        colour = main_colour(photo)
        if name == "alt_text":
            what = self._known.get("title", "Article")
            return f"{what}: photo {number} of {len(self._photos)}, mostly {colour}"
        words = [word for word in re.findall(r"\w+", self._known.get("title", "").lower()) if len(word) > 2]
        return list(dict.fromkeys([*words[:6], colour]))

    def _description(self) -> str | None:
        if not self._known.get("title"):
            return None
        names = {
            "brand": "Brand",
            "category": "Category",
            "condition": "Condition",
            "size": "Size",
            "color": "Colour",
        }
        said = [f"{label}: {self._known[name]}." for name, label in names.items() if self._known.get(name)]
        return " ".join([self._known["title"].rstrip(".") + ".", *said])

    def _photo_words(self) -> list[str]:
        """Words of the first photo that has some: its tags, else its file's name."""
        for photo in self._request.photos:
            words = list(photo.tags) or re.findall(r"[^\W\d_]{3,}", photo.file_name.rsplit(".", 1)[0].lower())
            if words := [word for word in words if word not in CAMERA_WORDS]:
                return words[:8]
        return []


def main_colour(photo: Photo) -> str:
    """The name of the colour that is nearest to the average of the photo's middle."""
    with Image.open(io.BytesIO(photo.data), formats=("WEBP",)) as image:
        image.draft("RGB", (256, 256))
        width, height = image.size
        middle = image.convert("RGB").crop(
            (width // 4, height // 4, max(1, width * 3 // 4), max(1, height * 3 // 4))
        )
    pixel = middle.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    red, green, blue = pixel if isinstance(pixel, tuple) else (0, 0, 0)
    return min(
        COLOURS,
        key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], (red, green, blue), strict=True)),
    )
