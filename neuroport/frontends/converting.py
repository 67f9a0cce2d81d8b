"""Convert between network files, with a record of every node of the source.

It reads ``.nir``, ``.graph``, and ``.net`` of neuroport and of lava-dl. It writes ``.graph``,
``.net`` (lowered) and ``.nir``. Every conversion checks that each node has a record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.arguments import is_flag, takes
from neuroport.errors import FormatError, StorageError
from neuroport.frontends.nir.cost import NirCost
from neuroport.frontends.nir.importing import imported
from neuroport.frontends.nir.quantized_parts import Record
from neuroport.frontends.nir.reading import read as read_nir
from neuroport.frontends.nir.writing import as_nir, to_nir
from neuroport.graph.graph import Graph
from neuroport.graph.node import Node
from neuroport.graph.store import save
from neuroport.netx import export, read
from neuroport.netx.stock import is_stock
from neuroport.targets.lowering import lower

WRITTEN = (".graph", ".net", ".nir")
KEPT = "as it is"


@dataclass(frozen=True, eq=False)
class Conversion:
    """The result of converting a network file.

    Attributes:
        path: the written file.
        graph: the graph in it.
        records: what every node of the source became, in order.
        cost: the loss of quantization, for a NIR file without integers.
    """

    path: Path
    graph: Graph
    records: tuple[Record, ...]
    cost: NirCost | None

    def table(self, every: bool = False) -> str:
        """Return one line per node that was folded, rounded or moved; or one for every node."""
        shown = [r for r in self.records if every or r.what != KEPT]
        rest = len(self.records) - len(shown)
        width = max((len(r.source) for r in shown), default=0)
        kinds = max((len(r.kind) for r in shown), default=0)
        lines = [
            f"{r.source:{width}}  {r.kind:{kinds}}  -> {', '.join(r.targets) or 'nothing'}: "
            f"{r.what}"
            for r in shown
        ]
        return "\n".join([*lines, *([f"{rest} nodes {KEPT}"] if rest else [])])


@takes(one_unit=is_flag)
def convert(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    frames: Any = None,
    dt: float | None = None,
    scale: float = 1.0,
    one_unit: bool = False,
    reset: str = "v_reset",
    steps: int | None = None,
) -> Conversion:
    """Read a network, and write it in another format.

    Args:
        source: ``.nir``, ``.net`` (of neuroport or of lava-dl) or ``.graph``.
        path: the file to write. Its ending determines the format: ``.graph`` (integers), ``.net``
            (lowered for ``target``), or ``.nir`` (for other tools; it keeps the integers).
        target: of a ``.net`` file; ``lava-cpu`` by default.
        frames, dt, scale, one_unit, reset: arguments of :func:`neuroport.import_nir`, for a NIR
            file without integers; ``frames`` are also for a stock NetX file, and ``dt`` also
            applies to a NIR file that is written.
        steps: steps of a sample, for a stock NetX file that does not state them.

    Raises:
        NeuroportError: the network cannot be read, quantized, lowered or written; the error names
            the node.
    """
    out = Path(os.fspath(path))
    if out.suffix not in WRITTEN:
        raise StorageError(f"{out}: ends in none of {', '.join(WRITTEN)}; name the file so")
    if target is not None and out.suffix != ".net":
        raise FormatError(
            f"{out}: is not lowered for a target; leave the target out, or write a .net file "
            "(neuroport lower also writes a .graph file for a target)"
        )
    is_nir = os.fspath(source).endswith(".nir")
    if is_nir:
        if steps is not None:
            raise FormatError(
                f"{os.fspath(source)}: steps are for stock NetX files; those of a NIR file are in "
                "it with its integers, or are those of frames: leave steps out"
            )
        network = read_nir(source)
        # beside integers it is only that of the file to write
        imported_dt = None if network.integers is not None and out.suffix == ".nir" else dt
        made = imported(
            network, dt=imported_dt, frames=frames, scale=scale, one_unit=one_unit, reset=reset
        )
        graph, records, cost = made.graph, made.records, made.cost
    else:
        if scale != 1 or one_unit or reset != "v_reset":
            raise FormatError(
                f"{os.fspath(source)}: has integers; leave out scale, one_unit and reset"
            )
        if dt is not None and out.suffix != ".nir":
            raise FormatError(f"{os.fspath(source)}: has steps; dt is for files of NIR")
        stock = is_stock(source)
        if steps is not None and not stock:
            raise FormatError(f"{os.fspath(source)}: has steps; steps are for stock NetX files")
        if frames is not None and not stock:
            raise FormatError(
                f"{os.fspath(source)}: has steps and an input; frames are for NIR files and stock "
                "NetX files: leave them out"
            )
        given = {"steps": steps, "frames": frames} if stock else {}
        graph, cost = read(source, **given), None
        records = tuple(Record(n.name, n.kind, (n.name,), KEPT) for n in graph)
    if out.suffix == ".net":
        lowered = lower(graph, target or "lava-cpu")
        records = after(records, graph, lowered)
        graph = lowered
        export(graph, out)
    elif out.suffix == ".nir":
        step = 1.0 if dt is None else dt
        to_nir(graph, out, dt=step)
        records = _in_nir(records, graph, step)
    else:
        save(graph, out)
    return Conversion(out, graph, records, cost)


def after(records: Iterable[Record], before: Graph, now: Graph) -> tuple[Record, ...]:
    """Return the records, with their targets followed through a lowering.

    Raises:
        AssertionError: a node has disappeared, which is a bug in neuroport.
    """
    found = []
    names = [node.name for node in before]
    moved = {node.name: _moved(node, names, now) for node in before}
    for record in records:
        targets: list[str] = []
        said = [] if record.what == KEPT else [record.what]
        for name in record.targets:
            found_in, what = moved[name]
            targets += found_in
            if what != KEPT:
                said.append(what if len(record.targets) == 1 else f"{name} {what}")
        if record.targets and not targets:
            raise AssertionError(f"{record.source} is lost: {record.targets} are nowhere")
        what = "; ".join(dict.fromkeys(said)) or KEPT
        found.append(Record(record.source, record.kind, tuple(dict.fromkeys(targets)), what))
    return tuple(found)


def _owner(name: str, names: Iterable[str]) -> str:
    """Return the node among ``names`` after which another node is named, if any."""
    after = (n for n in names if name == n or name.startswith((f"{n}.", f"{n}~", f"{n}+")))
    return max(after, key=len, default="")


def _moved(node: Node, names: list[str], now: Graph) -> tuple[list[str], str]:
    """Return the nodes that hold a node after lowering, and what was done to it."""
    same = next((other for other in now if other.name == node.name), None)
    parts = [
        other.name
        for other in now
        if _owner(other.name, names) == node.name and other.name != node.name
    ]
    if same is None:
        if not parts:  # the sum is carried in another way; the records of its readers say so
            parts = [other.name for other in now if node.name in _words(other.name)]
        return parts, "aligned in time"
    if type(same) is not type(node):
        return [same.name, *parts], f"is a {same.kind} now"
    changed = [
        item.name
        for item in fields(node)
        if item.name not in ("name", "inputs")
        and not np.array_equal(getattr(node, item.name), getattr(same, item.name))
    ]
    said = []
    if changed:
        said.append(f"other {', '.join(changed)}")
    if same.inputs != node.inputs:
        said.append(f"reads {', '.join(same.inputs)}")
    return [same.name], ", ".join(said) or KEPT


def _words(name: str) -> list[str]:
    return name.replace("~", ".").replace("+", ".").split(".")


def _in_nir(records: tuple[Record, ...], graph: Graph, dt: float) -> tuple[Record, ...]:
    """Return the records, with the NIR nodes that hold each node of the graph."""
    written = as_nir(graph, "the NIR graph", dt)["nodes"]
    held: dict[str, list[str]] = {}
    every = [node.name for node in graph]
    for node in graph:
        names = [n for n in written if _owner(n, every) == node.name]
        held[node.name] = names or [n for n in written if node.name in _words(n)]
        if not held[node.name]:
            raise AssertionError(f"{node.name} is in no node of NIR")
    found = []
    for record in records:
        targets = tuple(dict.fromkeys(n for name in record.targets for n in held[name]))
        kinds = ", ".join(dict.fromkeys(str(written[n]["type"]) for n in targets))
        said = [] if record.what == KEPT else [record.what]
        what = "; ".join([*said, f"{kinds}, its integers in the metadata"])
        found.append(Record(record.source, record.kind, targets, what))
    return tuple(found)


def frames_in(path: Path | None) -> npt.NDArray[Any] | None:
    """Load frames from a file, if one is given."""
    from neuroport.runs.frames import load_frames

    return None if path is None else load_frames(path)
