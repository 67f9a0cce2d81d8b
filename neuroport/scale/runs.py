"""Run and verify any number of samples: in this process, part by part, or on a cluster."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroport.analysis.compare import Comparison
from neuroport.analysis.joining import joined
from neuroport.analysis.merge import allow_shards, keep_inputs, read_result
from neuroport.analysis.verify import verify as verify_here
from neuroport.arguments import (
    as_array,
    is_engine,
    is_engines,
    is_function,
    is_network,
    keyed,
    optional,
    takes,
    whole_number,
)
from neuroport.engines import streaming
from neuroport.engines.running import TIMING, read_file
from neuroport.engines.table import DEFAULT, known
from neuroport.errors import BackendError, FormatError, FramesError
from neuroport.files import check_file
from neuroport.graph.foreign_kinds import foreign_modules
from neuroport.graph.graph import Graph
from neuroport.graph.store import save
from neuroport.runs.frames import Progress, check_frames, frames_hash
from neuroport.runs.merging import write_merged
from neuroport.runs.shards import Shard
from neuroport.runs.trace_file import StoredTrace
from neuroport.scale.clusters import check, connected, patience_of
from neuroport.scale.shard_folder import ShardFolder
from neuroport.scale.spread import spread
from neuroport.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from neuroport.scale.clusters import Cluster

SHARD_BYTES = 1 << 26  # bytes of a shard's result, approximately
SHARDS = 16  # minimum number of shards, so that a lost worker loses little


@takes(
    network=is_network,
    frames=as_array,
    on=is_engine,
    shards=whole_number(1, BackendError),
    progress=is_function,
)
def record(
    network: Graph | nn.Module | str | os.PathLike[str],
    frames: npt.NDArray[Any],
    path: str | os.PathLike[str],
    on: str | None = None,
    *,
    cluster: Cluster | None = None,
    shards: int | None = None,
    shard: str | Shard | None = None,
    part: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> StoredTrace:
    """Run a network on any number of frames, and write the trace to a file, in constant memory.

    The file has the same arrays as ``port.run(...).save(path)``, and appears when the run is
    complete. After an interruption, the same call continues a run on a cluster.

    Args:
        network, frames, on, options: see :func:`~neuroport.engines.running.run`; frames may be
            mapped from a file (``np.load(path, mmap_mode="r")``).
        path: the file to write.
        cluster: ``local:4`` (processes on this machine), ``tcp://HOST:PORT`` (a scheduler of
            dask.distributed), ``slurm:FILE``, or a ``distributed.Client``. ``None``: this process,
            part by part.
        shards: number of parts that are sent to workers; None: chosen by their size.
        shard: ``"2/4"`` runs only the second of four parts of the samples; not with a cluster.
        part: number of samples that run at a time in this process; affects memory, never results.
        progress: called with the number of finished samples and N.

    Raises:
        NeuroportError: see :func:`~neuroport.engines.running.run`.
        FramesError: there is no such shard.
        StorageError: the file cannot be written, or is that of the network or the frames.
        BackendError: there is no such cluster, a shard failed three times, or the scheduler was
            lost. Finished shards are kept in ``PATH.shards``, and the error lists them.
    """
    keep_inputs(path, [network, *_mapped(frames)])
    if cluster is None:
        _refuse_without_cluster(shards=shards)
        return streaming.record(
            network, frames, path, on, shard=shard, part=part, progress=progress, **options
        )
    check(cluster)
    check_file(path)
    if shard is not None or part is not None:
        raise BackendError("shard and part are for runs without a cluster; leave them out")
    timing = {name: options.pop(name) for name in TIMING if name in options}
    graph = _graph(network, frames, timing)
    engine = known(DEFAULT if on is None else on)
    if not engine.in_parts or engine.takes_modules:
        raise BackendError(f"engine {engine.name!r} does not run on a cluster; leave cluster out")
    engine.prepare(graph, **options).close()  # refuse here what every worker would refuse
    plan = _plan("record", [graph], frames, shards, [engine.name], options)
    allow_shards(plan["shards"])  # before the work, which merging would lose
    done = _spread(Path(path), plan, [graph], frames, cluster, progress)
    with ExitStack() as opened:
        parts = [opened.enter_context(_shard(done, n)) for n in range(1, done.shards + 1)]
        merged = write_merged(parts, path)
    done.remove()
    return merged


@takes(
    want=is_network,
    got=optional(is_network),
    frames=as_array,
    on=optional(is_engines),
    shards=whole_number(1, BackendError),
    together=whole_number(1, FramesError),
    options=keyed(BackendError),
    progress=is_function,
)
def verify(
    want: Graph | str | os.PathLike[str],
    got: Graph | str | os.PathLike[str] | None,
    frames: npt.NDArray[Any],
    *,
    cluster: Cluster | None = None,
    shards: int | None = None,
    on: tuple[str, str] | None = None,
    together: int | None = None,
    out: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """:func:`neuroport.verify` on a cluster; shards after one that differs need not run.

    Args:
        want, got, frames, on, together, options: see there; networks are graphs or files.
        cluster, shards: see :func:`record`.
        out: finished shards are kept in ``OUT.shards`` until all are done, for a rerun; ``None``: a
            temporary folder.

    Raises:
        NeuroportError: see there, and :func:`record`.
    """
    if cluster is None:
        _refuse_without_cluster(shards=shards, out=out)
        return verify_here(
            want, got, frames, on=on, together=together, options=options, progress=progress
        )
    check(cluster)
    if out is not None:
        check_file(out)
    graphs = [_graph(want, frames, {})]
    if got is not None:
        graphs.append(_graph(got, frames, {}))
    engines = list((DEFAULT, "fast") if on is None else on)
    more = dict(options or {})
    known(engines[0]).prepare(graphs[0]).close()
    known(engines[1]).prepare(graphs[-1], **more).close()
    plan = _plan("verify", graphs, frames, shards, engines, more)
    plan["together"] = together
    with tempfile.TemporaryDirectory(prefix="neuroport-verify-") as place:
        done = _spread(Path(out or Path(place, "verify")), plan, graphs, frames, cluster, progress)
        parts: list[Comparison] = []
        for number in range(1, done.shards + 1):
            found = _comparison(done, number)
            parts.append(found)
            if not found:
                break
        done.remove()
    return joined(parts, (parts[0].shard or {})["compared"])


def _mapped(frames: Any) -> Iterator[Any]:
    """Yield the file from which frames are read when they are used, if there is one."""
    while frames is not None:
        if isinstance(frames, np.memmap):
            yield frames.filename
        frames = getattr(frames, "base", None)


def _refuse_without_cluster(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise BackendError(f"{name} is for runs on a cluster; leave it out, or give cluster")


def _shard(folder: ShardFolder, number: int) -> StoredTrace:
    """Open the trace of a shard."""
    try:
        return StoredTrace(folder.path(number))
    except FormatError as error:
        raise _damaged(folder, number, error) from error


def _comparison(folder: ShardFolder, number: int) -> Comparison:
    """Read the comparison of a shard."""
    try:
        found = read_result(folder.path(number))
        if not isinstance(found, Comparison):
            raise FormatError(f"{folder.path(number)}: no comparison")
    except FormatError as error:
        raise _damaged(folder, number, error) from error
    return found


def _damaged(folder: ShardFolder, number: int, error: FormatError) -> FormatError:
    return type(error)(
        f"shard {number}/{folder.shards}: {error.message}; remove {folder.path(number)}, and "
        "the same command runs this shard again, alone"
    )


def _graph(network: Any, frames: npt.NDArray[Any], timing: dict[str, bool]) -> Graph:
    if isinstance(network, (str, os.PathLike)):
        network = read_file(network, frames, timing)
    if not isinstance(network, Graph):
        raise BackendError(
            "a torch module does not travel to a cluster; quantize it, and give its graph or file"
        )
    check_frames(network, frames)
    return network


def _plan(
    verb: str,
    graphs: list[Graph],
    frames: npt.NDArray[Any],
    shards: int | None,
    engines: list[str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the facts that all shards of one run share."""
    samples = frames.shape[1]
    if shards is None:
        graph = graphs[0]
        positions = sum(math.prod(graph.facts(n.name).shape) for n in graph.populations)
        many = max(1, SHARD_BYTES * 8 // (positions * graph.steps))
        shards = min(samples, max(SHARDS, -(-samples // many)))
    Shard.read(f"1/{shards}").samples(samples)
    return {
        "verb": verb,
        "network": [graph.hash for graph in graphs],
        "frames": frames_hash(frames),
        "shards": shards,
        "engine": engines,
        "options": {name: _plain(name, value) for name, value in options.items()},
    }


def _plain(name: str, value: Any) -> Any:
    """Return an option as it travels to a worker.

    Raises:
        BackendError: it does not.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    try:
        json.dumps(plain)
    except (TypeError, ValueError) as error:
        raise BackendError(
            f"{name} is {value!r:.100}, which does not travel to a cluster; give numbers, texts, "
            "true or false, and lists"
        ) from error
    return plain


def _spread(
    out: Path,
    plan: dict[str, Any],
    graphs: list[Graph],
    frames: npt.NDArray[Any],
    cluster: Any,
    progress: Progress | None,
) -> ShardFolder:
    """Run all missing shards; for a verification, up to the first that differs."""
    folder = ShardFolder(out.with_name(f"{out.name}.shards"), plan)
    total, of = frames.shape[1], folder.shards
    samples = {n: Shard(n, of).samples(total) for n in range(1, of + 1)}
    kinds = {key: value for graph in graphs for key, value in foreign_modules(graph).items()}
    ends: list[int] = []

    def job(number: int) -> tuple[dict[str, Any], npt.NDArray[Any]]:
        about = {
            "version": __version__,
            "verb": plan["verb"],
            "kinds": kinds,
            "on": plan["engine"],
            "options": plan["options"],
            "together": plan.get("together"),
            "shard": Shard(number, of).told(total, plan["frames"]),
            **folder.told(folder.path(number)),
        }
        return about, np.ascontiguousarray(frames[:, samples[number]])

    finished = [0]

    def told(number: int) -> None:
        finished[0] += samples[number].stop - samples[number].start
        if plan["verb"] == "verify" and not _comparison(folder, number):
            ends.append(number)
        if progress is not None:
            progress(finished[0], total)

    done = folder.done()
    for number in done:
        told(number)
    if len(done) < of and not _ended(folder, ends):
        with connected(cluster) as client:
            content = tuple(_bytes(graph) for graph in graphs)
            wanted: Callable[[int], bool] = lambda n: not ends or n < min(ends)  # noqa: E731
            spread(client, content, job, folder, done, told, wanted, patience_of(cluster))
    if frames_hash(frames) != plan["frames"]:
        folder.remove()
        raise FramesError("the frames have changed while they ran; nothing was written: run again")
    return folder


def _ended(folder: ShardFolder, ends: list[int]) -> bool:
    """Whether all shards up to one that differs are finished."""
    return bool(ends) and set(range(1, min(ends))) <= set(folder.done())


def _bytes(graph: Graph) -> bytes:
    with tempfile.TemporaryDirectory(prefix="neuroport-graph-") as place:
        return save(graph, Path(place) / "network.graph").read_bytes()
