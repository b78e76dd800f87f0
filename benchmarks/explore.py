"""How long the page waits: a dataset of clustered vectors is made up, `dfndr explore` is started, and asked over HTTP.

    python benchmarks/explore.py [--rows 1000000] [--dim 512] [--runs 7] [--folder FOLDER]

Every question is another one each time (another sample, other words, another column or filter), so nothing that an
answer left behind helps the next but what the page keeps for everybody. The words go through a text tower of
ViT-B/32's size with random weights; that the model was loaded before is the only thing left out of their time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pyarrow as pa

from dfndr.encoder import open_encoder
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors
from dfndr.models import EncoderSpec

SHARD = 50_000
SAID = "red small dog on the old street near a bright house with two open windows and green trees by night"
WORDS = re.findall(r"\w+", SAID)


def make(root: Path, rows: int, dim: int) -> None:
    """Write a dataset: 2,000 clusters whose spread is about that of pictures of one kind, texts of ten words."""
    rng = np.random.default_rng(0)
    text = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    root.mkdir(parents=True, exist_ok=True)
    config = root / "model.json"
    config.write_text(json.dumps({"embed_dim": dim, "vision_cfg": vision, "text_cfg": text}))
    record = open_encoder(EncoderSpec("made-up", str(config), "random:0", batch_size=1, threads=2, device="cpu")).record
    space = Space("image", "made-up", dim=dim)
    centers = rng.standard_normal((2000, dim), dtype=np.float32)
    shards = []
    for number, start in enumerate(range(0, rows, SHARD)):
        count = min(SHARD, rows - start)
        found = centers[rng.integers(0, len(centers), count)] + rng.standard_normal((count, dim), dtype=np.float32)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        said = rng.integers(0, len(WORDS), (count, 10))
        table = pa.table(
            {
                "uid": [rng.bytes(16).hex() for _ in range(count)],
                "text": [" ".join(WORDS[word] for word in line) for line in said],
                "source": [("web", "news", "shop")[word % 3] for word in said[:, 0]],
                "score": pa.array(rng.normal(0.3, 0.05, count), pa.float32()),
                "aesthetic": pa.array(rng.normal(5, 1, count), pa.float32()),
            }
        )
        files = {
            "rows": write_rows(str(root), rows_path("train", number), table),
            space.name: write_vectors(str(root), vectors_path(space, "train", number), space, [found[:, None]]),
        }
        shards.append(Shard(number, "train", rows_in=count, rows=count, files=files))
    manifest = Manifest(
        name="made-up",
        license="CC0-1.0",
        recipe="",
        recipe_digest="0" * 64,
        seed=0,
        spaces=(space,),
        encoders={"made-up": record},
        scorers={},
        shards=tuple(shards),
        funnel=(Step("pool", rows, rows),),
        provenance={},
    )
    write_manifest(str(root), manifest)


class Page:
    """`dfndr explore` in a process of its own."""

    def __init__(self, root: Path, index: Path) -> None:
        code = "from dfndr.cli import main; main()"
        command = [sys.executable, "-c", code, "explore", str(root), "--port", "0", "--no-open", "--index", str(index)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self._url = re.search(r"http://\S+/", line)[0]  # type: ignore[index]

    def ask(self, path: str, **asked: object) -> dict[str, object]:
        """Return an answer."""
        with urlopen(f"{self._url}{path}?{urlencode(asked)}") as answer:
            found: dict[str, object] = json.loads(answer.read())
        return found

    def memory_gib(self, what: str) -> float:
        """Return the peak of all memory (`VmHWM`) or what of it is not files (`RssAnon`), now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / (1 << 20)  # type: ignore[index]

    def processor_s(self) -> float:
        """Return the processor's time that it has taken, of all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def timed(page: Page, runs: int, ask: Callable[[int], object]) -> str:
    """Ask so many different questions, and tell the median, the slowest, and the processor's time for each."""
    seconds, before = [], page.processor_s()
    for number in range(runs):
        begin = time.perf_counter()
        ask(number)
        seconds.append(1e3 * (time.perf_counter() - begin))
    each = 1e3 * (page.processor_s() - before) / runs
    return f"{statistics.median(seconds):9.0f} {max(seconds):9.0f} {each:9.0f}"


def measure(root: Path, index: Path, runs: int) -> None:
    """Start the page and print how long it takes to answer."""
    begin = time.perf_counter()
    page = Page(root, index)
    about = page.ask("api/about")
    print(f"{about['rows']:,} rows; opening {time.perf_counter() - begin:.1f} s", flush=True)
    while (state := page.ask("api/indexes")["indexes"][0])["state"] != "ready":  # type: ignore[index]
        time.sleep(0.2)
    print(f"the index {time.perf_counter() - begin:.1f} s after the start: {state}", flush=True)
    space = about["spaces"][0]["name"]  # type: ignore[index]
    samples = page.ask("api/browse", count=3 * runs)["samples"]
    uids = [one["uid"] for one in samples]  # type: ignore[attr-defined]
    begin = time.perf_counter()
    page.ask("api/near", space=space, words="the model")
    print(f"loading the model and the first words {time.perf_counter() - begin:.1f} s")
    only = json.dumps({"choices": {"source": ["news"]}})
    few = [json.dumps({"ranges": {"score": [0.41 + number / 1e4, None]}}) for number in range(runs)]
    questions: dict[str, Callable[[int], object]] = {
        "neighbours of a sample": lambda number: page.ask("api/near", space=space, uid=uids[number]),
        "neighbours of words": lambda number: page.ask("api/near", space=space, words=" ".join(WORDS[number:][:6])),
        "neighbours, a third pass": lambda number: page.ask("api/near", space=space, uid=uids[-number], filter=only),
        "neighbours, 1.4 % pass": lambda number: page.ask("api/near", space=space, uid=uids[7], filter=few[number]),
        "histogram": lambda number: page.ask("api/histogram", column=("score", "aesthetic")[number % 2]),
        "samples at a threshold": lambda number: page.ask("api/around", column="score", at=0.2 + number / 50),
        "a page of samples": lambda number: page.ask("api/browse", start=60 * number),
        "one sample": lambda number: page.ask(f"api/sample/{uids[number]}"),
    }
    print(f"{'':28} {'median ms':>9} {'slowest':>9} {'CPU each':>9}")
    for name, ask in questions.items():
        print(f"{name:28} {timed(page, runs, ask)}", flush=True)
    print(
        f"memory: {page.memory_gib('VmHWM'):.1f} GiB at most, {page.memory_gib('RssAnon'):.1f} GiB without mapped files"
    )
    page.stop()


def main() -> None:
    """Make the dataset where it is not there yet, then measure twice: making the index, and loading it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.folder or Path(made)
        root = folder / f"rows-{asked.rows}"
        if not (root / "manifest.json").exists():
            make(root, asked.rows, asked.dim)
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        for title in ("made", "loaded"):
            print(f"\nThe index is {title}")
            measure(root, folder / f"index-{asked.rows}", asked.runs)


if __name__ == "__main__":
    main()
