"""The kernels for GPUs give the bits of plain torch, in Triton's interpreter; no GPU is needed.

The interpreter is NumPy on a CPU, in a child, since it changes Triton for the whole process. It has
no fused multiply-add. One is made of a product and a sum of float64, rounded to float32: it differs
from a true one where the sum falls just beside the middle between two numbers, one time in 2**29,
and in none of these cases, whose numbers are fixed. So real numbers, too, are compared bit for bit,
on numbers where a product that is rounded before the sum, or is not where torch does, is seen.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from neuroport.graph import integers
from neuroport.kernels import lif_kernels, plain, torch_neurons
from neuroport.kernels.surrogate import SURROGATES
from neuroport.nets import neuron
from neuroport.nets.stream import Stream
from tests.helpers.triton_interpreter import interpreter

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed; torch brings it along on Linux with CUDA",
)

# steps, samples, positions; a program of the GPU takes 512 positions of all samples
SHAPES = [(1, 1, 1), (2, 1, 511), (5, 2, 256), (4, 3, 171), (7, 1, 1025), (3, 5, 37)]
KEEPS = [(0.0, 0.25), (0.0, 0.0), (0.0, 1.0), (0.7, 0.3), (0.877, 0.75), (1.0, 0.1)]


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Callable[..., Any]]:
    """Calls a function of this module with Triton interpreted."""
    with interpreter() as call:
        yield call


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    found = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found[found.abs() < 0.1] = 0.6  # on the threshold
    return found


def same(want: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> bool:
    """Also the signs of zeros."""
    pairs = zip(want, got, strict=True)
    return all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in pairs)


def real_differs(shape: tuple[int, ...], keeps: tuple[float, float]) -> int | None:
    from neuroport.kernels import triton_neurons

    for seed in range(2):
        x = normal(shape, seed)
        if not same(
            torch_neurons.real_forward(x, *keeps, 0.6), triton_neurons.real_forward(x, *keeps, 0.6)
        ):
            return seed
    return None


@pytest.mark.parametrize("keeps", KEEPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_real_neurons_have_the_bits_of_torch(
    interpreted: Callable[..., Any], shape: tuple[int, ...], keeps: tuple[float, float]
) -> None:
    assert interpreted(real_differs, shape, keeps) is None


def integers_differ(shape: tuple[int, ...], decays: tuple[int, int], size: int) -> int | None:
    from neuroport.kernels import triton_neurons

    for seed in range(2):
        x = (normal(shape, seed) * size).round()
        bias = (normal(shape[2:], seed) * size / 8).round().to(torch.int64)
        shifted = (bias << integers.STATE_SHIFT).to(torch.int32)
        want = torch_neurons.integer_forward(x, bias, *decays, size)
        if not same(want, triton_neurons.integer_forward(x, shifted, *decays, size)):
            return seed
    return None


@pytest.mark.parametrize("size", [1, 100, 1 << 16])  # the largest wraps and saturates
@pytest.mark.parametrize("decays", [(4096, 3072), (4096, 0), (0, 4096), (1000, 2001), (1, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_integer_neurons_with_a_bias_per_position_have_the_bits_of_torch(
    interpreted: Callable[..., Any], shape: tuple[int, ...], decays: tuple[int, int], size: int
) -> None:
    assert interpreted(integers_differ, shape, decays, size) is None


def currents_that_wrap_differ(decays: tuple[int, int]) -> tuple[bool, float, list[int]]:
    """Whether they do; how many fire; the least and the largest voltage."""
    from neuroport.kernels import triton_neurons

    top = integers.STATE_MAX
    values = torch.tensor(
        [top, -top, 1 << 17, -(1 << 17), (1 << 17) - 1, 1 - (1 << 17), 5, 0]
    ).float()
    order = torch.randperm(8 * 640, generator=torch.Generator().manual_seed(0))
    x = values[order % 8].reshape(8, 1, 640)
    bias = torch.tensor([7, -7]).repeat(320)
    want = torch_neurons.integer_forward(x, bias, *decays, 100)
    got = triton_neurons.integer_forward(x, (bias << 6).to(torch.int32), *decays, 100)
    voltages = (want[0] + (100 << 6)).aminmax()
    return not same(want, got), want[1].mean().item(), [int(one) for one in voltages]


@pytest.mark.parametrize("decays", [(4096, 0), (0, 0), (1, 1), (2048, 4095), (4095, 3072)])
def test_currents_that_wrap_and_voltages_that_saturate_have_the_bits_of_torch(
    interpreted: Callable[..., Any], decays: tuple[int, int]
) -> None:
    differ, fired, ends = interpreted(currents_that_wrap_differ, decays)
    assert not differ
    assert 0 < fired < 1
    assert ends == [-integers.STATE_MAX, integers.STATE_MAX]


def gradients_differ(
    shape: tuple[int, ...], keeps: tuple[float, float], surrogate: str, detach: bool
) -> int | None:
    from neuroport.kernels import triton_neurons

    kind = lif_kernels.KINDS.get(surrogate, 0)
    for seed, (unit, offset, scale) in enumerate(
        [(1.0, 0.6, 1.0), (0.3, 0.2, 0.7), (0.5, 0.0, 1.0)]
    ):
        v, grad = normal(shape, seed), normal(shape, seed + 9)
        if offset == 0:  # distances where surrogates end
            v = (2 * v).round() / 2
        rest = (*keeps, None if detach else 0.6, scale)
        slope = v if kind else SURROGATES[surrogate](v * unit - offset)
        got = triton_neurons.backward(grad, v, slope, unit, offset, kind, *rest)
        want = torch_neurons.backward(grad, v, unit, offset, surrogate, *rest)
        if not same(want, got):
            return seed
    return None


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("surrogate", [*lif_kernels.KINDS, "slayer"])  # which is computed by torch
@pytest.mark.parametrize("keeps", KEEPS)
@pytest.mark.parametrize("shape", SHAPES[::2])
def test_gradients_have_the_bits_of_torch(
    interpreted: Callable[..., Any],
    shape: tuple[int, ...],
    keeps: tuple[float, float],
    surrogate: str,
    detach: bool,
) -> None:
    assert interpreted(gradients_differ, shape, keeps, surrogate, detach) is None


def neurons_differ(layout: str, current_decay: float, integer: bool) -> list[str]:
    """Whole neurons and their gradients, as if the memory of this CPU were that of a GPU."""
    values = normal((4, 3, 5, 7, 3), 0)
    weights, bias = normal((4, 3, 5, 7, 3), 1), normal((5, 7, 3), 2)
    lif = neuron.Lif(0.6, 0.3, current_decay, "arctan", False)
    if integer:
        values = (values * 300).round()
        lif.lsb.fill_(0.6 / 200)
    else:
        neuron.learn(lif, "both")
    if layout == "channels_last":
        flat = values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        values = flat.unflatten(0, values.shape[:2])
    if layout == "transposed":
        values = values.transpose(0, 1).contiguous().transpose(0, 1)

    def run() -> dict[str, Tensor]:
        x, b = values.clone().requires_grad_(), bias.clone().requires_grad_()
        learned = [b] if integer else [p for p in lif.parameters() if p.requires_grad]
        spikes = lif(Stream(x, b) if integer else x)
        assert 0 < spikes.mean() < 1
        grads = torch.autograd.grad((spikes * weights).sum(), (x, *learned))
        return {"spikes": spikes, **{f"gradient {i}": one for i, one in enumerate(grads)}}

    with plain():
        want = run()
    before, lif_kernels._on_gpu = lif_kernels._on_gpu, lambda x: True
    try:
        got = run()
    finally:
        lif_kernels._on_gpu = before
    return [name for name, value in want.items() if not torch.equal(value, got[name])]


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("current_decay", [1.0, 0.3])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
def test_whole_neurons_in_any_layout_have_the_bits_of_torch(
    interpreted: Callable[..., Any], layout: str, current_decay: float, integer: bool
) -> None:
    assert interpreted(neurons_differ, layout, current_decay, integer) == []


def told(contracted: bool) -> tuple[bool, list[str]]:
    from neuroport.kernels import triton_neurons

    lif_kernels._triton.cache_clear()
    kept = triton_neurons._multiply_add
    if not contracted:
        triton_neurons._multiply_add = lambda a, b, c, ptx: a * b + c
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)  # the interpreter's, of NumPy
            taken = lif_kernels._triton(torch.device("cpu"))
    finally:
        triton_neurons._multiply_add = kept
    return taken, [str(one.message) for one in heard]


def test_a_device_that_rounds_otherwise_is_told_and_has_plain_torch(
    interpreted: Callable[..., Any],
) -> None:
    assert interpreted(told, True) == (True, [])
    taken, heard = interpreted(told, False)
    assert not taken
    assert heard == [
        "neurons on cpu run plain torch, which is slower: real neurons differ from torch"
    ]


def test_on_a_cpu_triton_is_not_even_imported() -> None:
    script = (
        "import sys, torch, neuroport.kernels.lif_kernels\n"
        "from neuroport.nets.neuron import Lif\n"
        "x = torch.ones(2, 1, 3, 4, 4, requires_grad=True)\n"
        "Lif()(x).sum().backward()\n"
        "assert 'neuroport.kernels.triton_neurons' not in sys.modules\n"
        "assert 'triton' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


COMPILE = """\
import sys
from triton.compiler import ASTSource
from triton.compiler.backends.cuda import CUDABackend
from neuroport.kernels import triton_neurons

def compiled(kernel, floats, words, longs=(), pointers=(), **constants):
    names = [p.name for p in kernel.params]
    kinds = {**dict.fromkeys(pointers, "*fp32"), **dict.fromkeys(floats, "fp32")}
    kinds |= {**dict.fromkeys(words, "i32"), **dict.fromkeys(longs, "i64")}
    if "bias" in names:
        kinds["bias"] = "*i32"
    signature = {i: kinds[name] for i, name in enumerate(names) if name in kinds}
    fixed = {names.index(name): value for name, value in (constants | {"block": 512}).items()}
    backend = CUDABackend(("cuda", 80))
    options = backend.parse_options({"enable_fp_fusion": False})
    source, stages, metadata = ASTSource(kernel, signature, fixed), {}, {}
    backend.add_stages(stages, options)
    module = source.make_ir(options)
    for name, stage in stages.items():
        module = stage(module, metadata)
        if name == "ptx":
            print(module)
    assert len(module) > 1000  # machine code

what = sys.argv[1]
if what == "real":
    compiled(
        triton_neurons._real_forward, ["keep_u", "keep_v", "threshold"], ["steps"], ["size"],
        ["x", "v", "s"], memory=True, ptx=True,
    )
elif what == "integer":
    compiled(
        triton_neurons._integer_forward, [], ["steps", "size", "positions", "keep_u", "keep_v",
        "threshold"], [], ["x", "distance", "s"], shift=6, top=1 << 23,
    )
else:
    compiled(
        triton_neurons._backward, ["unit", "offset", "keep_u", "keep_v", "threshold", "scale"],
        ["steps", "size"], ["last"], ["grad", "v", "slope", "grad_v", "grad_u"],
        kind=3, reset=True, memory=True, ptx=True,
    )
"""


@pytest.mark.parametrize(
    ("kernel", "fused_ones", "inverses"), [("real", 2, 0), ("integer", 0, 0), ("backward", 3, 2)]
)
def test_they_compile_for_a_gpu_and_nothing_is_contracted_or_flushed(
    kernel: str, fused_ones: int, inverses: int
) -> None:
    """Every product and sum of PTX says how it is rounded, so that no assembler contracts it."""
    import triton

    if not triton.__version__.startswith("2.3."):
        pytest.skip(f"written for the compiler of Triton 2.3; this is {triton.__version__}")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-"], input=COMPILE.replace("sys.argv[1]", repr(kernel)),
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ptx = done.stdout
    each = 512 // 128  # positions of one of 128 threads
    assert len(re.findall(r"\bfma\.rn\.f32", ptx)) == fused_ones * each
    assert len(re.findall(r"\brcp\.rn\.f32", ptx)) == inverses * each
    assert not re.findall(r"\b(?:add|sub|mul|mad|fma)\.(?:ftz\.)?f32|\.ftz|\bdiv\.|approx", ptx)
