"""How much of its time a training loop waits for a Loader whose dataset is at the Hub, or in S3.

    python benchmarks/loader_remote.py [--kind hf s3] [--mb-per-s 100] [--latency-ms 50] [--repeats 5]

The server is a stand-in on loopback, in a process of its own, behind a line of the stated bandwidth and latency. A step
of the loop takes a fixed time, so that vectors are used at some shares of the bandwidth; meanwhile nothing is computed,
as while a GPU works. The cache begins empty and holds less than the dataset. What is told apart is the start, until the
first batch, and then the share of the time that the loop waited; at 1.2 times the bandwidth no loader could do better
than to wait 17 % of the time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from loader import dataset_of
from throttled import Throttled

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    """Write the dataset, serve it, read it at several paces in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", choices=["hf", "s3"], default=["hf", "s3"])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--mb-per-s", type=float, default=100.0)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8, 1.2])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "set"
        dataset_of(folder, given.rows, 512, given.shards)
        size = sum(path.stat().st_size for path in folder.rglob("*.npy"))
        line = f"{given.mb_per_s:.0f} MB/s, {given.latency_ms:.0f} ms, a cache of {_limit(size)}"
        print(f"{size / 1e6:,.0f} MB of vectors, {line}")
        print(f"{'':34}{'first batch s':>15}{'waiting':>10}{'least':>9}{'most':>9}")
        for kind in given.kind:
            ours, theirs = multiprocessing.Pipe()
            about = (kind, folder, given.mb_per_s * 1e6, given.latency_ms / 1e3, theirs)
            server = multiprocessing.get_context("spawn").Process(target=serve, args=about, daemon=True)
            server.start()
            root = connect(kind, ours.recv())
            os.environ["DFNDR_CACHE_SIZE"] = _limit(size)
            found: dict[float, list[tuple[float, float]]] = {share: [] for share in given.shares}
            for turn in range(given.repeats):
                for share, runs in found.items():
                    cache = Path(temporary) / f"cache-{kind}-{turn}-{share}"
                    os.environ["DFNDR_CACHE"] = str(cache)
                    runs.append(epoch(root, given.mb_per_s * 1e6 * share))
                    shutil.rmtree(cache)
            for share, runs in found.items():
                first, waiting = np.array(runs).T
                line = f"{np.median(first):15.2f}{np.median(waiting):10.1%}{waiting.min():9.1%}{waiting.max():9.1%}"
                print(f"{f'{kind}, used at {share:.0%} of the line':34}{line}", flush=True)
            server.terminate()


def _limit(size: int) -> str:
    return f"{size * 6 // 10 // 10**6}MB"


def epoch(root: str, bytes_per_s: float) -> tuple[float, float]:
    """Go through an epoch at a pace; return the seconds to the first batch, and how much of the rest was waited."""
    from dfndr import Loader, open_dataset

    begun = time.perf_counter()
    dataset = open_dataset(root)
    loader = Loader(dataset, list(dataset.spaces), columns=[], batch_size=4096, shuffle="window")
    batches, waited = iter(loader), 0.0
    batch = next(batches)
    first = time.perf_counter() - begun
    begun, row_bytes = time.perf_counter(), sum(tensor[0].nbytes for tensor in batch.vectors.values())
    while batch is not None:
        time.sleep(len(batch) * row_bytes / bytes_per_s)
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
    return first, waited / (time.perf_counter() - begun)


def serve(kind: str, folder: Path, bytes_per_s: float, latency_s: float, told: Connection) -> None:
    """Serve a folder as a dataset of the Hub or the objects of a bucket, behind a line; tell the line's port."""
    if kind == "hf":
        from support.hub import Hub
        from support.published import put_folder

        with Hub() as hub:
            line = Throttled(int(hub.url.rpartition(":")[2]), bytes_per_s=bytes_per_s, latency_s=latency_s)
            put_folder(hub, "me/set", folder)
            hub.url = f"http://127.0.0.1:{line.port}"
            told.send(line.port)
            time.sleep(10**6)
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = server.get_host_and_port()
    import boto3

    about = {"aws_access_key_id": "me", "aws_secret_access_key": "me", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{address[0]}:{address[1]}", **about)
    client.create_bucket(Bucket="bucket")
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "bucket", f"set/{path.relative_to(folder).as_posix()}")
    told.send(Throttled(address[1], bytes_per_s=bytes_per_s, latency_s=latency_s).port)
    time.sleep(10**6)


def connect(kind: str, port: int) -> str:
    """Let this process find the server at a port; return the dataset's address."""
    url = f"http://127.0.0.1:{port}"
    if kind == "hf":
        from support.hub import TOKEN

        os.environ |= {"HF_ENDPOINT": url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        return "hf://datasets/me/set"
    about = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "me"}
    os.environ |= {**about, "AWS_DEFAULT_REGION": "us-east-1"}
    return "s3://bucket/set"


if __name__ == "__main__":
    main()
