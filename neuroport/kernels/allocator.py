"""Keep freed memory in the process, and tell how much memory is available.

A training step frees and allocates the same arrays again and again. The C library returns large
ones to the system at once, which then clears every page of the next. Keeping them in the process
lets the next step reuse them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

# of glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = (1 << 31) - 1
MINE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD")


def available() -> int:
    """Bytes of memory to be had now; more than any machine has where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 1 << 62


@cache
def keep_freed() -> bool:
    """Keep freed memory from now on; whether this was done.

    Only with glibc, and not where the user has set its thresholds or loads another allocator.
    """
    if sys.platform != "linux" or any(os.environ.get(name) for name in MINE):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, KEPT)) and bool(mallopt(TRIM_THRESHOLD, KEPT))
