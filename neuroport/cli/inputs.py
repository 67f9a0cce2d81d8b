"""Read what commands take: networks, frames, traces. Run a network if its trace is needed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuroport.cli.options import flag_of
from neuroport.cli.output import echo
from neuroport.errors import BackendError, CompareError, FramesError

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.graph.graph import Graph
    from neuroport.recipe import Recipe
    from neuroport.runs.trace import Trace


def held_out(
    recipe: Recipe, samples: int, option: str
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the first held-out samples of a recipe: frames (T, N, C, H, W) and classes."""
    from neuroport.data.loading import load_data
    from neuroport.data.samples import frames_of

    test = load_data(recipe.data).test
    if not 1 <= samples <= len(test.labels):
        raise FramesError(f"{option} is {samples}; use 1 to {len(test.labels)} held-out samples")
    return frames_of(test, slice(samples), recipe.data.steps), test.labels[:samples]


def read_network(path: Path, steps: int | None, frames: Path | None, **timing: bool) -> Graph:
    """Read the network in a file; frames determine the input of a stock NetX file."""
    from neuroport.netx import read
    from neuroport.runs.frames import load_frames

    data = load_frames(frames) if frames is not None else None
    return read(path, steps=steps, frames=data, **timing)


def is_trace(path: Path) -> bool:
    """Whether a file is a trace, not a network."""
    from neuroport.graph.store import format_of
    from neuroport.runs.trace import FORMAT

    return not path.is_dir() and format_of(path) == FORMAT


def graph_of(
    path: Path, frames: npt.NDArray[Any], equal: bool, timing: dict[str, bool]
) -> Graph | None:
    """Return the network of a run, None for a trace; that of a folder only if it is needed."""
    from neuroport.netx import read
    from neuroport.netx.stock import is_stock

    if path.is_dir():
        if equal:
            return None
        from neuroport.quantization import quantize
        from neuroport.training.checkpoint import load

        return quantize(load(path), frames)
    if is_trace(path):
        return None
    return read(path, frames=frames, **timing) if is_stock(path) else read(path, verify=False)


def check_timing(timing: dict[str, bool], *paths: Path) -> None:
    """Refuse options for stock NetX files if no path is one.

    Raises:
        UsageError: names the option.
    """
    from neuroport.netx.stock import is_stock

    if timing and not any(is_stock(path) for path in paths if not path.is_dir()):
        said = next(iter(timing)).replace("_", "-")
        raise click.UsageError(
            f"--{said} is for stock NetX files, which do not say when their layers begin; "
            f"{' and '.join(map(str, paths))} do: leave it out"
        )


def trace_of(
    path: Path,
    frames: Path | None,
    engine: str | None,
    samples: int | None,
    timing: dict[str, bool],
    options: dict[str, Any],
) -> Trace:
    """Read the trace in a file, or run the network in the file on ``frames``."""
    from neuroport.netx.stock import is_stock
    from neuroport.runs.trace import Trace

    if is_trace(path):
        return Trace.load(path)
    if frames is None:
        raise CompareError(f"{path} is a network, not a trace; give --frames to run it on")
    network = path if path.is_dir() else _edited(path)
    stock = isinstance(network, Path) and not network.is_dir() and is_stock(network)
    return run_on(network, frames, engine, samples, options, timing if stock else {})


def _edited(path: Path) -> Path | Graph:
    """Return the file, or its graph if it was edited, because finding edits is a use of compare."""
    from neuroport.errors import HashError
    from neuroport.netx import read
    from neuroport.netx.stock import is_stock

    if is_stock(path):
        return path
    try:
        read(path)
    except HashError as error:
        echo(f"neuroport: {error.message}; comparing what it holds", err=True)
        return read(path, verify=False)
    return path


def run_on(
    network: Path | Graph,
    frames: Path,
    on: str | None,
    samples: int | None,
    options: dict[str, Any],
    timing: dict[str, Any],
) -> Trace:
    """Run a file or a training folder; bad frames are refused before anything starts."""
    from neuroport.engines.running import run
    from neuroport.reporting.progress import progress_bar
    from neuroport.runs.frames import load_frames

    folder = network if isinstance(network, Path) and network.is_dir() else None
    name = engine_for(on, folder, options)
    data = load_frames(frames, samples)
    with progress_bar(name) as progress:
        return run(opened(network), data, on=name, progress=progress, **options, **timing)


def check_cluster(
    cluster: str | None, shards: int | None, shard: str | None, out: Path | None
) -> None:
    """Refuse options that need a cluster, or that cannot be combined with one."""
    if cluster is None:
        if shards is not None:
            raise click.UsageError("--shards needs --cluster; leave it out")
        return
    if shard is not None:
        raise click.UsageError("--shard is one part, --cluster runs all; give one of them")
    if out is None:
        raise click.UsageError(
            "--cluster keeps finished shards beside the output file; give -o FILE"
        )
    from neuroport.scale.clusters import check

    check(cluster)


def opened(network: Path | Graph) -> Any:
    """Return the torch module of a training folder; return anything else unchanged."""
    if not isinstance(network, Path) or not network.is_dir():
        return network
    from neuroport.training.checkpoint import load

    return load(network)


def engine_for(on: str | None, folder: Path | None, options: dict[str, Any]) -> str:
    """Return the requested engine, or the default, ready to run with these options.

    Raises:
        BackendError: the engine cannot run here, lacks one of the options, or cannot run training
            folders.
    """
    from neuroport.engines import table

    if on is None:
        on = table.DEFAULT if folder is None else table.MODULE
    name = on
    found = table.known(name)
    known = {each.name for each in fields(found.Options)}
    for owners in table.options():
        each = next(iter(owners.values()))
        if each.name in options and each.name not in known:
            raise BackendError(
                f"--{flag_of(each)} is for {' and '.join(owners)}; leave it out on {name!r}"
            )
    if folder is not None and not found.takes_modules:
        table.ready(name, options)
        raise BackendError(
            f"{folder} is a training folder, which runs on its own torch module; "
            f"quantize, lower and export it to run it on {name!r}"
        )
    return table.ready(name, options).name
