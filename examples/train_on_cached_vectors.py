"""Train a model of your own on cached vectors, in plain PyTorch: here a map from texts to their pictures.

    python examples/train_on_cached_vectors.py quickstart/dataset

It stops half-way on purpose, and goes on in a new loader from the three integers that were saved.
"""

from __future__ import annotations

import sys

import torch
from torch.nn.functional import cross_entropy, normalize

import dfndr


def main(path: str, epochs: int = 10) -> None:
    """Train, then print how often a text of the validation split finds its own picture first."""
    torch.manual_seed(0)
    dataset = dfndr.open_dataset(path)
    image, text = (next(name for name in dataset.spaces if name.startswith(kind)) for kind in ("image/", "text/"))
    dim = dataset.spaces[text].dim
    model = torch.nn.Sequential(torch.nn.Linear(dim, 4 * dim), torch.nn.GELU(), torch.nn.Linear(4 * dim, dim))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    state = None
    for part in (epochs // 2, epochs - epochs // 2):
        loader = dfndr.Loader(dataset.split("train"), [image, text], batch_size=512, seed=7)
        if state is not None:
            loader.load_state_dict(state)
        for _ in range(part):
            for batch in loader:  # float16 as stored: cast before computing
                images, texts = batch[image].float(), batch[text].float()
                logits = 50 * normalize(texts + model(texts)) @ images.T
                loss = cross_entropy(logits, torch.arange(len(batch)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        state = loader.state_dict()
        print(f"{state}: loss {loss.item():.3f}")

    held_out = dataset.split("validation")
    images, texts = (torch.from_numpy(held_out.vectors(name)[:, 0]).float() for name in (image, text))
    with torch.inference_mode():
        for name, queries in (("cached vectors", texts), ("after training", normalize(texts + model(texts)))):
            found = (queries @ images.T).argmax(dim=1) == torch.arange(len(images))
            print(f"{name}: the right picture first for {found.float().mean():.1%} of {len(images)} texts")


if __name__ == "__main__":
    main(sys.argv[1])
