"""The fast engine: the same integers in torch, batched, on CPU or CUDA.

On the CPU with a C compiler, :mod:`neuroport.backends.compiled_network` computes if it supports the
graph, on a GPU with Triton :mod:`neuroport.backends.gpu_network`; otherwise this module does.

Synapses run in floating point where the graph's intervals *prove* that every partial sum is an
integer that the type holds exactly: below 2**24 in float32, else below 2**53 in float64. Nothing is
rounded, so the answer is the reference's, bit for bit; a graph for which neither can be proven is
refused. On CUDA a convolution of torch may round its factors to TF32 or transform them (Winograd),
which is inexact. There a convolution is one matrix product in full float32
(:mod:`neuroport.kernels.exact_products`), or in float64 if a test shows that float32 is not exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from neuroport.backends.executor import Arithmetic, AtOnce, Starts
from neuroport.backends.stepped_populations import step_through
from neuroport.deprecated import moved
from neuroport.errors import IllegalError
from neuroport.graph.float_exactness import FLOAT32_EXACT, FLOAT64_EXACT, largest_sum
from neuroport.graph.graph import Graph
from neuroport.graph.kinds.base import Loop, Spread
from neuroport.graph.node import (
    Conv,
    Delay,
    Dense,
    Input,
    IntArray,
    Node,
    Population,
    Shape,
    Synapse,
    per_neuron,
)
from neuroport.runs.trace import versions

__getattr__ = moved(
    __name__,
    {"Fast": "neuroport.engines.fast:Fast", "device_of": "neuroport.kernels.devices:device_of"},
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def arithmetic_for(graph: Graph, device: torch.device, time_model: str) -> Arithmetic | AtOnce:
    """Return the arithmetic: one call for all nodes if possible, else int64 tensors."""
    from neuroport.backends import compiled_network

    if device.type == "cpu":
        return compiled_network.whole(graph, time_model) or TorchArithmetic(graph, device)
    found = None
    if device.type == "cuda" and time_model == "ideal":
        from neuroport.backends import gpu_network

        found = gpu_network.whole(graph, device, TorchArithmetic)
    return found or TorchArithmetic(graph, device)


class TorchArithmetic:
    """Arrays are int64 tensors; synapses convert to the float type that is exact for them."""

    name = "fast"

    def __init__(self, graph: Graph, device: torch.device, products: bool | None = None) -> None:
        """Copy weights to ``device`` in the layout of the products.

        Args:
            products: compute convolutions as matrix products; ``None``: only on other devices than
                the CPU.
        """
        import torch

        from neuroport.kernels import exact_products

        self.device = device
        self.products = device.type != "cpu" if products is None else products
        if self.products:
            self.single = exact_products.fault(device) is None
        else:
            # without oneDNN torch may take NNPACK's Winograd, which is inexact in float32
            self.single = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self.weights = {
            node.name: torch.tensor(node.weight, dtype=self.exact(graph, node), device=device)
            for node in graph.synapses
        }

    def exact(self, graph: Graph, node: Synapse) -> torch.dtype:
        """The float type that holds every partial sum of a synapse.

        Raises:
            IllegalError: none does.
        """
        import torch

        worst = largest_sum(graph, node)
        if worst < FLOAT32_EXACT and self.single:
            return torch.float32
        if worst < FLOAT64_EXACT:
            return torch.float64
        raise IllegalError(
            f"{node.name}: a sum can reach {worst}, more than floating point holds exactly; run it "
            "on the reference engine, or shift its source further"
        )

    @property
    def stepping(self) -> tuple[Spread, Loop]:
        return self._constant, self._own

    def load(self, frames: npt.NDArray[Any]) -> Tensor:
        import torch

        return torch.from_numpy(frames.astype(np.int64)).to(self.device)

    def output(self, node: Node, arriving: Tensor, starts: Starts) -> Tensor:
        import torch

        from neuroport.kernels import exact_products

        match node:
            case Population():
                sent = step_through(node, arriving, starts, self._constant, self._own)
                return cast("Tensor", sent.to(torch.int64))
            case Conv():
                weight = self.weights[node.name]
                flat = arriving.flatten(0, 1).to(weight.dtype)
                geometry = node.stride, node.padding, node.dilation, node.groups
                if self.products:
                    out = exact_products.conv2d(flat, weight, *geometry)
                else:
                    out = torch.nn.functional.conv2d(flat, weight, None, *geometry)
                summed = out.reshape(*arriving.shape[:2], *out.shape[1:])
                return summed.to(torch.int64) << node.exponent
            case Dense():
                return self._connect(node, arriving, starts) << node.exponent
            case Delay():
                return self._delayed(arriving, node.steps, starts)
            case Input():
                return arriving
        raise TypeError(f"{node.name}: torch has no arithmetic for a {node.kind}")

    def _connect(self, node: Dense, messages: Tensor, starts: Starts) -> Tensor:
        import torch

        from neuroport.kernels import exact_products

        weight, flat = self.weights[node.name], messages.flatten(2)
        delay = node.delay
        if not delay.any():
            return exact_products.matmul(flat.to(weight.dtype), weight.T).to(torch.int64)
        total = torch.zeros((*flat.shape[:2], len(weight)), dtype=torch.int64, device=self.device)
        for steps in np.unique(delay):
            part = weight * torch.from_numpy(delay == steps).to(self.device)
            late = self._delayed(flat, int(steps), starts)
            total += exact_products.matmul(late.to(weight.dtype), part.T).to(torch.int64)
        return total

    def _delayed(self, messages: Tensor, steps: int, starts: Starts) -> Tensor:
        import torch

        out = torch.zeros_like(messages)
        reached = torch.from_numpy(starts.reached(len(messages), steps)).to(self.device)
        out[reached] = messages[reached - steps]
        return out

    def _own(self, weight: IntArray) -> Callable[[Tensor], Tensor]:
        import torch

        # spikes through 16-bit weights: float64 holds every sum
        matrix = torch.tensor(weight.T, dtype=torch.float64, device=self.device)

        def hear(spikes: Tensor) -> Tensor:
            flat = spikes.flatten(1).to(torch.float64) @ matrix
            return flat.to(torch.int64).reshape(spikes.shape)

        return hear

    def _constant(self, values: IntArray, shape: Shape) -> Tensor:
        import torch

        if values.size == 1:
            return torch.tensor(int(values.flat[0]), device=self.device)
        return torch.tensor(per_neuron(values, shape), device=self.device)

    def late(self, out: Tensor, steps: int) -> Tensor:
        import torch

        before = torch.zeros((steps, *out.shape[1:]), dtype=out.dtype, device=out.device)
        return torch.cat([before, out])[: len(out)]

    def store(self, out: Tensor, messages: npt.NDArray[Any]) -> None:
        messages[:] = out.cpu().numpy()

    def versions(self) -> dict[str, str]:
        return versions("torch", "numpy")
