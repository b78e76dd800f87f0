"""An estimate in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dfndr_builders.dfn.cost import RATE, in_hours
from dfndr_builders.estimate.probe import Probe
from dfndr_builders.estimate.reckoning import Estimate

__all__ = ["in_bytes", "in_time", "told"]


def told(found: Estimate) -> Iterator[str]:
    """Yield what is reckoned, a line for each."""
    pool = found.pool
    if pool.rows is None or found.kept is None:
        yield "rows: not known before the pool is read; --rows says how many to reckon with"
        if found.probe is not None:
            yield from _probed(found.probe)
        return
    about = "" if pool.is_exact else "about "
    units = f" in {pool.shards:,} shard(s)" if pool.shards is not None else ""
    yield f"rows: {about}{pool.rows:,}{units}; at most {found.kept:,} kept, in {found.shards:,} shard(s)"
    for one in found.passes:
        flops = "FLOPs not known of this kind of model" if one.flops is None else f"{one.flops:.2g} FLOPs"
        yield f"{one.purpose} by {one.model}: {one.images:,} pictures and {one.texts:,} texts, {flops}"
    for name, requests in found.requests.items():
        yield f"captions by {name}: {requests:,} requests, and more where captions are asked for again"
    if found.passes:
        hours = found.gpu_hours
        yield f"GPU hours of these forward passes: {'not known' if hours is None else in_hours(hours)} at {RATE}"
    known = {name: size for name, size in found.disk.items() if size is not None}
    yield f"disk: {in_bytes(found.disk_bytes)}: " + ", ".join(
        f"{name} {in_bytes(size)}" for name, size in known.items()
    )
    if unknown := [name for name in found.disk if name not in known]:
        yield f"disk, not known before the model is there: {', '.join(unknown)}"
    if found.probe is not None:
        yield from _probed(found.probe)
        yield "time here, one worker: " + _times(found.seconds)
    if found.worker_seconds and found.workers > 1:
        yield f"time of {found.workers:,} workers like this one: " + _times(found.worker_seconds)


def _probed(probe: Probe) -> Iterator[str]:
    """Yield the rates of this machine."""
    parts = {"read": probe.read_s, "measure": probe.measure_s, "decode": probe.decode_s}
    rates = ", ".join(f"{name} {_rate(seconds)}" for name, seconds in parts.items())
    yield f"probe of {probe.rows:,} rows on {probe.device}, a second: {rates}"
    for name, rate in probe.models.items():
        views = "" if rate.view_s is None else f", {_rate(rate.view_s)} views"
        yield f"probe of {name}, a second: {_rate(rate.image_s)} pictures{views}, {_rate(rate.text_s)} texts"
    for name, why in probe.missing.items():
        yield f"probe of {name}: left out, {why}"


def _rate(seconds: float) -> str:
    each = 1 / seconds if seconds > 0 else 0.0
    return f"{each:,.0f}" if each >= 10 else f"{each:.2g}"


def _times(seconds: Mapping[str, float]) -> str:
    each = [f"{phase} {in_time(one)}" for phase, one in seconds.items()]
    return ", ".join([*each, f"in all {in_time(sum(seconds.values()))}"])


def in_bytes(size: int) -> str:
    """Return a size in words."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= limit:
            return f"{size / limit:,.1f} {unit}"
    return f"{size / 1e3:,.0f} kB"


def in_time(seconds: float) -> str:
    """Return a length of time in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 72 * 3600 else f"{seconds / 86_400:,.1f} days"
