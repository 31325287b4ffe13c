"""Which names, types and sizes Storage accepts."""

import re
from collections.abc import Sequence

from cli.stack.gateway.storage.errors import StorageError, invalid_key, invalid_mime_type, invalid_request

MAX_PATHS = 1000

_KEY = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+")
_BUCKET = re.compile(r"[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}")
_MIME = re.compile(r"[a-zA-Z0-9\-+.]+/(?:[a-zA-Z0-9\-+.]+(?:;\s*charset=[a-zA-Z0-9\-]+)?|\*)")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(gb|mb|kb|b)", re.IGNORECASE)
_UNITS = {"gb": 1e9, "mb": 1e6, "kb": 1e3, "b": 1}


def check_key(key: object) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise invalid_key(key if isinstance(key, str) else "")
    return key


def check_bucket_name(name: object) -> str:
    if not isinstance(name, str) or not _BUCKET.fullmatch(name) or name.strip() != name:
        raise StorageError(400, "InvalidBucketName", "Bucket name invalid", error="Invalid Input")
    return name


def check_allowed_types(types: object) -> list[str] | None:
    if types is None:
        return None
    if not isinstance(types, list):
        raise invalid_request("body/allowed_mime_types must be array")
    for mime_type in types:
        if (
            not isinstance(mime_type, str)
            or len(mime_type) > 1000
            or (mime_type and not _MIME.fullmatch(mime_type))
        ):
            raise invalid_mime_type(str(mime_type)[:100])
    return [mime_type for mime_type in types if mime_type]


def check_mime_type(mime_type: str, allowed: Sequence[str] | None) -> None:
    """Raises StorageError 415 unless the declared type is one of those allowed ("image/*" allows every
    image)."""
    if not allowed:
        return
    kind, slash, subtype = mime_type.partition("/")
    for candidate in allowed:
        allowed_kind, _, allowed_subtype = candidate.partition("/")
        if slash and kind == allowed_kind and allowed_subtype in ("*", subtype):
            return
    raise invalid_mime_type(mime_type)


def parse_size(value: object, maximum: int) -> int | None:
    """Bytes of a bucket's limit, given as a number or as "20MB"; None for no limit of its own."""
    if value is None:
        return None
    if isinstance(value, str):
        if value.isascii() and value.isdigit() and len(value) < 16:
            size = int(value)
        elif match := _SIZE.fullmatch(value):
            size = int(float(match[1]) * _UNITS[match[2].lower()])
        else:
            raise invalid_request("Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B")
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        size = value
    else:
        raise invalid_request("body/file_size_limit must be integer,string,null")
    if size > maximum:
        message = "The object exceeded the maximum allowed size"
        raise StorageError(413, "EntityTooLarge", message, error="Payload too large")
    return size
