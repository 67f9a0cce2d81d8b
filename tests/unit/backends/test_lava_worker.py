"""What the child of a run on Lava allows for the size of its network."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Node

LAYERS = 400

FLATTENS = """
import sys
from neuroport.backends.lava_cpu.newer_python import prepare
prepare()
from lava.magma.compiler.compiler_graphs import flatten_list_recursive
from neuroport.backends.lava_cpu.worker import allow_for
from tests.unit.backends.test_lava_worker import deep
graph = deep()
processes = list(range(3 * len(graph)))
if sys.argv[1:] == ["allowed"]:
    allow_for(graph)
assert flatten_list_recursive(processes) == processes
"""


def deep() -> Graph:
    """A chain of many layers."""
    nodes: list[Node] = [Input("input", (2,), bits=1)]
    for layer in range(LAYERS):
        nodes.append(Dense(f"synapse{layer}", (nodes[-1].name,), np.eye(2, dtype=int) * 2))
        nodes.append(Lif(f"neuron{layer}", (f"synapse{layer}",), threshold=1))
    return Graph(nodes, 2)


@pytest.mark.lava
def test_lavas_compiler_recurses_over_a_network_of_a_thousand_processes() -> None:
    # its own limit is Python's; the published depth of 110 layers needs more
    for arguments, ends in (([], 1), (["allowed"], 0)):
        command = [sys.executable, "-c", FLATTENS, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == ends, done.stderr
        assert ("RecursionError" in done.stderr) == (ends == 1)


def test_a_process_that_is_forked_does_not_visit_what_it_inherits() -> None:
    code = """
import gc, os
from neuroport.backends.lava_cpu.worker import allow_for
from tests.unit.backends.test_lava_worker import deep
graph = deep()
assert gc.get_freeze_count() < 10_000  # only the child of a run; newer Pythons keep some themselves
allow_for(graph)
child = os.fork()
if child == 0:
    os._exit(0 if gc.get_freeze_count() > 10_000 else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
