"""What a file claims to be, read from its first bytes without any decoder.

Pillow's `open` is not safe as a first look: some of its plugins allocate the whole canvas while opening,
and a header costs an attacker a few bytes. So type and size come from these parsers, limits are checked on
them, and only then does a decoder see the file. Every loop here is bounded by the file or by a constant.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.imaging.errors import ImageRejected

# Real files have tens of segments and about ten scans; thousands of scans over a large frame are the known
# way to keep a progressive decoder busy for minutes.
_MAX_JPEG_SEGMENTS = 10_000
_MAX_JPEG_SCANS = 200
# A block of 8 x 8 pixels takes two bits at the very least in a JPEG with a single scan. libjpeg paints what
# is missing gray and says nothing, so that a few bytes could claim any size.
_MAX_PIXELS_PER_BYTE = 256
_MAX_BOXES = 20_000

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF_BRANDS = frozenset({b"mif1", b"msf1"}) | _HEVC_BRANDS
_HEVC_ITEMS = frozenset({b"hvc1", b"hev1"})
# SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC), which share the range.
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01}
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


#: What the parsers read: they find, slice and unpack, so a mapped file is as good as its bytes.
Content = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class Header:
    """A source's type and coded size (before orientation). For HEIF the size is an upper bound."""

    format: str
    """Pillow's name of the one plugin that may open the file: JPEG, PNG, WEBP or HEIF."""
    mime_type: str
    width: int
    height: int
    hollow: bool = False
    """True when the file is certainly too short for the pixels that it claims."""


def read_header(data: Content) -> Header:
    """Sniffs type and size from the bytes.

    Raises ImageRejected: unsupported_type, truncated, corrupt.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _read_jpeg(data)
        if data[:8] == _PNG_SIGNATURE:
            return _read_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
        if data[4:8] == b"ftyp":
            return _read_heif(data)
    except (struct.error, IndexError) as error:
        raise _truncated() from error
    raise _unsupported()


def sniff_type(path: Path) -> str:
    """The media type of a file by its content; only the pages that the parsers look at are read.

    Raises ImageRejected as read_header does, OSError, and ValueError for an empty file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return read_header(data).mime_type


def is_complete(data: Content, kind: str) -> bool:
    """False when the container itself says that bytes are missing at the end.

    Tells "truncated" from "corrupt" after a decoder has refused a file; no reason to refuse by itself.
    """
    if kind == "JPEG":
        return b"\xff\xd9" in data[-4096:]
    if kind == "PNG":
        return b"IEND" in data[-4096:]
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:
            return True
        at += length
    return at == len(data)


def _unsupported() -> ImageRejected:
    return ImageRejected("unsupported_type", "Only JPEG, PNG, WebP and HEIC/HEIF images are accepted.")


def _truncated() -> ImageRejected:
    return ImageRejected("truncated", "The file ends before the image does.")


def _corrupt() -> ImageRejected:
    return ImageRejected("corrupt", "The file is damaged and cannot be read as an image.")


def _read_jpeg(data: Content) -> Header:
    frame: tuple[int, int, int] | None = None
    for marker, at in _jpeg_segments(data):
        if marker == 0xDA:
            if frame is None:
                raise _corrupt()
            kind, width, height = frame
            if kind == 0xC2:
                _check_scan_count(data, at)
            hollow = kind != 0xC2 and (len(data) - at) * _MAX_PIXELS_PER_BYTE < width * height
            return Header("JPEG", "image/jpeg", width, height, hollow)
        if marker in _SOF_MARKERS:
            precision, height, width = struct.unpack_from(">BHH", data, at + 2)
            if frame is not None or not width or not height:
                raise _corrupt()
            if marker not in {0xC0, 0xC1, 0xC2} or precision != 8:
                raise ImageRejected("unsupported_type", "This rare kind of JPEG is not accepted.")
            frame = (marker, width, height)
    raise _truncated()


def _jpeg_segments(data: Content) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length) of every segment up to the end of the image or of the file."""
    at = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0:
            return
        while data[at] == 0xFF:  # a marker may be preceded by any number of fill bytes
            at += 1
        marker = data[at]
        at += 1
        if marker == 0 or marker in _STANDALONE_MARKERS:
            continue
        if marker == 0xD9:
            return
        yield marker, at
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2:
            raise _corrupt()
        at += length
    raise _corrupt()


def _check_scan_count(data: Content, start: int) -> None:
    scans, at = 1, start
    while (found := _MARKER_IN_SCAN.search(data, at)) is not None:
        at = found.end()
        marker = data[at - 1]
        if marker == 0xD9:
            return
        if marker == 0xDA:
            scans += 1
            if scans > _MAX_JPEG_SCANS:
                raise ImageRejected("too_complex", "The JPEG is made of too many scans.")
        # Tables between scans may hold any bytes, so they are stepped over by their length.
        if at + 2 <= len(data):
            at += max(2, struct.unpack_from(">H", data, at)[0])


def _read_png(data: Content) -> Header:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13 or not width or not height:
        raise _corrupt()
    return Header("PNG", "image/png", width, height)


def _read_webp(data: Content) -> Header:
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise _corrupt()
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        if data[20] != 0x2F:
            raise _corrupt()
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    elif kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        if len(data) < 30:
            raise struct.error
    else:
        raise _corrupt()
    if not width or not height:
        raise _corrupt()
    return Header("WEBP", "image/webp", width, height)


def _read_heif(data: Content) -> Header:
    (length,) = struct.unpack_from(">I", data, 0)
    if length < 16:
        raise _unsupported()
    major = data[8:12]
    brands = {major} | {data[at : at + 4] for at in range(16, min(length, len(data), 512), 4)}
    if not brands & _HEIF_BRANDS:
        raise _unsupported()
    scan = _HeifScan()
    scan.walk(data, 0, len(data))
    # `mif1` says nothing about the codec: AVIF and others use it too. The items themselves do.
    if not brands & _HEVC_BRANDS and not scan.item_types & _HEVC_ITEMS:
        raise _unsupported()
    if not scan.sizes:
        raise _corrupt() if is_complete(data, "HEIF") else _truncated()
    width, height = max(scan.sizes, key=lambda size: size[0] * size[1])
    if not width or not height:
        raise _corrupt()
    return Header("HEIF", "image/heic" if brands & _HEVC_BRANDS else "image/heif", width, height)


class _HeifScan:
    """Collects item types and image sizes from the box tree (ISO/IEC 14496-12 and 23008-12)."""

    # Container boxes that lead to item types and sizes, and how many bytes precede their children.
    _CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # noqa: RUF012

    def __init__(self) -> None:
        self.item_types: set[bytes] = set()
        self.sizes: list[tuple[int, int]] = []
        self._boxes = 0

    def walk(self, data: Content, at: int, end: int) -> None:
        while at + 8 <= end:
            self._boxes += 1
            if self._boxes > _MAX_BOXES:
                raise _corrupt()
            length, kind = struct.unpack_from(">I4s", data, at)
            head = 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", data, at + 8)
                head = 16
            elif length == 0:
                length = end - at
            if length < head:
                raise _corrupt()
            body, stop = at + head, min(at + length, end)
            if kind in self._CONTAINERS:
                self.walk(data, body + self._CONTAINERS[kind], stop)
            elif kind == b"iinf":
                self.walk(data, body + (6 if data[body] == 0 else 8), stop)
            elif kind == b"infe" and data[body] >= 2:
                at_type = body + (8 if data[body] == 2 else 10)
                self.item_types.add(data[at_type : at_type + 4])
            elif kind == b"ispe":
                width, height = struct.unpack_from(">II", data, body + 4)
                self.sizes.append((width, height))
            at += length
