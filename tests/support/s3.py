"""S3-compatible stores for tests: moto's server, each a process of its own with its own objects."""

from __future__ import annotations

import subprocess
import sys
import time
from types import TracebackType
from typing import Any

import boto3
import httpx

from tests.support.stack import clean_environment
from tests.support.tcp import free_port


class S3Server:
    """Context manager around one store with one bucket."""

    def __init__(self, bucket: str) -> None:
        self.bucket, self.port = bucket, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> S3Server:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self

    def wait(self) -> None:
        """Until it answers, with its bucket."""
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(self.url, timeout=5)
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, "moto does not start"
                time.sleep(0.1)
        self.client.create_bucket(Bucket=self.bucket)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )

    def environment(self, side: str) -> dict[str, str]:
        """The variables of `imageledger bucket` for this store; side is FROM or TO."""
        values = {
            "BUCKET": self.bucket,
            "ENDPOINT": self.url,
            "REGION": "us-east-1",
            "ACCESS_KEY_ID": "key",
            "SECRET_ACCESS_KEY": "secret",
        }
        return {f"S3_{side}_{name}": value for name, value in values.items()}

    def keys(self) -> set[str]:
        return {e["Key"] for e in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])}

    def get(self, key: str) -> dict[str, Any]:
        """The object's bytes and what belongs to them."""
        answer = self.client.get_object(Bucket=self.bucket, Key=key)
        kept = {name: answer.get(name) for name in ("ETag", "ContentType", "CacheControl", "ContentLength")}
        return kept | {"Body": answer["Body"].read()}
