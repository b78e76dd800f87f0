"""What tests of `verify` look into: the files of a dataset, vectors of unit norm, the one finding."""

from __future__ import annotations

import numpy as np

from dfndr.findings import Finding

__all__ = ["file_of", "only", "unit_vectors"]


def file_of(dataset, role: str, shard: int = 0):
    return dataset.shards[shard].files[role].path


def unit_vectors(rows: int, per_row: int = 1) -> np.ndarray:
    vectors = np.zeros((rows, per_row, 8), dtype=np.float32)
    vectors[..., 0], vectors[..., 1] = 0.6, 0.8
    return vectors


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, [str(finding) for finding in findings]
    return findings[0]
