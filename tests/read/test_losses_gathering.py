"""Two processes, each with half a batch, against one with all of it: the same loss and the same gradients."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="losses need torch")

import torch.distributed as processes  # noqa: E402
from support.reference import STUDENT, TEACHERS  # noqa: E402
from torch.multiprocessing import spawn  # noqa: E402

from dfndr.losses.distillation import Teacher, reinforced_loss  # noqa: E402
from dfndr.losses.gathering import gathered  # noqa: E402

KINDS = ("real", "synthetic")
FORMS = ("softmax", "sigmoid")


def trained(form, part):
    """One step's loss and gradients, of a model of two matrices and a scale, with some rows of the batch."""
    torch.manual_seed(0)
    eye = torch.eye(8, 5, dtype=torch.float64)
    weights = {name: (eye + torch.rand(8, 5, dtype=torch.float64)).requires_grad_() for name in ("image", "text")}
    weights["scale"] = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
    images = torch.nn.functional.normalize(STUDENT["images"][part] @ weights["image"], dim=1)
    texts = [torch.nn.functional.normalize(STUDENT[kind][part] @ weights["text"], dim=1) for kind in KINDS]
    seen = [[gathered(each[part]) for each in TEACHERS[name]] for name in ("images", *KINDS)]
    loss = reinforced_loss(
        gathered(images),
        [gathered(each) for each in texts],
        scale=weights["scale"],
        teachers=[Teacher.each(seen[0], each, scales=(70.0, 60.0)) for each in seen[1:]],
        contrastive_weight=0.25,
        distillation_weight=0.75,
        form=form,
        bias=-3.0,
    )
    loss.backward()
    return {"loss": loss.detach(), **{name: tensor.grad for name, tensor in weights.items()}}


def worker(rank, folder):
    torch.set_num_threads(1)
    processes.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for form in FORMS:
        found = trained(form, slice(2 * rank, 2 * rank + 2))
        for name in ("image", "text", "scale"):  # what DistributedDataParallel does
            processes.all_reduce(found[name])
            found[name] /= 2
        torch.save(found, f"{folder}/{form}-{rank}.pt")
    processes.destroy_process_group()


def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path):
    spawn(worker, (str(tmp_path),), nprocs=2)
    for form in FORMS:
        alone = trained(form, slice(None))
        for rank in range(2):
            found = torch.load(tmp_path / f"{form}-{rank}.pt", weights_only=True)
            for name, expected in alone.items():
                torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-12)


def test_in_a_lone_process_a_tensor_stays_what_it_is():
    assert gathered(STUDENT["images"]) is STUDENT["images"]
