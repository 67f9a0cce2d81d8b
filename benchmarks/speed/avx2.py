"""The child in which Lava runs, with the fused process's kernels as a processor with AVX2 has them.

:mod:`benchmarks.speed.lava` starts it in place of the worker of ``lava-cpu``. On other processors
than x86-64 the kernels are as they are.
"""

from __future__ import annotations

import ctypes
import platform

from neuroport.backends.lava_cpu import compiled_step
from neuroport.backends.lava_cpu.worker import main
from neuroport.kernels.compilation import kernels
from tests.helpers.processors import AVX2, network_for


def held_to_avx2(*, with_torch: bool) -> ctypes.CDLL | None:
    """Return the kernels; None where there are none."""
    found = kernels(with_torch=with_torch)  # loads what a library of kernels links to
    return network_for(*AVX2) if found and platform.machine() == "x86_64" else found


if __name__ == "__main__":
    compiled_step.kernels = held_to_avx2  # type: ignore[attr-defined]
    main()
