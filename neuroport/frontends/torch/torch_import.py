"""From a module of snnTorch or SpikingJelly to a graph of integers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroport.arguments import as_array, is_module, takes
from neuroport.errors import CaptureError, FramesError
from neuroport.frontends.nir.cost import NirCost, cost
from neuroport.frontends.nir.importing import NirImport
from neuroport.frontends.nir.interpreter import Signals, interpret
from neuroport.frontends.nir.quantizing import quantize_network
from neuroport.frontends.nir.reading import Network
from neuroport.frontends.torch.forward_pass import Followed, follow
from neuroport.frontends.torch.network_builder import FRAMES
from neuroport.frontends.torch.numeric_check import check
from neuroport.frontends.torch.traced_tensor import STATIC
from neuroport.netx.stock import input_of
from neuroport.quantization import QuantizationWarning
from neuroport.quantization.weight_levels import few_levels

if TYPE_CHECKING:
    from torch import nn

SAMPLES = 8  # of the frames, on which potentials are measured


@dataclass(frozen=True, eq=False)
class TorchImport(NirImport):
    """A network of a library in integers.

    Attributes:
        network: the same in real numbers, which ``interpret`` runs.
        scale: the real value of an integer frame of 1.
        way: how its forward is called: ``TN`` with all steps, ``NT`` with samples first, ``step``
            for each step, ``static`` with one picture for all steps.
    """

    network: Network
    scale: float
    way: str

    def real(self, frames: npt.NDArray[Any]) -> Signals:
        """What neurons and outputs are in real numbers, for frames (T, N, *shape)."""
        return interpret(self.network, {FRAMES: np.asarray(frames) * self.scale}, 1.0)


@takes(net=is_module, frames=as_array)
def import_torch(
    net: nn.Module,
    frames: npt.ArrayLike,
    *,
    scale: float = 1.0,
    one_unit: bool = False,
    batch_first: bool = False,
    measure: bool = True,
) -> TorchImport:
    """Read a network of snnTorch or SpikingJelly, bring it into integers, and run both.

    The network stays as it is. It is called as its users call it: with all steps at once, with one
    after the other, or with one picture that it repeats itself; whichever its neurons take.

    Args:
        net: the module.
        frames: integers (T, N, *shape), spikes or graded. They say how long a sample is and how
            large its numbers are; of a network that repeats one picture they are it, T times.
        scale: the real value of an integer frame of 1, such as 1/255 of pixels.
        one_unit: one unit of current for all channels of a population, so that equal thresholds
            stay equal, as chips need them; weights of small channels are coarser.
        batch_first: forward takes (N, T, *shape).
        measure: run both networks on the frames.

    Raises:
        CaptureError: what has no integers, by its name or line, with what to change.
        FramesError: frames that do not fit.
    """
    from neuroport.capture.forward import unwrapped

    net = unwrapped(net)
    whole = _frames(frames)
    if not np.isfinite(scale) or scale <= 0:
        raise FramesError(f"scale is {scale!r}; give the real value of an integer frame of 1")
    found = follow(net, tuple(whole.shape[2:]), len(whole), batch_first)
    if found.way == STATIC and not (whole == whole[:1]).all():
        raise FramesError(
            f"{type(net).__name__} takes one picture for all its {found.steps} steps, and the "
            "frames differ between steps; give np.repeat(pictures[None], T, 0)"
        )
    few = whole[:, :SAMPLES]
    check(found, few * scale)
    network = _network(found, type(net).__name__)
    node = input_of(whole, FRAMES)
    if node is None or node.bits > 23:
        raise FramesError(f"frames span {whole.min()}..{whole.max()}; messages have 23 bits")
    shown = whole if measure else few
    real = interpret(network, {FRAMES: shown * scale}, 1.0)
    quiet = network.of_kind("Potential", "Output")
    potentials = {n.name: float(np.abs(real[n.name]).max(initial=0)) for n in quiet}
    made = quantize_network(network, 1.0, node, scale, found.steps, potentials, one_unit)
    coarse = few_levels(made.graph)
    if coarse is not None:
        warnings.warn(coarse, QuantizationWarning, stacklevel=3)
    told: NirCost | None = cost(network, made, real, whole) if measure else None
    return TorchImport(made.graph, whole, made.records, told, made, network, scale, found.way)


def _frames(frames: Any) -> npt.NDArray[Any]:
    array = frames.detach().cpu().numpy() if hasattr(frames, "detach") else np.asarray(frames)
    if array.ndim < 3 or not array.size:
        raise FramesError(f"frames are {array.shape}; give (T, N, *shape)")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise FramesError("frames hold NaN or infinity")
        if not (array == np.rint(array)).all():
            raise FramesError(
                "frames are no whole numbers, and integers reach the first synapse: give whole "
                "numbers, and in scale the real value of 1, such as frames * 255 rounded and "
                "scale=1/255"
            )
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise FramesError(f"frames are {array.dtype}; give integers")
    return array.astype(np.int64) if array.dtype.kind == "b" else array


def _network(found: Followed, where: str) -> Network:
    """With an Output for everything that forward returns."""
    names = {}
    for index, node in enumerate(found.outputs):
        taken = "output" if index == 0 else f"output{index + 1}"
        while taken in found.building.nodes:
            taken += "~"
        names[taken] = node
    network = found.building.network(names, where)
    if all(n.kind not in ("Neuron", "Potential") for n in network.nodes.values()):
        raise CaptureError(f"{where} has no neurons")
    return network
