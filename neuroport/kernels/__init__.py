"""Neurons over all time steps in C, compiled on first use, for training on the CPU.

The plain torch of :mod:`neuroport.nets.neuron` is the definition, is always there and gives the
same bits; the kernels are faster because the state stays in the cache. Batch norms of real numbers,
which neurons apply on the way (:mod:`neuroport.nets.norming`), round differently. Without a C
compiler, with ``NEUROPORT_KERNELS=off``, on CUDA and for other types than float32 the plain path
runs. :mod:`~neuroport.kernels.memory` keeps the memory that a step frees for the next one.
"""

from neuroport.kernels.compiled import kernels, plain, why_plain

__all__ = ["kernels", "plain", "why_plain"]
