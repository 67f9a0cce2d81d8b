"""Keep freed memory in the process, and tell how much memory is available.

A training step frees and allocates the same arrays repeatedly. The C library returns large arrays
to the system at once, which then clears every page of the next one. If they stay in the process,
the next step reuses them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

# constants of glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = (1 << 31) - 1
MINE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD")


def available() -> int:
    """Return the available bytes of memory; a huge number if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 1 << 62


@cache
def keep_freed() -> bool:
    """Keep freed memory from now on; return whether this was possible.

    It needs glibc, and is not done if the user has set its thresholds or loads another allocator.
    """
    if sys.platform != "linux" or any(os.environ.get(name) for name in MINE):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, KEPT)) and bool(mallopt(TRIM_THRESHOLD, KEPT))
