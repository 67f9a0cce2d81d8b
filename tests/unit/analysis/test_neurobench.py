"""NeuroBench's metrics against the package itself, on the same networks and frames."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from neuroport.analysis.energy import energy
from neuroport.analysis.neurobench import NeuroBench, bytes_of, footprint, neurobench
from neuroport.engines.reference import Reference
from neuroport.errors import CompareError
from neuroport.graph.graph import Graph
from neuroport.graph.node import (
    Conv,
    Dense,
    Input,
    Lif,
    Node,
    Readout,
    Recurrent,
    Relay,
    Synapse,
    is_array,
)
from neuroport.runs.trace import Trace

WHY = "neurobench is not installed; pip install 'neuroport[dev]'"
STEPS, SAMPLES, BATCH = 4, 6, 3


def weights(seed: int, *shape: int) -> np.ndarray:
    """Even weights, a third of them zero."""
    random = np.random.default_rng(seed)
    return random.integers(-4, 6, shape) * 2 * (random.random(shape) < 0.7)


def plain() -> list[Node]:
    """Two convolutions with borders, stride and leak, and classes; spikes everywhere."""
    return [
        Input("input", (2, 6, 6), bits=1),
        Conv("stem", ("input",), weights(0, 4, 2, 3, 3), padding=(1, 1)),
        Lif("first", ("stem",), threshold=5, voltage_decay=2048),
        Conv("conv", ("first",), weights(1, 4, 2, 3, 3), padding=(1, 1), stride=(2, 2), groups=2),
        Lif("second", ("conv",), threshold=9),
        Dense("classes", ("second",), weights(2, 3, 36)),
        Readout("out", ("classes",)),
    ]


def graded() -> list[Node]:
    """Pixels at the input, and a membrane shortcut that a relay projects."""
    return [
        Input("input", (1, 5, 5), bits=4),
        Conv("stem", ("input",), weights(3, 3, 1, 3, 3), padding=(1, 1)),
        Lif("first", ("stem",), threshold=40),
        Conv("main", ("first",), weights(4, 4, 3, 3, 3), padding=(1, 1), stride=(2, 2)),
        Relay("held", ("stem",)),
        Conv("project", ("held",), weights(5, 4, 3, 1, 1), stride=(2, 2)),
        Lif("last", ("main", "project"), threshold=200),
        Dense("classes", ("last",), weights(6, 3, 36)),
        Readout("out", ("classes",)),
    ]


def added() -> list[Node]:
    """Spikes of two populations that meet in one synapse."""
    return [
        Input("input", (2, 4, 4), bits=1),
        Conv("stem", ("input",), weights(7, 3, 2, 3, 3), padding=(1, 1)),
        Lif("one", ("stem",), threshold=3),
        Lif("two", ("stem",), threshold=7),
        Conv("both", ("one", "two"), weights(8, 2, 3, 3, 3), padding=(1, 1)),
        Lif("last", ("both",), threshold=6),
    ]


def ran(nodes: list[Node]) -> tuple[Graph, Trace, np.ndarray]:
    graph = Graph(nodes, STEPS)
    assert isinstance(nodes[0], Input)
    top, shape = 1 << nodes[0].bits, (STEPS, SAMPLES, *nodes[0].shape)
    random = np.random.default_rng(9)
    given = random.integers(0, top, shape) * (random.random(shape) < 0.4)
    return graph, Reference().run(graph, given), given


def module(graph: Graph) -> Any:
    """The same network as a torch module of snnTorch's neurons; float32 holds these integers."""
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleDict({n.name: made(n) for n in graph.nodes[1:]})

        def reset(self) -> None:
            """snnTorch's own finds no neuron inside a container, and samples would run on."""
            for part in self.parts.values():
                if isinstance(part, snntorch.Leaky):
                    part.reset_mem()

        def forward(self, frame: Any) -> Any:
            found = {graph.input.name: frame}
            for node in graph.nodes[1:]:
                arriving = sum(found[name] for name in node.inputs)
                found[node.name] = self.parts[node.name](arriving)
            return found[graph.nodes[-1].name], None

    def made(node: Node) -> Any:
        if isinstance(node, Conv):
            into = node.weight.shape[1] * node.groups
            layer: Any = torch.nn.Conv2d(
                into,
                len(node.weight),
                node.weight.shape[2:],
                node.stride,
                node.padding,
                node.dilation,
                node.groups,
                bias=False,
            )
        elif isinstance(node, Dense):
            layer = torch.nn.Linear(*reversed(node.weight.shape), bias=False)
        elif isinstance(node, Lif):
            beta, threshold = 1 - node.voltage_decay.item() / 4096, node.threshold.item()
            return snntorch.Leaky(
                beta, threshold, init_hidden=True, reset_mechanism="zero", reset_delay=False
            )
        else:
            return torch.nn.Identity()
        layer.weight.data = torch.from_numpy(node.weight.astype(np.float32))
        return layer if isinstance(node, Conv) else torch.nn.Sequential(torch.nn.Flatten(), layer)

    return Net()


def by_the_package(net: Any, given: np.ndarray) -> dict[str, Any]:
    """Every metric as the package prints it."""
    import torch
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics import static, workload
    from neurobench.models import SNNTorchModel

    frames = torch.from_numpy(given.astype(np.float32)).transpose(0, 1)  # (N, T, ...)
    data = torch.utils.data.TensorDataset(frames, torch.zeros(len(frames)))
    metrics = [
        [static.Footprint, static.ConnectionSparsity, static.ParameterCount],
        [workload.ActivationSparsity, workload.SynapticOperations, workload.MembraneUpdates],
    ]
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH)
    with torch.no_grad():
        return Benchmark(SNNTorchModel(net), loader, [], [], metrics).run(quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [plain, graded, added])
def test_every_metric_is_that_of_the_package(nodes: Any) -> None:
    pytest.importorskip("neurobench", reason=WHY)
    graph, trace, given = ran(nodes())
    ours, theirs = (
        neurobench(graph, trace, given, batch=BATCH),
        by_the_package(module(graph), given),
    )
    assert ours.synaptic_operations == theirs["SynapticOperations"]
    assert ours.synaptic_operations["Effective_ACs"] > 0
    assert any(trace[name].any() for name in trace.messages if name in ("last", "second"))
    assert ours.membrane_updates == theirs["MembraneUpdates"]
    assert ours.activation_sparsity == pytest.approx(theirs["ActivationSparsity"])
    assert round(ours.connection_sparsity, 4) == pytest.approx(theirs["ConnectionSparsity"])
    assert theirs["ParameterCount"] == sum(
        node.weight.size for node in graph if isinstance(node, Synapse)
    )


def test_the_footprint_is_that_of_a_module_of_the_same_bytes() -> None:
    pytest.importorskip("neurobench", reason=WHY)
    import torch
    from neurobench.metrics.static import Footprint

    graph = Graph(plain(), STEPS)
    stored = torch.nn.Module()
    types = {1: torch.int8, 2: torch.int16, 4: torch.int32}
    for node in graph:
        for item in fields(node):
            if is_array(item):
                shape = getattr(node, item.name).shape
                values = torch.zeros(shape, dtype=types[bytes_of(item.name)])
                stored.register_buffer(f"{node.name}_{item.name}", values)

    class Model:
        def __net__(self) -> Any:
            return stored

    assert footprint(graph) == Footprint()(Model())
    # 72 + 72 + 108 weights; of each neuron threshold 4, two decays 2 and 2, bias 2; of the readout
    # a bias; of the dense synapse a delay
    assert footprint(graph) == 72 + 72 + 108 + 2 * 10 + 2 + 1


def hand() -> tuple[Graph, Trace, np.ndarray]:
    """Two inputs, three neurons; see the comments of the test."""
    weight = np.array([[2, 0], [4, 6], [0, 8]])
    nodes: list[Node] = [
        Input("input", (2,), bits=2),
        Dense("dense", ("input",), weight),
        Lif("lif", ("dense",), threshold=7),
    ]
    graph, given = Graph(nodes, steps=3), np.array([[[1, 1]], [[0, 1]], [[2, 0]]])
    return graph, Reference().run(graph, given), given


def test_every_metric_of_a_network_counted_by_hand() -> None:
    found = neurobench(*hand())
    assert isinstance(found, NeuroBench)
    assert found.connection_sparsity == pytest.approx(2 / 6)
    # currents (2, 10, 8), (0, 6, 8), (4, 8, 0); above 7: 1 and 2; then 2; then 1 (6 + 8)
    assert found.activation_sparsity == pytest.approx(5 / 9)
    # steps 0 and 1 hold 0 and 1 only and count as accumulates; step 2 holds a 2
    assert found.synaptic_operations == {"Effective_ACs": 6, "Effective_MACs": 2, "Dense": 18}
    # potentials after resets: (2, 0, 0), (2, 6, 0), (6, 0, 0): 3 at first, then 1, then 2
    assert found.membrane_updates == 3 + 1 + 2
    assert found.footprint == 6 + 1 + 10


def test_what_a_sender_can_send_decides_in_the_exact_counts_and_what_it_sent_here() -> None:
    graph, trace, given = hand()
    exact = energy(graph, trace, given).work
    assert (exact.accumulates, exact.frame_multiplies) == (0, 8)
    graph, trace, given = ran(added())
    exact, theirs = energy(graph, trace, given).work, neurobench(graph, trace, given, batch=1)
    both = np.count_nonzero(trace["one"] & trace["two"])
    assert both > 0
    assert exact.multiplies == 0
    assert theirs.synaptic_operations["Effective_MACs"] > 0
    sum_of_theirs = sum(theirs.synaptic_operations[f"Effective_{kind}"] for kind in ("ACs", "MACs"))
    assert sum_of_theirs < exact.accumulates


def test_the_split_depends_on_the_batch_as_it_does_in_the_package() -> None:
    graph, _, given = hand()
    two = np.concatenate([given, np.minimum(given, 1)], axis=1)  # the second never sends a 2
    trace = Reference().run(graph, two)
    apart = neurobench(graph, trace, two, batch=1).synaptic_operations
    assert apart == {"Effective_ACs": 7, "Effective_MACs": 1, "Dense": 18}
    together = neurobench(graph, trace, two).synaptic_operations
    assert together == {"Effective_ACs": 6, "Effective_MACs": 2, "Dense": 18}


def test_the_package_counts_behind_a_pool_what_the_folded_network_counts_before_it() -> None:
    pytest.importorskip("neurobench", reason=WHY)
    import snntorch
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.conv = torch.nn.AvgPool2d(2), torch.nn.Conv2d(1, 1, 1, bias=False)
            self.lif = snntorch.Leaky(1.0, threshold=9.0, init_hidden=True)
            self.conv.weight.data[:] = 4

        def forward(self, frame: Any) -> Any:
            return self.lif(self.conv(self.pool(frame))), None

    nodes: list[Node] = [
        Input("input", (1, 4, 4), bits=1),
        Conv("folded", ("input",), np.ones((1, 1, 2, 2), int), stride=(2, 2)),
        Lif("lif", ("folded",), threshold=9),
    ]
    given = np.zeros((1, BATCH, 1, 4, 4), int)
    given[0, :, 0, 0, 0] = given[0, :, 0, 1, 1] = given[0, :, 0, 3, 3] = 1  # two in a window, one
    graph = Graph(nodes, steps=1)
    ours = neurobench(graph, Reference().run(graph, given), given).synaptic_operations
    assert ours == {"Effective_ACs": 3, "Effective_MACs": 0, "Dense": 16}
    theirs = by_the_package(Pooled(), given)["SynapticOperations"]
    assert theirs == {"Effective_ACs": 0, "Effective_MACs": 2, "Dense": 4}


def test_a_recurrent_population_is_a_synapse_to_itself() -> None:
    nodes: list[Node] = [
        Input("input", (2,), bits=1),
        Dense("dense", ("input",), np.diag([4, 4])),
        Recurrent("heard", ("dense",), np.array([[0, 2], [2, 2]]), threshold=3),
    ]
    graph, given = Graph(nodes, steps=2), np.array([[[1, 0]], [[0, 1]]])
    found = neurobench(graph, Reference().run(graph, given), given)
    # neuron 0 fires at step 0, is heard through one weight; neuron 1 fires at step 1, the last
    assert found.synaptic_operations == {"Effective_ACs": 2 + 1, "Effective_MACs": 0, "Dense": 16}
    assert found.membrane_updates == 2  # all reset to 0 at both steps


def test_a_trace_that_is_not_what_the_graph_does_is_refused() -> None:
    graph, trace, given = hand()
    wrong = Trace({"lif": ~trace["lif"]}, trace.kinds, trace.provenance)
    with pytest.raises(CompareError, match="lif: the trace is not what the graph does"):
        neurobench(graph, wrong, given)
