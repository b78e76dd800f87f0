"""Pools: the unfiltered sources, each readable shard by shard, streaming; one file per kind under one protocol."""
