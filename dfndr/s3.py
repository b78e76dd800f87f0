"""S3 and what speaks like it, by s3fs: each request on its own tried again, and objects written under a condition.

Credentials, region and endpoint are those of the environment, as boto takes them. Retrying is done here alone, request
by request (each part of a multipart upload is one), and neither by botocore nor by s3fs, whose tries would multiply.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fsspec.asyn import sync
from s3fs import S3FileSystem

from dfndr.patience import ATTEMPTS, GaveUp, may_pass, status_of, tries

__all__ = ["PART_BYTES", "S3", "opened"]

PART_BYTES = 32 << 20
"""How much is uploaded at once; an object of twice as much goes in parts, four at a time, unless there are too many."""

_MOST_PARTS = 10_000
_BLOCK_BYTES = 16 << 20
_CONNECT_S, _READ_S = 5, 20


class S3(S3FileSystem):  # type: ignore[misc]  # s3fs is not typed
    """S3 as a file system; one instance for each process and endpoint, which threads may share."""

    retries = 1

    async def _call_s3(self, method: str, *given: Any, **more: Any) -> Any:  # noqa: ANN401  as in s3fs
        try:
            async for attempt in tries():
                with attempt:
                    return await super()._call_s3(method, *given, **more)
        except Exception as error:
            if may_pass(error):
                raise GaveUp(f"{ATTEMPTS} times in a row") from error
            raise

    async def _put_file(self, lpath: str, rpath: str, **more: Any) -> None:  # noqa: ANN401  as in s3fs
        size = Path(lpath).stat().st_size
        await super()._put_file(lpath, rpath, **{"chunksize": max(PART_BYTES, -(-size // _MOST_PARTS)), **more})

    def read_tagged(self, inner: str) -> tuple[bytes, str] | None:
        """Return a small object's content and its tag, which changes with the content; None where there is none."""
        try:
            content, tag = sync(self.loop, self._read_tagged, inner)
        except FileNotFoundError:
            return None
        return bytes(content), str(tag)

    async def _read_tagged(self, inner: str) -> tuple[bytes, str]:
        bucket, key, _ = self.split_path(inner)
        async for attempt in tries():
            with attempt:
                answer = await self._call_s3("get_object", Bucket=bucket, Key=key)
                return await answer["Body"].read(), answer["ETag"]
        raise GaveUp("no try was made")  # not reached: the last try raises

    def put_if(self, inner: str, content: bytes, tag: str | None) -> str | None:
        """Write a small object if it has that tag, or, for None, if there is none; return its new tag.

        Returns None where the condition did not hold, which is also so where an earlier try did it and its answer was
        lost: who called reads the object to tell.
        """
        bucket, key, _ = self.split_path(inner)
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            answer = sync(self.loop, self._call_s3, "put_object", Bucket=bucket, Key=key, Body=content, **condition)
        except Exception as error:
            if status_of(error) in (409, 412) or (tag is not None and isinstance(error, FileNotFoundError)):
                return None
            raise
        return str(answer["ETag"])


def opened() -> S3:
    """Return the file system, by the environment as it is now."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return S3(
        **({"endpoint_url": endpoint} if endpoint else {}),
        use_listings_cache=False,  # other processes write there too
        default_block_size=_BLOCK_BYTES,
        default_cache_type="none",  # who reads has a buffer
        local_expiry_check=True,
        max_concurrency=4,
        config_kwargs={"retries": {"total_max_attempts": 1}, "connect_timeout": _CONNECT_S, "read_timeout": _READ_S},
    )
