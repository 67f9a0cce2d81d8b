"""Neurons over all time steps, compiled on first use: C for training on the CPU, Triton on CUDA.

The plain torch of :mod:`neuroport.kernels.torch_neurons` is the definition. It is always available
and gives the same bits; the kernels are faster because the state stays in the cache or in
registers. Only batch norms of real numbers that are fused into neurons in C
(:mod:`neuroport.nets.fused_batchnorm`) round differently. Plain torch runs without a C compiler or
Triton, with ``NEUROPORT_KERNELS=off``, and for other types than float32.
:mod:`~neuroport.kernels.allocator` keeps the memory that a step frees for the next one.
"""

from neuroport.kernels.compilation import kernels, plain, why_plain

__all__ = ["kernels", "plain", "why_plain"]
