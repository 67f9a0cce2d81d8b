"""Convolutions of drawn shapes, forward and backward, against sums in float64; a process for each.

    python -m tests.kernels.convolutions SEED COUNT     prints the shapes that fail, as JSON

The first are those at which torch's own fails on AVX2.

Weights and inputs are integers, so that float32 adds them exactly and equal means equal. A crash is
a failure; where the C library can check its heap (``libc_malloc_debug.so.0``, MALLOC_CHECK_), what
writes beyond its memory crashes for sure. ``ONEDNN_MAX_CPU_ISA`` plays another processor.
"""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from neuroport.kernels.convolution import conv2d


@dataclass(frozen=True)
class Shape:
    kernel: int
    stride: int
    padding: int
    dilation: int
    groups: int
    inputs: int
    outputs: int
    samples: int
    height: int
    width: int
    last: bool  # channels lie last
    threads: int

    @classmethod
    def drawn(cls, rng: random.Random) -> Shape:
        kernel, dilation = rng.choice([1, 1, 1, 2, 3, 5]), rng.choice([1, 1, 2])
        reach = dilation * (kernel - 1)
        padding, groups = rng.randint(0, min(reach, 4)), rng.choice([1, 1, 1, 1, 2, 3])
        inputs, outputs = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12, 17]), rng.choice([1, 3, 8, 16])
        least = max(1, reach + 1 - 2 * padding)
        height = rng.randint(least, 18)
        width = rng.choice([height, rng.randint(least, 18)])
        return cls(
            kernel,
            rng.choice([1, 2, 2, 3, 4]),
            padding,
            dilation,
            groups,
            inputs * groups,
            outputs * groups,
            rng.choice([1, 3, 8, 20]),
            height,
            width,
            rng.random() < 0.8,
            rng.choice([1, 1, 1, 2]),
        )


# kernel, stride, padding, dilation, groups, inputs, outputs, samples, height, width, last, threads
FAILED = (
    Shape(1, 2, 0, 1, 1, 7, 8, 8, 18, 18, True, 1),
    Shape(1, 4, 0, 1, 1, 2, 3, 4, 12, 12, True, 1),
    Shape(1, 3, 0, 1, 1, 3, 2, 2, 12, 18, True, 1),
    Shape(1, 2, 0, 1, 1, 5, 16, 20, 10, 10, True, 2),  # sums in the gradient of the weights
)


def summed(x: Tensor, weight: Tensor, shape: Shape) -> Tensor:
    """The convolution as products that are added."""
    sizes = (shape.kernel, shape.dilation, shape.padding, shape.stride)
    columns = F.unfold(x, *sizes).unflatten(1, (shape.groups, -1))
    kernels = weight.reshape(shape.groups, shape.outputs // shape.groups, -1)
    out = torch.einsum("gok,ngkl->ngol", kernels, columns).flatten(1, 2)
    reach = shape.dilation * (shape.kernel - 1) - 2 * shape.padding
    return out.unflatten(2, ((shape.height - reach - 1) // shape.stride + 1, -1))


def equal(shape: Shape) -> bool:
    """Whether the convolution and its gradients are those of the sums, several times."""
    torch.set_num_threads(shape.threads)
    torch.manual_seed(1)
    x = torch.randint(-3, 4, (shape.samples, shape.inputs, shape.height, shape.width))
    kernel = (shape.outputs, shape.inputs // shape.groups, shape.kernel, shape.kernel)
    weight = torch.randint(-2, 3, kernel)
    want_x, want_weight = x.double().requires_grad_(), weight.double().requires_grad_()
    want = summed(want_x, want_weight, shape)
    above = torch.randint(-2, 3, want.shape)
    want.backward(above.double())
    layout = torch.channels_last if shape.last else torch.contiguous_format
    for _ in range(3):
        got_x = x.float().contiguous(memory_format=layout).requires_grad_()
        got_weight = weight.float().requires_grad_()
        pairs = [(n, n) for n in (shape.stride, shape.padding, shape.dilation)]
        got = conv2d(got_x, got_weight, None, *pairs, shape.groups)
        got.backward(above.float().contiguous(memory_format=layout))
        assert got_x.grad is not None
        assert got_weight.grad is not None
        if not (
            torch.equal(got.double(), want)
            and torch.equal(got_x.grad.double(), want_x.grad)
            and torch.equal(got_weight.grad.double(), want_weight.grad)
        ):
            return False
    return True


def status(shape: Shape) -> int:
    """How a process of its own ended: 0 equal, 1 not equal, else what killed it."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = int(not equal(shape))
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def main(seed: int, count: int) -> None:
    torch.set_num_threads(1)  # no thread may run where a process forks
    summed(
        torch.ones(1, 1, 1, 1),
        torch.ones(1, 1, 1, 1),
        Shape(1, 1, 0, 1, 1, 1, 1, 1, 1, 1, False, 1),
    )
    torch.ones(1, requires_grad=True).double().sum().backward()
    rng = random.Random(seed)
    ends = [
        (shape, status(shape)) for shape in (*FAILED, *(Shape.drawn(rng) for _ in range(count)))
    ]
    print(json.dumps([{**asdict(shape), "status": end} for shape, end in ends if end]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
