"""Merge the traces of shards, with their provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroport.runs.frames import frames_hash
from neuroport.runs.shards import in_order
from neuroport.runs.trace import Trace
from neuroport.runs.trace_file import StoredTrace, TraceWriter, write_joined

# entries that may differ between shards of one run; the merged trace lists all of them
OWN = ("seconds", "phases", "recorded_bytes", "workers", "versions", "frames", "hardware")


def merge_traces(shards: Sequence[StoredTrace | Trace]) -> Trace:
    """Merge the traces of all shards, in any order, into the trace of all samples.

    Every array equals that of one run of all samples. The provenance is that of the shards;
    ``shards`` lists the entries that differ between them.

    Raises:
        CompareError: a shard is missing, given twice, or of another run; the error names it.
    """
    parts, provenance = _ordered(shards)
    loaded = [part.load() if isinstance(part, StoredTrace) else part for part in parts]
    first = loaded[0]
    return Trace(
        {n: np.concatenate([part.messages[n] for part in loaded], axis=1) for n in first.messages},
        first.kinds,
        provenance,
        {n: np.concatenate([part.counts[n] for part in loaded]) for n in first.counts},
        first.granularity,
        first.counted_steps,
    )


def write_merged(
    shards: Sequence[StoredTrace | Trace], path: str | os.PathLike[str]
) -> StoredTrace:
    """Write the result of :func:`merge_traces` to a file, in constant memory.

    Raises:
        CompareError: see :func:`merge_traces`."""
    parts, provenance = _ordered(shards)
    stored = [part for part in parts if isinstance(part, StoredTrace)]
    if len(stored) == len(parts):
        write_joined(stored, path, provenance)
        return StoredTrace(path, verified=True)
    with TraceWriter(path, sum(part.samples for part in parts)) as writer:
        for part in parts:
            for some in part.parts() if isinstance(part, StoredTrace) else [part]:
                writer.append(some)
        writer.finish(provenance)
    return StoredTrace(path, verified=True)


def _ordered(
    shards: Sequence[StoredTrace | Trace],
) -> tuple[list[StoredTrace | Trace], dict[str, Any]]:
    names = [_name(each, at) for at, each in enumerate(shards)]
    told = [each.provenance.get("shard") for each in shards]
    parts = [shards[at] for at in in_order(names, told, [_facts(each) for each in shards])]
    return parts, merged_provenance([part.provenance for part in parts])


def _name(shard: StoredTrace | Trace, at: int) -> str:
    return str(shard.path) if isinstance(shard, StoredTrace) else f"trace {at}"


def _facts(shard: StoredTrace | Trace) -> dict[str, str]:
    """Return the entries that must be equal in all shards of a run."""
    known = {key: value for key, value in shard.provenance.items() if key not in (*OWN, "shard")}
    record = f"{shard.granularity} counts" if shard.counted_steps else "messages"
    return {
        **{key: json.dumps(value, sort_keys=True).strip('"') for key, value in known.items()},
        "recorded": f"{record} of {', '.join(shard.kinds)}",
        "steps": str(shard.steps),
    }


def merged_provenance(shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the provenance of a merged result from the shards' provenances, in order."""
    shared = {key: value for key, value in shards[0].items() if key not in (*OWN, "shard")}
    listed = [
        {
            **{key: each["shard"][key] for key in ("number", "samples")},
            **{key: each[key] for key in OWN if key in each},
        }
        for each in shards
    ]
    versions = [each.get("versions") for each in shards]
    if all(each == versions[0] for each in versions):
        shared["versions"] = versions[0]
    return {**shared, **added_up(shards), "frames": shards[0]["shard"]["frames"], "shards": listed}


def whole_provenance(
    parts: Sequence[Mapping[str, Any]],
    frames: npt.NDArray[Any],
    shard: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the provenance of a run that was computed part by part in one process."""
    found = dict(parts[0])
    if len(parts) > 1:
        found |= {**added_up(parts), "frames": frames_hash(frames)}
    return found if shard is None else {**found, "shard": shard}


def added_up(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add the seconds and bytes of several runs."""
    found: dict[str, Any] = {}
    for key in ("seconds", "recorded_bytes"):
        if all(key in each for each in parts):
            found[key] = sum(each[key] for each in parts)
    if all("phases" in each for each in parts):
        phases = [each["phases"] for each in parts]
        found["phases"] = {p: round(sum(each[p] for each in phases), 3) for p in phases[0]}
    return found
