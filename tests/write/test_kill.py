"""Kill a build hard at random moments: running it again always ends in the digest of an undisturbed one.

`benchmarks/faults/kills.py` does so a hundred times, with any engine.
"""

import random
import signal
import time
from pathlib import Path

import pytest
from support.builds import RECIPE, forkserver, run_build, write_recipe

from dfndr.format.manifest import read_manifest
from dfndr.verify import verify

KILLS = 4


@pytest.mark.slow
def test_a_build_killed_at_random_moments_ends_in_the_same_digest(tmp_path: Path) -> None:
    text = RECIPE.replace("swap_texts = 0.3\n", "")  # texts from elsewhere make each reading of the pool a dear one
    recipe, context = str(write_recipe(tmp_path, text=text, count="300")), forkserver()

    def start(out: Path):
        process = context.Process(target=run_build, args=(recipe, str(out)))
        process.start()
        return process

    run_nothing = context.Process(target=time.monotonic)  # the first child waits for the server to load its modules
    run_nothing.start()
    run_nothing.join()
    begun = time.monotonic()
    start(tmp_path / "undisturbed").join()
    took = time.monotonic() - begun
    wanted = read_manifest(str(tmp_path / "undisturbed")).digest
    moments = random.Random()
    killed = 0
    for number in range(KILLS):
        out = tmp_path / f"killed-{number}"
        process = start(out)
        process.join(timeout=moments.uniform(0, took))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        again = start(out)
        again.join()
        assert again.exitcode == 0
        assert read_manifest(str(out)).digest == wanted
        assert verify(str(out)).ok
        assert not list(out.rglob(".tmp-*"))
    assert killed, "all of the builds were done before they could be killed"
