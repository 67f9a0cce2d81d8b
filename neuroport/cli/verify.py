"""The command ``verify``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from neuroport.cli.inputs import check_cluster, engine_for, opened
from neuroport.cli.options import (
    OnEngines,
    cluster_option,
    json_file,
    json_option,
    samples_option,
    shard_option,
    shards_option,
)
from neuroport.cli.output import Out
from neuroport.cli.paths import any_path


class _Verifying(OnEngines):
    """Both engines record every message, because every message is compared."""

    without = frozenset({"record", "count", "granularity"})


@click.command(cls=_Verifying)
@click.argument("network", type=any_path)
@click.argument("other", type=any_path, required=False)
@click.option(
    "--frames", type=any_path, required=True, help=".npy array (T, N, C, H, W) of integers."
)
@click.option("--on", "engine", help="Engine of the second run; `fast` by default.")
@click.option("--against", help="Engine of the first; `reference`, a folder's own module.")
@click.option(
    "--together", type=int, help="Samples that run at a time; affects memory, never results."
)
@click.option("-o", "--out", type=json_file, help="JSON file to write, for merge.")
@samples_option
@shard_option
@cluster_option
@shards_option
@json_option
def verify(
    network: Path,
    other: Path | None,
    frames: Path,
    engine: str | None,
    against: str | None,
    together: int | None,
    out: Path | None,
    samples: int | None,
    shard: str | None,
    cluster: str | None,
    shards: int | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Run NETWORK on two engines and compare every message, in constant memory.

    A training folder is its own module, and on an engine the module's graph. With OTHER, the second
    engine runs that network (a folder: its own module). The command ends at the first sample that
    differs: exit 0 if none does, 1 with the first divergence and, for .net or .graph files, its
    cause.
    """
    from neuroport.analysis.verify import verify as verified
    from neuroport.engines.table import DEFAULT, MODULE
    from neuroport.files import write_json
    from neuroport.reporting.progress import cluster_progress, progress_bar
    from neuroport.runs.frames import load_frames
    from neuroport.scale.runs import verify as verified_on

    second = other or network
    folders = [path if path.is_dir() else None for path in (network, second)]
    if against is None:
        against = DEFAULT if folders[0] is None else MODULE
    if engine is None:
        engine = "fast" if other is None or folders[1] is None else MODULE
    # the graph of a folder that is given alone runs on the second engine
    on = (
        engine_for(against, folders[0], {}),
        engine_for(engine, None if other is None else folders[1], options),
    )
    data = load_frames(frames, samples, mapped=True)
    check_cluster(cluster, shards, shard, out)
    one, two = opened(network), None if other is None else opened(other)
    common: dict[str, Any] = {"on": on, "together": together, "options": options}
    if cluster is not None:
        with cluster_progress(cluster) as progress:
            outcome = verified_on(
                one, two, data, cluster=cluster, shards=shards, out=out, progress=progress, **common
            )
    else:
        with progress_bar("verifying") as progress:
            outcome = verified(one, two, data, shard=shard, progress=progress, **common)
    say = Out(as_json)
    say.line(str(outcome))
    if out is not None:
        say.line(f"wrote {write_json(out, outcome.to_dict())}")
    say.result(outcome.to_dict())
    sys.exit(0 if outcome else 1)
