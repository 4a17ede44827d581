"""Where the time of a run goes: seconds by stage, for `--profile`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_SPENT: dict[str, list[float]] = {}


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count what happens meanwhile as the stage `name`."""
    wall, processor = time.monotonic(), time.process_time()
    try:
        yield
    finally:
        spent = _SPENT.setdefault(name, [0.0, 0.0])
        spent[0] += time.monotonic() - wall
        spent[1] += time.process_time() - processor


def told() -> str:
    """A line for each stage: seconds by the clock, and of all processors."""
    rows = [f"{name:<24} {wall:>8.2f} s {processor:>8.2f} s of processors" for name, (wall, processor) in _SPENT.items()]
    return "\n".join([*rows, f"{'peak memory':<24} {_peak_mib():>8.0f} MiB"])


def _peak_mib() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
