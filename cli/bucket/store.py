"""One S3-compatible store: read, written and compared, object by object.

Supabase Storage keeps an object at `{tenant}/{bucket}/{path}/{version}`, and takes its type, its caching and its ETag
from the store. So a copy keeps all of them: the ETag of an object that was sent in parts is the checksum of its parts'
checksums, which is the same only when the parts are cut at the same places.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any

from cli.errors import CliError, UsageError

# What Supabase Storage's S3 client cuts a long upload into.
USUAL_PART = 5 * 2**20
_IN_MEMORY = 16 * 2**20
_MISSING = {"404", "NoSuchKey", "NotFound"}
_VARIABLES = ("BUCKET", "ENDPOINT", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")


class StoreError(CliError):
    """A store does not answer, or refuses."""

    code = "store_failed"


class ChangedError(Exception):
    """An object is not what it was a moment ago, or did not arrive whole."""


@dataclass(frozen=True)
class Found:
    """An object as the store describes it; `etag` without quotes."""

    byte_size: int
    etag: str


class Store:
    """A bucket of a store. Errors of single objects are ClientError; those of the store StoreError."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    @classmethod
    def of_environment(cls, side: str, env: Mapping[str, str]) -> Store:
        """The store that S3_FROM_… or S3_TO_… names (`side` is FROM or TO). Raises UsageError."""
        try:
            import boto3  # noqa: PLC0415 - an extra
            from botocore.config import Config  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(
                "this command needs boto3", remedy="install it: pip install 'imageledger[s3]'"
            ) from error
        given = {name: env.get(f"S3_{side}_{name}", "").strip() for name in _VARIABLES}
        optional = {"ENDPOINT"}
        if missing := [
            f"S3_{side}_{name}" for name in _VARIABLES if not given[name] and name not in optional
        ]:
            raise UsageError(
                f"{', '.join(missing)} are not set", remedy="see `imageledger bucket copy --help`"
            )
        client = boto3.client(
            "s3",
            endpoint_url=given["ENDPOINT"] or None,
            region_name=given["REGION"],
            aws_access_key_id=given["ACCESS_KEY_ID"],
            aws_secret_access_key=given["SECRET_ACCESS_KEY"],
            config=Config(
                max_pool_connections=64,
                retries={"max_attempts": 5, "mode": "standard"},
                # Newer checksums than MD5 are refused by some stores.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # Most stores but Amazon's know their buckets by the path only.
                s3={"addressing_style": "path" if given["ENDPOINT"] else "auto"},
            ),
        )
        store = cls(client, given["BUCKET"])
        store.check()
        return store

    def check(self) -> None:
        """Raises StoreError when the bucket cannot be listed with these keys."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except (BotoCoreError, ClientError, ValueError) as error:
            raise StoreError(
                f"the store with the bucket {self._bucket} cannot be read: {error}",
                remedy="check bucket, endpoint, region and keys",
            ) from error

    def find(self, key: str) -> Found | None:
        """What is at a key; None when nothing is."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            head = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
        return Found(head["ContentLength"], _bare(head["ETag"]))

    def copy_to(self, target: Store, key: str) -> Found:
        """Send one object to another store with its type, caching, metadata and parts; what arrived.

        Compared on the way: what was read, with the length and checksum announced; what arrives, by the store itself
        (Content-MD5). Raises ChangedError, ClientError.
        """
        answer = self._client.get_object(Bucket=self._bucket, Key=key)
        etag, size = _bare(answer["ETag"]), int(answer["ContentLength"])
        kept = {n: answer[n] for n in ("ContentType", "CacheControl", "Metadata") if answer.get(n)}
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            md5 = hashlib.md5(usedforsecurity=False)
            for chunk in answer["Body"].iter_chunks(2**20):
                file.write(chunk)
                md5.update(chunk)
            if file.tell() != size or ("-" not in etag and len(etag) == 32 and md5.hexdigest() != etag):
                raise ChangedError(
                    f"{file.tell()} bytes with checksum {md5.hexdigest()} instead of {size} with {etag}"
                )
            file.seek(0)
            part = self._part_size(key, etag, size)
            if part is None:
                target._client.put_object(
                    Bucket=target._bucket, Key=key, Body=file, ContentMD5=_b64(md5.digest()), **kept
                )
            else:
                target._put_parts(key, file, part, kept)
        found = target.find(key)
        if found is None or found.byte_size != size:
            raise ChangedError(f"the copy has {found.byte_size if found else 'no'} bytes instead of {size}")
        return found

    def _part_size(self, key: str, etag: str, size: int) -> int | None:
        """Where an object's parts were cut; None when it was sent as one, or nobody can tell."""
        count = int(etag.partition("-")[2]) if etag.partition("-")[2].isdigit() else 0
        if count == 0:
            return None
        first = int(self._client.head_object(Bucket=self._bucket, Key=key, PartNumber=1)["ContentLength"])
        for part in (first, USUAL_PART):
            if part and math.ceil(size / part) == count:
                return part
        return None

    def _put_parts(self, key: str, file: Any, part: int, kept: dict[str, Any]) -> None:
        where = {"Bucket": self._bucket, "Key": key}
        upload = self._client.create_multipart_upload(**where, **kept)["UploadId"]
        try:
            parts = []
            for number, data in enumerate(iter(lambda: file.read(part), b""), start=1):
                digest = hashlib.md5(data, usedforsecurity=False).digest()
                sent = self._client.upload_part(
                    **where, UploadId=upload, PartNumber=number, Body=data, ContentMD5=_b64(digest)
                )
                parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            self._client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # Parts of an upload that never ends are paid for and seen by nobody.
            self._client.abort_multipart_upload(**where, UploadId=upload)
            raise

    def pages(self, prefix: str) -> Iterator[list[str]]:
        """All keys below a prefix, up to 1,000 at a time."""
        for page in self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        ):
            if keys := [entry["Key"] for entry in page.get("Contents", [])]:
                yield keys

    def delete(self, keys: list[str]) -> int:
        """Delete up to 1,000 keys; how many went."""
        answer = self._client.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        return len(keys) - len(answer.get("Errors", []))


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
