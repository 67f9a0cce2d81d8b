"""Build Lava processes from a lowered graph, one per node unless fused.

Imported by the worker only.

Neurons are stock processes of Lava: a relay that rounds is its ``ProdNeuron``, a readout its
``LIFReset`` whose voltage is recorded. Neurons that Lava lacks, or has without a reset between
samples, are in :mod:`~neuroport.backends.lava_cpu.processes`.

Every population is flat in channel-major order, so that a raster is the graph's own. Convolutions
become ``Sparse`` processes: bit-equal to ``Conv``, which Lava computes channel by channel in
Python, and many times faster on the CPU. Delays within a sample and late synapses are neuroport's
own
processes: Lava's ``DelayDense`` carries delayed messages into the next sample, and its
``DelaySparse`` rebuilds its matrix at every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.proc.dense.process import Dense as DenseProcess
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix

from neuroport.backends.lava_cpu.fused_build import fuse, join
from neuroport.backends.lava_cpu.fused_partition import Group, held
from neuroport.backends.lava_cpu.processes.fixed_pt import (
    DelayLine,
    FrameSource,
    LateSynapse,
)
from neuroport.backends.lava_cpu.processes.neurons import (
    DeltaReset,
    OwnSynapse,
    ResonatorIzhikevichReset,
    ResonatorReset,
    SigmaDeltaReset,
    SigmaReset,
)
from neuroport.backends.lava_cpu.processes.stepped import SteppedReset
from neuroport.backends.lava_cpu.run_config import declare
from neuroport.backends.lava_cpu.stock_relays import Constants
from neuroport.backends.lava_cpu.weight_products import conv_matrix
from neuroport.graph.declared_widths import Window, window_of
from neuroport.graph.graph import Graph
from neuroport.graph.integers import THRESHOLD_MAX, WEIGHT_MAX
from neuroport.graph.node import (
    Conv,
    Delay,
    Delta,
    Dense,
    Input,
    IntArray,
    Lif,
    Node,
    Population,
    Readout,
    Recurrent,
    Relay,
    ResonateFire,
    Shape,
    Sigma,
    SigmaDelta,
    Synapse,
    per_neuron,
)
from neuroport.lowering.unique_inputs import each_once

MESSAGE_BITS = 24  # graded path of Lava's connections; payloads 0 and 1 are spikes


def build(
    graph: Graph, frames_path: str, fused: bool = False, samples: int | None = None
) -> dict[str, Any]:
    """Create and connect the Lava processes of ``graph``; return them by node name.

    Constants of relays that round are further processes with their own names. With ``fused``, one
    process of neuroport holds the populations and synapses that
    :mod:`~neuroport.backends.lava_cpu.fused_partition` selects; all others are built as usual.
    Declared widths are checked only during the first ``samples`` samples.
    """
    graph = each_once(graph)
    processes: dict[str, Any] = {}
    group = held(graph) if fused else Group()
    apart = [node for node in graph if node.name not in group.synapses + group.populations]
    constants = Constants()
    for node in apart:
        processes[node.name] = _process(node, graph, frames_path, constants, samples)
    if group.populations:
        processes |= fuse(graph, group, samples)
        join(graph, group, processes)
    for node in apart:
        _connect(node, processes)
    return {f"({name})": process for process, name in constants.names.items()} | processes


def _connect(node: Node, processes: dict[str, Any]) -> None:
    """Connect the sources of a node."""
    process = processes[node.name]
    for name in node.inputs:
        if isinstance(node, (Conv, Dense, Delay)):
            outlet, inlet = processes[name].s_out, process.s_in
        else:
            outlet, inlet = processes[name].a_out, process.a_in
        outlet.connect(inlet)


def _process(
    node: Node, graph: Graph, frames_path: str, constants: Constants, samples: int | None
) -> Any:
    limit = graph.checked.get(node.name)
    if limit is None:
        return _unchecked(node, graph, frames_path, constants)
    window = window_of(graph, node.name, samples)
    match node:
        case Lif() | Recurrent() | Readout():
            process = _unchecked(node, graph, frames_path, constants)
            declare(process, node.name, limit, window)
            return process
        case Population():
            return _stepped(node, graph, window, limit)
    raise TypeError(f"{node.name}: a {node.kind} has no widths to check")


def _stepped(node: Population, graph: Graph, window: Window, limit: int | None = None) -> Any:
    arriving, shape = graph.facts(node.inputs[0]).shape, graph.facts(node.name).shape
    return SteppedReset(node=node, arriving=arriving, shape=shape, window=window, limit=limit)


def _unchecked(node: Node, graph: Graph, frames_path: str, constants: Constants) -> Any:
    facts = graph.facts(node.name)
    size = int(np.prod(facts.shape))
    # Lava counts steps from 1
    start = {"interval": graph.interval, "offset": (facts.input_latencies or (0,))[0] + 1}
    match node:
        case Input():
            return FrameSource(path=frames_path, size=size)
        case Conv() | Dense():
            return _synapse(node, graph.facts(node.inputs[0]).shape, facts.shape, start)
        case Delay():
            return DelayLine(size=size, delay=node.steps, **start)
        case Relay():
            return constants.relay(node.name, (size,), node.shift, node.threshold)
        case Lif():
            return _lif(node, facts.shape, start)
        case Recurrent():
            lif = _lif(node, facts.shape, start)
            weights = np.array(node.weight, np.int32)
            own = OwnSynapse(weights=weights, **_mode(node.weight), **start)
            lif.s_out.connect(own.s_in)
            own.a_out.connect(lif.a_in)
            return lif
        case Delta():
            return DeltaReset(shape=(size,), vth=node.threshold, **_exponents(node), **start)
        case SigmaDelta():
            bias = _each(node.bias, facts.shape)
            return SigmaDeltaReset(
                shape=(size,), vth=node.threshold, bias=bias, **_exponents(node), **start
            )
        case Sigma():
            return SigmaReset(shape=(size,), **start)
        case ResonateFire():
            kind = ResonatorIzhikevichReset if node.izhikevich else ResonatorReset
            sin, cos = (_each(part, facts.shape) for part in (node.sin, node.cos))
            return kind(size=size, threshold=node.threshold, sin=sin, cos=cos, **start)
        case Readout():
            return _readout(node, facts.shape, start)
        case Population():  # Lava has none
            return _stepped(node, graph, window_of(graph, node.name))
    raise TypeError(f"{node.name}: Lava has no process for a {node.kind}")


def _lif(node: Lif | Recurrent, shape: Shape, start: dict[str, int]) -> Any:
    return LIFReset(
        shape=(int(np.prod(shape)),),
        du=_uniform(node.current_decay, shape) - 1,  # Lava adds the one back
        dv=_uniform(node.voltage_decay, shape),
        vth=_uniform(node.threshold, shape),
        bias_mant=_each(node.bias, shape),
        bias_exp=6,
        reset_interval=start["interval"],
        reset_offset=start["offset"],
    )


def _readout(node: Readout, shape: Shape, start: dict[str, int]) -> Any:
    """Build a neuron that integrates and never fires; its voltage is read."""
    return LIFReset(
        shape=(int(np.prod(shape)),),
        du=4095,  # the current decays fully in one step
        dv=0,
        vth=THRESHOLD_MAX + 1,  # larger than any voltage; a chip's field ends one below
        bias_mant=_each(node.bias, shape),
        bias_exp=6,
        reset_interval=start["interval"],
        reset_offset=start["offset"],
    )


def _exponents(node: Delta | SigmaDelta) -> dict[str, int]:
    return {"spike_exp": node.spike_exponent, "state_exp": node.state_exponent}


def _synapse(node: Synapse, source: Shape, target: Shape, start: dict[str, int]) -> Any:
    matrix = None
    match node:
        case Conv():
            matrix = conv_matrix(node.kernel, source, target)
    if node.delays:
        parts = (
            [(d, csr_matrix(weight, dtype=np.int32)) for d, weight in node.by_delay()]
            if matrix is None
            else [(0, matrix)]
        )
        return LateSynapse(parts=parts, exponent=node.exponent, lag=node.lag, **start)
    fields = {"weight_exp": node.exponent, **_mode(node.weight)}
    if matrix is not None:
        return Sparse(weights=matrix, **fields)
    return DenseProcess(weights=np.array(node.weight, np.int32), **fields)


def _mode(weight: IntArray) -> dict[str, Any]:
    """Return arguments with which Lava's connection uses the integers unchanged."""
    return {"num_message_bits": MESSAGE_BITS, "sign_mode": sign_mode(weight)}


def sign_mode(weight: IntArray) -> SignMode:
    """Return the sign mode with which Lava's connection uses the weights unchanged.

    Without an explicit mode Lava infers one and rescales. Mixed mode drops odd bits, so weights of
    one sign use the mode that keeps all eight bits.
    """
    if not np.any(weight & 1) and np.abs(weight).max() <= WEIGHT_MAX:
        return SignMode.MIXED
    return SignMode.EXCITATORY if weight.min() >= 0 else SignMode.INHIBITORY


def _each(values: IntArray, shape: Shape) -> IntArray:
    return np.ascontiguousarray(per_neuron(values, shape)).reshape(-1)


def _uniform(values: IntArray, shape: Shape) -> Any:
    """Return one number if all are equal, otherwise one per neuron."""
    return int(values[0]) if values.size == 1 else _each(values, shape)
