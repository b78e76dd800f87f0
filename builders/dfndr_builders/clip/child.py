"""The child process of `train_clip`: open_clip's own trainer on one job, then the model as a `local-dir:` folder.

It runs in a process of its own because the trainer changes logging, seeds and threads for everything around it. The
job is `job.json` in the folder given; a byte on standard input says that it is there, and the end of standard input
that the parent is gone. Nothing of the trainer is changed but what `main` and `clip.trainer` name.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.encoder import pick_device
from dfndr.models import in_a_line
from dfndr_builders.clip.process import FAILED
from dfndr_builders.clip.saved import save_model
from dfndr_builders.clip.trainer import (
    allow_processes_without_gpus,
    change_all_at_once,
    end_after,
    keep_only_good_checkpoints,
    make_repeatable,
)

if TYPE_CHECKING:
    import torch

__all__ = ["main"]


def main(folder: str) -> None:
    """Train as the job says and write `model/` and `result.json` into the folder."""
    # These imports take seconds: they run while the parent still writes the training data.
    import open_clip
    import torch
    from open_clip_train import main as trainer

    if not _is_let_go():
        return
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    os.chdir(folder)
    job = json.loads(Path("job.json").read_bytes())
    torch.set_num_threads(job["threads"])
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.multiprocessing.set_start_method("fork")  # the trainer's loader holds closures, which nothing can pickle
    if job["config"]:
        storage.put("configs", f"{job['model']}.json", json.dumps(job["config"]).encode())
        open_clip.add_model_config("configs")
    make_repeatable(job["seed"])
    if job["last_step"] is not None:
        end_after(job["last_step"])
    # The trainer keeps its model to itself, and it trains it in place: take hold of it as it is made.
    made: list[Any] = []
    create = trainer.create_model_and_transforms

    def create_and_keep(*args: object, **options: object) -> tuple[object, ...]:
        made[:] = create(*args, **options)
        return tuple(made)

    trainer.create_model_and_transforms = create_and_keep
    keep_only_good_checkpoints(lambda: made[0])
    allow_processes_without_gpus()
    if (device := pick_device(job["device"])) == "cpu":
        change_all_at_once()
    trainer.main([*job["arguments"], "--device", device])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if os.environ.get("RANK", "0") == "0":
        _save(made[0], job["model"])


def _is_let_go() -> bool:
    """Wait for a byte on standard input and leave it there, for the other processes; say whether one came."""
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    return any(event & select.POLLIN for _, event in waiting.poll())


def _end_with_the_parent() -> None:
    watching = select.poll()
    watching.register(0, 0)  # that the other end is closed is told without being asked for
    watching.poll()
    os._exit(1)


def _save(model: torch.nn.Module, name: str) -> None:
    """Write the model into `model/`, and what its weights hash to."""
    import open_clip

    config, tokenizer = open_clip.get_model_config(name), open_clip.get_tokenizer(name)
    sha256 = save_model(model, "model", tokenizer=tokenizer, config=config)
    storage.put(".", "result.json", json.dumps({"weights_sha256": sha256}).encode())


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:  # the parent shows one line, whatever it was; the trainer's log keeps the traceback
        logging.getLogger(__name__).exception("training failed")
        raise SystemExit(FAILED + in_a_line(error)) from None
