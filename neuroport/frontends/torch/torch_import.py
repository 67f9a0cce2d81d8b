"""Import a module of snnTorch or SpikingJelly as a graph of integers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroport.arguments import as_array, is_flag, is_module, takes
from neuroport.errors import CaptureError, FramesError
from neuroport.frontends.nir.cost import NirCost, cost
from neuroport.frontends.nir.importing import NirImport, real_scale
from neuroport.frontends.nir.interpreter import Signals, interpret
from neuroport.frontends.nir.quantized_parts import Quantized
from neuroport.frontends.nir.quantizing import quantize_network
from neuroport.frontends.nir.reading import Network
from neuroport.frontends.torch.forward_pass import Followed, follow
from neuroport.frontends.torch.network_builder import FRAMES
from neuroport.frontends.torch.numeric_check import check
from neuroport.frontends.torch.traced_tensor import STATIC
from neuroport.graph import integers
from neuroport.netx.stock import input_of
from neuroport.quantization import QuantizationWarning
from neuroport.quantization.weight_levels import few_levels

if TYPE_CHECKING:
    from torch import nn

SAMPLES = 8  # number of samples on which potentials are measured
FEW_UNITS = 64  # of a threshold, below which rounding is told


@dataclass(frozen=True, eq=False)
class TorchImport(NirImport):
    """A network of a library in integers.

    Attributes:
        network: the network in real numbers, which ``interpret`` runs.
        scale: the real value of an integer frame of 1.
        way: how its forward is called: ``TN`` with all steps, ``NT`` with samples first, ``step``
            step by step, ``static`` with one picture for all steps.
    """

    network: Network
    scale: float
    way: str

    def real(self, frames: npt.NDArray[Any]) -> Signals:
        """Return the real values of neurons and outputs for frames (T, N, *shape)."""
        return interpret(self.network, {FRAMES: np.asarray(frames) * self.scale}, 1.0)


@takes(
    net=is_module,
    frames=as_array,
    one_unit=is_flag,
    batch_first=is_flag,
    measure=is_flag,
)
def import_torch(
    net: nn.Module,
    frames: npt.ArrayLike,
    *,
    scale: float = 1.0,
    one_unit: bool = False,
    batch_first: bool = False,
    measure: bool = True,
) -> TorchImport:
    """Import a network of snnTorch or SpikingJelly: capture it, quantize it, and run both.

    The network is not changed. It is called as its users call it: with all steps at once, step by
    step, or with one picture that it repeats itself, depending on its neurons.

    Args:
        net: the module.
        frames: integers (T, N, *shape), spikes or graded. They determine the length of a sample and
            the range of its numbers. For a network that repeats one picture, repeat it T times.
        scale: the real value of an integer frame of 1, such as 1/255 for pixels.
        one_unit: use one unit of current for all channels of a population, so that equal thresholds
            stay equal, which chips need; weights of small channels are then coarser.
        batch_first: whether forward takes (N, T, *shape).
        measure: run both networks on the frames.

    Raises:
        CaptureError: a part has no integer form; the error names it or its line, and what to
            change.
        FramesError: the frames do not fit.
    """
    from neuroport.capture.forward import unwrapped

    net = unwrapped(net)
    _check_module(net)
    whole = _frames(frames)
    scale = real_scale(scale)
    found = follow(net, tuple(whole.shape[2:]), len(whole), batch_first)
    if found.way == STATIC and not (whole == whole[:1]).all():
        raise FramesError(
            f"{type(net).__name__} takes one picture for all its {found.steps} steps, and the "
            "frames differ between steps; give np.repeat(pictures[None], T, 0)"
        )
    few = whole[:, :SAMPLES]
    check(found, few * scale)
    network = _network(found, type(net).__name__)
    said = _left(found, network, type(net).__name__)
    if said:
        warnings.warn(said, QuantizationWarning, stacklevel=3)
    node = input_of(whole, FRAMES)
    if node is None or node.bits > 23:
        raise FramesError(f"frames span {whole.min()}..{whole.max()}; messages have 23 bits")
    shown = whole if measure else few
    real = interpret(network, {FRAMES: shown * scale}, 1.0)
    quiet = network.of_kind("Potential", "Output")
    potentials = {n.name: float(np.abs(real[n.name]).max(initial=0)) for n in quiet}
    made = quantize_network(network, 1.0, node, scale, found.steps, potentials, one_unit)
    for coarse in (few_levels(made.graph), _few_units(made)):
        if coarse is not None:
            warnings.warn(coarse, QuantizationWarning, stacklevel=3)
    told: NirCost | None = cost(network, made, real, whole) if measure else None
    return TorchImport(made.graph, whole, made.records, told, made, network, scale, found.way)


def _left(found: Followed, network: Network, name: str) -> str:
    """What the graph does not hold of what forward returns; empty where nothing."""
    if found.said:
        ends = ", ".join(node.name for node in network.of_kind("Output"))
        return (
            f"{name}.forward {found.said[0]}; the graph ends before that, with {ends}: compute it "
            "of what they send"
        )
    sources = [node.inputs for node in network.of_kind("Output")]
    sender = found.building.sender(sources[0][0])
    adds = sender.kind in ("Neuron", "Threshold", "Potential")
    if len(sources) == 1 and not adds:
        return (
            f"the graph of {name} ends with a current for each step, and the class of a run is "
            "that of the last one; let forward return their mean or sum over the steps, such as "
            "currents.mean(0), or add up what output sends"
        )
    return ""


def _few_units(made: Quantized) -> str | None:
    """Name the population whose threshold has the fewest units of current, if these are few."""
    if not made.rounded_thresholds:
        return None
    name = min(made.rounded_thresholds, key=made.rounded_thresholds.__getitem__)
    units = made.rounded_thresholds[name]
    if units >= FEW_UNITS:
        return None
    node = made.graph[name]
    subtracted = float(np.max(getattr(node, "subtract", 0))) / (1 << integers.STATE_SHIFT)
    cause = (
        f"it subtracts {subtracted / max(units, 1):.0f} thresholds at a spike, of which its leak "
        "leaves one, and that is the largest number that fits: a larger beta or "
        "reset_mechanism='zero' makes the unit finer"
        if subtracted > integers.CURRENT_MAX / 4
        else "its largest sum of weights or bias must fit the same units: smaller ones of them "
        "(weight decay), or a higher threshold, make the unit finer"
    )
    return (
        f"neuron {name!r} has a threshold of {units} units of current, and what it receives "
        f"is rounded to such units, so that spikes may change (.cost says how many); {cause}"
    )


def _check_module(net: nn.Module) -> None:
    """Refuse what is no module whose lines can be followed, or without numbers of float32."""
    import torch

    name = type(net).__name__
    for path, module in net.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"{name}.{path}" if path else name
            raise CaptureError(f"{what} is TorchScript; give the module that it was made of")
    for path, tensor in (*net.named_parameters(), *net.named_buffers()):
        what = f"{name}.{path}"
        if torch.nn.parameter.is_lazy(tensor):
            raise CaptureError(
                f"{what} is not made yet, as its lazy module learns its shape from what it first "
                f"reads; call {name} once with real frames and train it, or load its weights"
            )
        if tensor.is_meta:
            raise CaptureError(
                f"{what} is on the device meta, which holds no numbers; make {name} on the CPU "
                "(net.to_empty(device='cpu')) and load its weights"
            )
        if tensor.layout != torch.strided:
            raise CaptureError(f"{what} is sparse; give the same weights as tensor.to_dense()")
    others = {p.dtype for p in net.parameters() if p.dtype != torch.float32}
    if others:
        said = ", ".join(sorted(str(dtype) for dtype in others))
        raise CaptureError(f"{name} has parameters of {said}; give net.float()")


def _frames(frames: Any) -> npt.NDArray[Any]:
    array = frames.detach().cpu().numpy() if hasattr(frames, "detach") else np.asarray(frames)
    if array.ndim < 3 or not array.size:
        raise FramesError(f"frames are {array.shape}; give (T, N, *shape)")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise FramesError("frames hold NaN or infinity")
        if not (array == np.rint(array)).all():
            raise FramesError(
                "frames are not whole numbers, and integers reach the first synapse: give whole "
                "numbers, and in scale the real value of 1, such as frames * 255 rounded and "
                "scale=1/255"
            )
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise FramesError(f"frames are {array.dtype}; give integers")
    return array.astype(np.int64) if array.dtype.kind == "b" else array


def _network(found: Followed, where: str) -> Network:
    """Return the network with an Output for each value that forward returns."""
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
