"""Build from S3 into S3 again and again while requests fail by chance; compare each with an undisturbed build.

    python benchmarks/faults/flaky_s3.py --rate 0.2 --builds 20 --engine inline

The server is moto's, on loopback (extra `dev`), with a proxy before it that fails so many of all requests: status 500
or 503, no answer, an answer that is lost after the work was done, half an answer, one that is too short. The pool's
tars are read through it, and all that a build writes. Each build must end in the digest of a build on a local disk that
nothing disturbed, and `verify` must find nothing, also through the failing proxy.
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from dfndr_builders.build import build
from dfndr_builders.engines.base import Engine
from dfndr_builders.engines.inline import Inline
from dfndr_builders.engines.processes import Processes
from dfndr_builders.pools.glyphs import GlyphsPool
from support.models import tiny_config
from support.pools import rows_of, tar_of
from support.s3 import Store, served

from dfndr import storage
from dfndr.verify import verify

RECIPE = """
name = "flaky"
license = "mit"
pool = [{ kind = "webdataset", path = "s3://bucket/pool/*.tar" }]
score = [{ name = "dfn", model = "MODEL", pretrained = "random:0" }]
select = { by = "dfn", top_fraction = 0.3 }
caption = [{ kind = "retrieval", per_image = 2, bank = { kind = "glyphs", count = 200 } }]
duplicates = [{ kind = "same_text" }]
embed = [{ encoder = "tiny", model = "MODEL", pretrained = "random:1", of = ["image", "text", "caption"] }]
output = { rows_per_shard = 40, thumbnail = 16, validation = 0.1 }
compute = { batch_size = 64, threads = 1 }
"""


def fill_pool(rows: int, per_tar: int) -> None:
    """Put the tars of a pool into the bucket."""
    made = rows_of(GlyphsPool(size=32, seed=0, count=rows))
    for number, start in enumerate(range(0, rows, per_tar)):
        members = []
        for place, row in enumerate(made[start : start + per_tar], start):
            members += [(f"{place:06d}.png", row["image"]), (f"{place:06d}.txt", row["text"])]
        storage.put("s3://bucket/pool", f"{number:05d}.tar", tar_of(members))


def one(store: Store, recipe: Path, out: str, rate: float, engine: Engine) -> tuple[str, bool, float, int, int]:
    """Build and verify while requests fail; return the digest, whether it is whole, the time, requests, failed ones."""
    store.requests.clear()
    store.failed, store.failing, begun = 0, rate, time.monotonic()
    digest = build(recipe, out, device="cpu", engine=engine).digest
    took = time.monotonic() - begun
    is_whole = verify(out).ok
    store.failing = 0.0
    return digest, is_whole, took, len(store.requests), store.failed


def main() -> None:
    """Build, compare, and print a line each and one of all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=0.2, help="The share of requests that fail.")
    parser.add_argument("--builds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--engine", default="inline", choices=["inline", "processes", "ray"])
    given = parser.parse_args()
    logging.getLogger("dfndr.patience").addFilter(lambda record: False)
    engine: Engine = Inline() if given.engine == "inline" else Processes(workers=2)
    if given.engine == "ray":
        from dfndr_builders.engines.on_ray import OnRay

        engine = OnRay(workers=2)
    wrong, times, all_requests, all_failed = 0, [], 0, 0
    with tempfile.TemporaryDirectory() as folder, served() as store:
        os.environ["DFNDR_CACHE"] = str(Path(folder, "cache"))
        recipe = Path(folder, "recipe.toml")
        recipe.write_text(RECIPE.replace("MODEL", tiny_config(Path(folder)).name))
        fill_pool(given.rows, 100)
        wanted = build(recipe, Path(folder, "undisturbed"), device="cpu").digest
        calm = one(store, recipe, "s3://bucket/calm", 0.0, engine)
        print(f"undisturbed at S3: {calm[2]:.1f} s, {calm[3]} requests, {'right' if calm[0] == wanted else 'WRONG'}")
        for number in range(given.builds):
            digest, is_whole, took, requests, failed = one(store, recipe, f"s3://bucket/{number}", given.rate, engine)
            is_right = digest == wanted and is_whole
            wrong += not is_right
            times.append(took)
            all_requests, all_failed = all_requests + requests, all_failed + failed
            told = collections.Counter(name.partition("/")[0] for name in store.objects("bucket"))
            print(
                f"{number}: {took:.1f} s, {failed} of {requests} requests failed, {told[str(number)]} objects, "
                f"{store.uploads('bucket')} uploads left; {'right' if is_right else 'WRONG'}",
                flush=True,
            )
    print(
        f"{given.engine}: {given.builds} builds, {all_failed} of {all_requests} requests failed "
        f"({all_failed / all_requests:.1%}), {wrong} builds wrong; {statistics.median(times):.1f} s a build "
        f"({min(times):.1f} to {max(times):.1f}), {calm[2]:.1f} s undisturbed"
    )
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
