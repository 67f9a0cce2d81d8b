"""Import a ``.nir`` file, or a graph of the package ``nir``, as a graph of integers."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroport import hdf5
from neuroport.arguments import is_flag, takes
from neuroport.capture.frontend import front_end
from neuroport.errors import FormatError, FramesError, NeuroportWarning
from neuroport.frontends.nir.cost import NirCost, cost
from neuroport.frontends.nir.interpreter import RESETS, Signals, check_frames, interpret
from neuroport.frontends.nir.quantized_parts import Quantized, Record
from neuroport.frontends.nir.quantizing import input_shape, quantize_network
from neuroport.frontends.nir.reading import FIRING, Network, read
from neuroport.frontends.nir.stored_integers import stored_graph
from neuroport.graph.graph import Graph
from neuroport.graph.node import Input
from neuroport.netx.stock import input_of
from neuroport.runs.frames import check_frames as check_frames_of_graph

if TYPE_CHECKING:
    from neuroport.training.trainable import Trainable

Frames = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class NirImport:
    """A NIR network in integers.

    Attributes:
        graph: the integers.
        frames: frames for ``graph``, (T, N, *shape): those of all inputs joined.
        records: what every NIR node became.
        cost: the loss of quantization on the frames; None if the file held the integers.
        quantized: where in the graph the values of each node are, and their units; None if the
            file held the integers.
    """

    graph: Graph
    frames: npt.NDArray[Any] | None
    records: tuple[Record, ...]
    cost: NirCost | None
    quantized: Quantized | None

    def table(self) -> str:
        """Return one line per NIR node."""
        width = max(len(record.source) for record in self.records)
        kinds = max(len(record.kind) for record in self.records)
        return "\n".join(
            f"{told.source:{width}}  {told.kind:{kinds}}  -> "
            f"{', '.join(told.targets) or 'nothing'}: {told.what}"
            for told in self.records
        )

    def trainable(self, surrogate: str = "arctan", device: str = "cpu") -> Trainable:
        """Return a torch module that trains further; see :func:`neuroport.trainable`."""
        from neuroport.training.trainable import trainable

        units = None if self.quantized is None else self.quantized.unit
        return trainable(self.graph, units, surrogate, device)


def from_nir(
    source: str | os.PathLike[str] | Any,
    *,
    dt: float | None = None,
    frames: Frames | None = None,
    scale: float = 1.0,
    integers: bool = True,
    reset: str = "v_reset",
    one_unit: bool = False,
) -> Graph:
    """Return the graph of integers of a NIR network; :func:`import_nir` also returns the cost."""
    return front_end("nir").quantize(
        source,
        frames,
        dt=dt,
        scale=scale,
        integers=integers,
        reset=reset,
        one_unit=one_unit,
    )


@takes(integers=is_flag, one_unit=is_flag, measure=is_flag)
def import_nir(
    source: str | os.PathLike[str] | Any,
    *,
    dt: float | None = None,
    frames: Frames | None = None,
    scale: float = 1.0,
    integers: bool = True,
    reset: str = "v_reset",
    one_unit: bool = False,
    measure: bool = True,
) -> NirImport:
    """Import a NIR network: read it, quantize it, and run both networks.

    Args:
        source: path of a ``.nir`` file, or a ``nir.NIRGraph``.
        dt: duration of a step in seconds; needed unless the metadata states it (``dt`` of the graph
            or its nodes). Not for neuroport's own integers, which have steps.
        frames: integers (T, N, *shape), spikes or graded; for several inputs a dictionary by name.
            They determine the length of a sample and the size of messages.
        scale: the real value of an integer frame of 1, such as 1/255 for pixels.
        integers: use neuroport's own integers if the metadata holds them (:func:`to_nir`).
        reset: how the tool that trained the network resets: ``v_reset``, as NIR states, or
            ``subtract``, which subtracts the threshold; such neurons run on the CPU only.
        one_unit: use one unit of current for all channels of a population, so that equal thresholds
            stay equal, which chips need; weights of small channels are then coarser.
        measure: run both networks on the frames.

    Raises:
        StorageError: there is no such file.
        FormatError: the file is not NIR, ``dt`` is missing, or a node has no integer form; the
            error names the nearest alternative.
        FramesError: the frames do not fit.

    Warns:
        NeuroportWarning: the given ``dt`` differs from the metadata's.
    """
    return imported(
        read(source),
        dt=dt,
        frames=frames,
        scale=scale,
        integers=integers,
        reset=reset,
        one_unit=one_unit,
        measure=measure,
    )


def imported(
    network: Network,
    *,
    dt: float | None = None,
    frames: Frames | None = None,
    scale: float = 1.0,
    integers: bool = True,
    reset: str = "v_reset",
    one_unit: bool = False,
    measure: bool = True,
) -> NirImport:
    """Import a NIR network that was read; see :func:`import_nir`."""
    scale = real_scale(scale)
    _check_dt(dt)
    if integers and network.integers is not None:
        given_too = dt is not None or scale != 1 or one_unit or reset != "v_reset"
        if given_too or isinstance(frames, Mapping):
            raise FramesError(
                f"{network.where}: holds integers, which take frames of one input, as they are; "
                "leave dt, scale, one_unit and reset out, or have it quantized again "
                "(integers=False, --no-integers)"
            )
        graph, records = stored_graph(network)
        whole = None if frames is None else np.asarray(frames)
        if whole is not None:
            check_frames_of_graph(graph, whole)
        return NirImport(graph, whole, records, None, None)
    _check_reset(network, reset)
    step = _dt(network, dt)
    given = _given(network, frames)
    node, whole = _joined(network, given)
    real = _real(network, given, step, scale, reset)
    quiet = [n for n in network.nodes.values() if n.kind in ("I", "LI", "CubaLI", "Output")]
    potentials = {n.name: float(np.abs(real[n.name]).max()) for n in quiet}
    made = quantize_network(
        network, step, node, scale, len(whole), potentials, one_unit, reset == "subtract"
    )
    told = cost(network, made, real, whole) if measure else None
    return NirImport(made.graph, whole, made.records, told, made)


def real_scale(scale: object) -> float:
    """Return a number of Python, NumPy or torch as a float, if it is finite and above 0."""
    number = scale.item() if getattr(scale, "ndim", None) == 0 else scale  # type: ignore[attr-defined]
    if isinstance(number, Real) and not isinstance(number, bool):
        with contextlib.suppress(OverflowError):
            if 0 < float(number) < math.inf:
                return float(number)
    raise FramesError(
        f"scale is {hdf5.short(scale)}; give the real value of an integer frame of 1, a number "
        "above 0, such as 1/255"
    )


def _check_reset(network: Network, reset: str) -> None:
    if not isinstance(reset, str) or reset not in RESETS:
        raise FormatError(f"reset is {reset!r}; use {' or '.join(RESETS)}")
    for node in network.of_kind(*FIRING):
        if reset == "subtract" and np.any(node.values.get("v_reset", 0.0)):
            raise FormatError(
                f"{network.where}: {node.name}: its v_reset is not 0, and a reset that subtracts "
                "the threshold knows none; leave reset out, or write v_reset 0"
            )


def _check_dt(dt: object) -> None:
    if dt is None:
        return
    number = isinstance(dt, (int, float, np.number)) and not isinstance(dt, bool)
    if not number or not 0 < dt < math.inf:  # type: ignore[operator]
        raise FormatError(f"dt is {hdf5.short(dt)}; give the seconds of a step, a number above 0")


def _dt(network: Network, dt: float | None) -> float:
    if dt is not None:
        if network.dt is not None and not np.isclose(network.dt, dt, rtol=1e-6):
            warnings.warn(
                f"{network.where}: its metadata state steps of {network.dt:g} s, yours of {dt:g} s "
                "are taken",
                NeuroportWarning,
                stacklevel=5,
            )
        return float(dt)
    if network.dt is not None:
        return network.dt
    if not network.timed:
        return 1.0
    node = network.timed[0]
    times = [key for key in ("tau", "tau_mem", "delay") if key in node.values]
    shown = f" ({times[0]} {node.values[times[0]].flat[0]:g} s)" if times else ""
    raise FormatError(
        f"{network.where}: does not say how long a step is, and {node.name}{shown} depends on "
        "it; give dt in seconds (--dt), that of the tool that wrote it: snnTorch and SpikingJelly "
        "write for 1e-4, Norse for 1e-3, sinabs for 1"
    )


def _given(network: Network, frames: Frames | None) -> dict[str, npt.NDArray[Any]]:
    inputs = network.of_kind("Input")
    if frames is None:
        shapes = ", ".join(f"{n.name} {('T', 'N', *n.shape)}" for n in inputs).replace("'", "")
        raise FramesError(
            f"{network.where}: give frames, integers (T, N, *shape): they say how long a sample is "
            f"and how large its numbers are; inputs: {shapes}"
        )
    if not isinstance(frames, Mapping):
        if len(inputs) != 1:
            names = ", ".join(node.name for node in inputs)
            raise FramesError(f"several inputs; give a dictionary of frames, of {names}")
        frames = {inputs[0].name: frames}
    found = {str(name): np.asarray(array) for name, array in frames.items()}
    for node in inputs:  # (T, N, C, 1, L) of maps (C, L), as the graph has them
        array = found.get(node.name)
        if array is not None and array.ndim == 5 and len(node.shape) == 2 and array.shape[3] == 1:
            found[node.name] = array[:, :, :, 0]
    check_frames(network, found)
    for name, array in found.items():
        if array.dtype.kind not in "biu":
            raise FramesError(
                f"frames of {name} are {array.dtype}; integers reach the first synapse: give whole "
                "numbers, and in scale the real value of 1, such as frames * 255 rounded and "
                "scale=1/255"
            )
    return found


def _joined(
    network: Network, frames: Mapping[str, npt.NDArray[Any]]
) -> tuple[Input, npt.NDArray[Any]]:
    """Return the single input of the graph, and its frames."""
    inputs = network.of_kind("Input")
    shape = input_shape(network)
    parts = []
    for node in inputs:
        array = frames[node.name]
        lead = array.shape[:2]
        maps = (*lead, -1, *shape[1:]) if len(shape) == 3 else (*lead, -1)
        parts.append(array.reshape(maps).astype(np.int64))
    whole = np.concatenate(parts, axis=2)
    name = inputs[0].name if len(inputs) == 1 else "input"
    taken = {node.name for node in network.nodes.values() if node.kind != "Input"}
    while name in taken:
        name += "~"
    found = input_of(whole, name)
    low = min(int(frames[node.name].min()) for node in inputs)  # uint64 does not fit into int64
    high = max(int(frames[node.name].max()) for node in inputs)
    if found is None or found.bits > 23 or high > np.iinfo(np.int64).max:
        raise FramesError(f"frames span {low}..{high}; messages have 23 bits")
    return found, whole


def _real(
    network: Network,
    frames: Mapping[str, npt.NDArray[Any]],
    dt: float,
    scale: float,
    reset: str,
) -> Signals:
    scaled = {name: array * scale for name, array in frames.items()}
    return interpret(network, scaled, dt, reset=reset)
