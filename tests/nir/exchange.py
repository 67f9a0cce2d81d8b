"""Random networks of NIR in, to integers, out, and run by snnTorch, Norse and SpikingJelly.

    python -m tests.nir.exchange --python PYTHON

``PYTHON`` has the three tools (``make nir`` makes an environment for them). Every population that
fires becomes the output of a file of its own. Writes ``exchanged.json`` beside this: for every tool
how many files it refuses and why, and of the others in how many its spikes are those of our
integers. Where they are not, they are held against the equations of the file in float64
(:mod:`neuroport.frontends.nir.interpreter`), which tells rounding of the leak from a tool that
computes something else.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from neuroport.files import write_json
from neuroport.frontends.nir import import_nir, to_nir
from neuroport.frontends.nir.interpreter import interpret
from neuroport.frontends.nir.reading import build
from neuroport.frontends.nir.writing import as_nir
from neuroport.graph.graph import Graph
from neuroport.graph.integers import DECAY_UNITY
from neuroport.graph.node import Delay, Dense, Input, Lif, Node, Recurrent
from tests.nir.networks import DT, draw
from tests.nir.readers import TOOLS, path_of

Tools = tuple[str, ...]
SHORT, LONG, LEAK_STEPS = 12, 200, 500  # steps of a sample
THRESHOLDS = {1024: 30, 64: 120, 8: 300}  # by what is forgotten of 4096 a step
SAID = (
    *("seed", "tool", "positions", "spikes", "differing", "equations differing", "from equations"),
)
# what a tool's message says of one file alone
WHERE = re.compile(r": type mismatch| \(\d|, weight of size|: 'n\d")
RESULTS = Path(__file__).with_name("exchanged.json")
ROOT = Path(__file__).resolve().parents[2]


def alone(graph: Graph, name: str) -> Graph:
    """A population and what leads to it."""
    wanted = {name}
    for node in reversed(list(graph)):
        if node.name in wanted:
            wanted.update(node.inputs)
    return Graph([node for node in graph if node.name in wanted], graph.steps, graph.interval)


def leaks(graph: Graph) -> bool:
    """Whether a neuron has a state that is rounded from step to step."""
    return any(
        ((node.voltage_decay % DECAY_UNITY) != 0).any() or (node.current_decay != DECAY_UNITY).any()
        for node in graph
        if isinstance(node, (Lif, Recurrent))
    )


def features(graph: Graph) -> list[str]:
    """What a tool may not have, or reads in its own way."""
    found = {"leak"} if leaks(graph) else set()
    for node in graph:
        late = isinstance(node, Dense) and bool(node.delay.any())
        if isinstance(node, Delay) or late:
            found.add("delay")
        if isinstance(node, Recurrent):
            found.add("loop")
        if len(node.inputs) > 1:
            found.add("branches meet")
        current = isinstance(node, (Lif, Recurrent)) and (node.current_decay != DECAY_UNITY).any()
        if current and getattr(node, "bias", np.zeros(1)).any():
            found.add("v_leak beside a current")  # a synapse cannot bring the bias
    return sorted(found)


def written(seed: int, root: Path, steps: int) -> dict[str, Graph]:
    """The files of a seed, and the graph of each."""
    drawn = draw(seed, steps)
    made = import_nir(drawn, dt=DT, frames=drawn.frames, measure=False, one_unit=True)
    assert made.frames is not None
    folder = root / f"{seed:04d}"
    folder.mkdir()
    np.save(folder / "frames.npy", made.frames[:, :1])
    found = {}
    for node in made.graph:
        if isinstance(node, (Lif, Recurrent)):
            found[node.name] = part = alone(made.graph, node.name)
            files = {path_of(folder, node.name, tool): TOOLS[tool] for tool in TOOLS}
            for path, dt in files.items():
                to_nir(part, path, dt=dt)
    return found


def judged(folder: Path, graphs: dict[str, Graph], tools: Tools) -> list[dict[str, Any]]:
    """What became of every file of a folder in every tool."""
    frames = np.load(folder / "frames.npy")
    said = np.load(folder / "said.npz")
    found = []
    for name, graph in graphs.items():
        want = np.asarray(port.run(graph, frames, on="reference")[name]) != 0
        first = next(iter(graph)).name
        for tool in tools:
            dt = TOOLS[tool]
            got = said[f"{name}|{tool}"]
            one: dict[str, Any] = {"seed": folder.name, "population": name, "tool": tool}
            one |= {"features": features(graph), "spikes": int(want.sum())}
            if got.dtype.kind == "U" or got.size != want.size:
                why = str(got) if got.dtype.kind == "U" else "gives spikes of another population"
                found.append({**one, "what": "refused", "why": WHERE.split(why)[0]})
                continue
            network = build({"node": as_nir(graph, dt=dt)}, name)
            real = np.asarray(interpret(network, {first: frames}, dt)[name]) != 0
            one |= {
                "positions": int(want.size),
                "differing": int((got.reshape(want.shape) != want).sum()),
                "equations differing": int((real != want).sum()),
                "from equations": int((got.reshape(want.shape) != real).sum()),
            }
            found.append({**one, "what": "equal" if one["differing"] == 0 else "differs"})
    return found


def summary(found: list[dict[str, Any]], versions: dict[str, str]) -> dict[str, Any]:
    """For every tool what it refuses, where it is equal, and where it is not."""
    tools = {}
    for tool in dict.fromkeys(one["tool"] for one in found):
        own = [one for one in found if one["tool"] == tool]
        ran = [one for one in own if one["what"] != "refused"]
        exact = [one for one in ran if "leak" not in one["features"]]
        leaking = [one for one in ran if "leak" in one["features"]]
        tools[tool] = {
            "files": len(own),
            "refused": dict(
                Counter(one["why"] for one in own if one["what"] == "refused").most_common()
            ),
            "without a leak": _share(exact),
            "with a leak": _share(leaking),
        }
    return {
        "networks": len({one["seed"] for one in found}),
        "populations": len({(one["seed"], one["population"]) for one in found}),
        "tools": tools,
        "versions": versions,
    }


def _share(ran: list[dict[str, Any]]) -> dict[str, Any]:
    apart = [one for one in ran if one["from equations"]]
    rounded = [one for one in ran if one["differing"] and not one["from equations"]]
    return {
        "files": len(ran),
        "equal": sum(one["differing"] == 0 for one in ran),
        "positions": sum(one["positions"] for one in ran),
        "spikes": sum(one["spikes"] for one in ran),
        "the equations of the file, which differ from the integers": len(rounded),
        "other than the equations of the file": dict(
            Counter(", ".join(one["features"]) or "nothing" for one in apart).most_common()
        ),
    }


def slow(decay: int, root: Path) -> dict[str, Graph]:
    """A layer that forgets ``decay`` / 4096 a step, driven so little that rounding counts."""
    rng = np.random.default_rng(decay)
    nodes: list[Node] = [
        Input("input", (16,), bits=1),
        Dense("synapse", ("input",), 2 * rng.integers(1, 9, (16, 16))),
        Lif("neuron", ("synapse",), np.full(1, THRESHOLDS[decay]), voltage_decay=np.full(1, decay)),
    ]
    graph = Graph(nodes, LEAK_STEPS)
    folder = root / f"decay{decay:04d}"
    folder.mkdir()
    np.save(folder / "frames.npy", rng.random((LEAK_STEPS, 1, 16)) < 0.02)
    for path, dt in {path_of(folder, "neuron", tool): dt for tool, dt in TOOLS.items()}.items():
        to_nir(graph, path, dt=dt)
    return {"neuron": graph}


def exchanged(
    seeds: range, python: str, tools: Tools = tuple(TOOLS), steps: int = SHORT
) -> dict[str, Any]:
    """All networks of the seeds, through the tools of a Python."""
    return _read(lambda root: {f"{n:04d}": written(n, root, steps) for n in seeds}, python, tools)


def slowly(python: str, tools: Tools = tuple(TOOLS)) -> dict[str, Any]:
    """Layers that forget slowly, through the tools of a Python."""
    return _read(lambda root: {f"decay{d:04d}": slow(d, root) for d in THRESHOLDS}, python, tools)


def _read(
    write: Callable[[Path], dict[str, dict[str, Graph]]], python: str, tools: Tools
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        graphs = write(root)
        subprocess.run([python, "-m", "tests.nir.readers", place, *tools], cwd=ROOT, check=True)
        lines = (root / "versions.txt").read_text().splitlines()
        found = [one for name in graphs for one in judged(root / name, graphs[name], tools)]
    return {"found": found, **summary(found, dict(line.split() for line in lines))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="that has the tools")
    parser.add_argument("--count", type=int, default=300, help="networks of short samples")
    parser.add_argument("--long", type=int, default=20, help="networks of long ones")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--details", action="store_true", help="every file")
    args = parser.parse_args()
    done: dict[str, Any] = {}
    for steps, seeds in (
        (SHORT, range(args.count)),
        (LONG, range(args.count, args.count + args.long)),
    ):
        part = exchanged(seeds, args.python, steps=steps)
        if not args.details:
            del part["found"]
        done[f"samples of {steps} steps"] = part
    done["slow leaks"] = [{key: one[key] for key in SAID} for one in slowly(args.python)["found"]]
    write_json(args.out, done)


if __name__ == "__main__":
    main()
