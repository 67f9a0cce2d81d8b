"""Counters: populations that count what another population sends. Imported by the worker only.

A counter of spikes consists of Lava's own processes, as on a chip: a synapse of weight 1
(``Sparse``; from several neurons if they share a counter) and a ``LIFReset`` that neither decays
nor fires. A spike adds ``1 << 6`` to its voltage, which therefore holds up to 131,071 spikes
exactly; one more would exceed the largest threshold. The synapse takes a step, so a sample's window
at the counter begins ``latency + 1`` steps after its first frame. Each engine reads the voltage in
its own way; this one uses
:class:`~neuroport.backends.lava_cpu.processes.counting.CountReader`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix

from neuroport.backends.lava_cpu.processes.counting import CountReader, MessageCounter
from neuroport.graph.graph import Graph
from neuroport.graph.integers import STATE_SHIFT
from neuroport.runs.recording import LIF_COUNT_MAX, counters
from neuroport.runs.trace import is_spiking


@dataclass(frozen=True)
class Counter:
    """The counters of one population.

    Attributes:
        process: the Lava process that holds them.
        state: its variable, one element per counter; a count is ``state >> shift``.
        size: number of counters.
        read_at: time step (Lava's, from 1) after which the first sample is counted; every later
            sample is ``interval`` steps later. The state must be read before the step after that.
    """

    process: Any
    state: Any
    size: int
    shift: int
    read_at: int


def count_spikes(
    graph: Graph,
    name: str,
    outlet: Any,
    granularity: str,
    *,
    columns: npt.NDArray[np.int64] | None = None,
    late: int = 0,
) -> Counter:
    """Count the spikes of ``outlet``, flat, with Lava's own processes only.

    ``columns`` maps positions of the outlet to neurons in channel-major order, if these differ.
    ``late`` is the number of steps by which the complete network is delayed.
    """
    facts = graph.facts(name)
    size = int(np.prod(facts.shape))
    number = int(np.prod(counters(facts.shape, granularity)))
    first = facts.latency + 2 + late  # Lava counts steps from 1, and the synapse takes one
    weights = pooling(size, number)
    synapse = Sparse(
        weights=weights if columns is None else weights[:, columns],
        sign_mode=SignMode.EXCITATORY,  # mixed signs would drop the odd bit
    )
    lif = accumulator(number, graph.interval, first)
    outlet.connect(synapse.s_in)
    synapse.a_out.connect(lif.a_in)
    return Counter(lif, lif.v, number, STATE_SHIFT, first + graph.steps - 1)


def accumulator(number: int, interval: int, offset: int) -> LIFReset:
    """Build neurons that add up their input, from 0 at steps ``offset + n * interval``."""
    return LIFReset(
        shape=(number,),
        du=4095,  # the current is gone after a step
        dv=0,
        vth=LIF_COUNT_MAX,
        reset_interval=interval,
        reset_offset=offset,
    )


def count_messages(graph: Graph, name: str, process: Any, granularity: str) -> Counter:
    """Count graded messages, on the CPU only, with neuroport's own process and no synapse."""
    facts = graph.facts(name)
    number = int(np.prod(counters(facts.shape, granularity)))
    first = facts.latency + 1
    own = MessageCounter(
        size=int(np.prod(facts.shape)), counters=number, interval=graph.interval, offset=first
    )
    process.s_out.connect(own.a_in)
    return Counter(own, own.v, number, 0, first + graph.steps - 1)


def count(graph: Graph, name: str, process: Any, granularity: str) -> Counter:
    """Count the messages of a population, spikes or graded."""
    if is_spiking(graph[name].kind):
        return count_spikes(graph, name, process.s_out, granularity)
    return count_messages(graph, name, process, granularity)


def reader(counter: Counter, path: str, interval: int) -> Any:
    """Build the process that writes the counts of sample n to row n of an array file."""
    found = CountReader(
        path=path,
        size=counter.size,
        first=counter.read_at,
        interval=interval,
        shift=counter.shift,
    )
    found.state.connect_var(counter.state)
    return found


def pooling(size: int, number: int) -> csr_matrix:
    """Return weights (counters, neurons): 1 where a neuron (channel-major order) has a counter."""
    rows = np.repeat(np.arange(number), size // number)
    return csr_matrix((np.ones(size, np.int32), (rows, np.arange(size))), shape=(number, size))
