"""Join the results of shards, in memory or in files, to the result of the whole."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from neuroport.analysis.compare import Comparison
from neuroport.analysis.joining import joined
from neuroport.arguments import as_results, is_path, takes
from neuroport.errors import CompareError, FormatError, StorageError
from neuroport.files import ordinary, place, read_json, write_json
from neuroport.processes import allow_files
from neuroport.runs.merging import merge_traces, write_merged
from neuroport.runs.shards import in_order
from neuroport.runs.trace import Trace
from neuroport.runs.trace_file import StoredTrace

if TYPE_CHECKING:
    from neuroport.quantization.cost import QuantizationCost

    Result: TypeAlias = Trace | StoredTrace | Comparison | QuantizationCost

T = TypeVar("T")


@takes(shards=as_results, path=is_path)
def merge(
    shards: Sequence[Result | str | os.PathLike[str]],
    path: str | os.PathLike[str] | None = None,
) -> Result:
    """Join the results of all shards of a run, a comparison or a quantization cost, exactly.

    ::

        port.merge([port.run(net, frames, shard=f"{i}/4") for i in (1, 2, 3, 4)])
        port.merge(["1.trace", "2.trace"], "whole.trace")  # of files: in constant memory

    Args:
        shards: results of one kind, in any order: traces, or files of ``record`` and ``neuroport
        run --shard``; or comparisons or costs, or the JSON files of ``neuroport verify``,
        ``compare`` and ``quantize --cost``.
        path: file of the result; needed for traces in files.

    Returns a trace (on disk, if ``path`` is given), a comparison or a cost. All arrays and numbers
    equal those of the unsharded result. Properties of single shards are listed.

    Raises:
        CompareError: a shard is missing, is given twice, or belongs to another network, other
        frames or other options; names it.
        FormatError: a file is not one of these.
        StorageError: there are more shards than files may be open, or ``path`` is one of theirs.
    """
    if path is not None:
        keep_inputs(path, (each.path if isinstance(each, StoredTrace) else each for each in shards))
    allow_shards(sum(isinstance(each, (str, os.PathLike)) for each in shards))
    with ExitStack() as opened:
        names = [str(s) if isinstance(s, (str, os.PathLike)) else "" for s in shards]
        found = [_opened(each, opened) for each in shards]
        kinds = {Trace if isinstance(each, StoredTrace) else type(each) for each in found}
        if len(kinds) > 1:
            said = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise CompareError(f"these are results of several kinds, {said}; merge those of one")
        traces = [each for each in found if isinstance(each, (Trace, StoredTrace))]
        if traces:
            return merge_traces(traces) if path is None else write_merged(traces, path)
        names = [name or f"result {at}" for at, name in enumerate(names)]
        merged: Any
        if all(isinstance(each, Comparison) for each in found):
            merged = merge_comparisons(found, names)  # type: ignore[arg-type]
        else:
            from neuroport.quantization.cost import merge_costs

            merged = merge_costs(found, names)  # type: ignore[arg-type]
        if path is not None:
            write_json(path, merged.to_dict())
    found_merged: Result = merged
    return found_merged


def keep_inputs(path: str | os.PathLike[str], inputs: Iterable[object]) -> None:
    """Refuse to write over a file that is read; inputs that are no paths are passed over.

    Raises:
        StorageError: names the file.
    """
    name = place(path)
    for each in inputs:
        if not isinstance(each, (str, os.PathLike)):
            continue
        source = place(each)
        try:
            same = os.path.samefile(name, source)
        except OSError:  # one does not exist
            same = os.path.realpath(name) == os.path.realpath(source)
        if same:
            raise StorageError(
                f"{name} would be written over {source}, which is read; write to another file"
            )


def allow_shards(count: int) -> None:
    """Let this process merge the files of ``count`` shards, which are open at the same time.

    Raises:
        StorageError: the system permits fewer open files.
    """
    if (limit := allow_files(count)) is not None:
        raise StorageError(
            f"{count} files are needed at once, and a process here may open {limit} (ulimit -Hn); "
            "use fewer shards, or raise that limit"
        )


def merge_comparisons(shards: Sequence[Comparison], names: Sequence[str]) -> Comparison:
    """Join the comparisons of all shards, in any order; for errors see :func:`merge`.

    Verifications stop at the first differing sample; later shards are ignored.
    """
    told = [each.shard for each in shards]
    facts = [
        {
            "networks": str((each.shard or {}).get("networks")),
            "populations": str((each.shard or {}).get("compared")),
            "engines": f"{each.want}, {each.got}",
            "way": "stopping" if (each.shard or {}).get("stops") else "whole",
        }
        for each in shards
    ]
    plain = [None if t is None else {k: t[k] for k in t if k not in _MORE} for t in told]
    parts = [shards[at] for at in in_order(names, plain, facts)]
    about = parts[0].shard or {}
    short = [name for name, each in zip(names, shards, strict=True) if not _complete(each)]
    if short:
        raise CompareError(f"{short[0]}: it compares not all samples of its shard; run it again")
    if about.get("stops"):
        ends = [at for at, part in enumerate(parts) if not part]
        parts = parts[: ends[0] + 1] if ends else parts
    return joined(parts, about["compared"])


_MORE = ("networks", "compared", "stops")
_MOST = 1 << 63  # positions, of which no run has as many


def _complete(part: Comparison) -> bool:
    """Whether a part compares all samples of its shard, or ends where it differs."""
    assert part.shard is not None
    first, last = part.shard["samples"]
    if part.shard.get("stops") and not part:
        return bool(part.samples <= last - first)
    return bool(part.samples == last - first)


def _opened(given: Result | str | os.PathLike[str], opened: ExitStack) -> Result:
    """Open the result in a file; other results are returned unchanged."""
    if not isinstance(given, (str, os.PathLike)):
        if not isinstance(given, (Trace, StoredTrace, Comparison)) and not hasattr(
            given, "synapses"
        ):
            raise CompareError(
                f"{given!r:.100} is not a result; merge traces, comparisons, quantization "
                "costs, or their files"
            )
        return given
    if kind_of(given) == "json":
        return read_result(given)
    return opened.enter_context(StoredTrace(given))


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return ``json``, or ``trace`` for other files; raises a StorageError without a file."""
    with open(ordinary(path, "a result of a shard"), "rb") as file:
        return "json" if file.read(64).lstrip()[:1] == b"{" else "trace"


def read_result(path: str | os.PathLike[str]) -> Comparison | QuantizationCost:
    """Read the comparison or quantization cost in a JSON file.

    Raises:
        FormatError: the file holds neither.
    """
    value = read_json(path)
    where = os.fspath(path)
    if isinstance(value, dict) and isinstance(value.get("cost"), dict):
        value = value["cost"]
    if isinstance(value, dict) and "synapses" in value:
        from neuroport.quantization.cost import QuantizationCost

        cost = _built(QuantizationCost, value, where)
        _check(_cost_facts(cost), where)
        return cost
    if isinstance(value, dict) and "positions" in value:
        found = _built(Comparison, value, where)
        _check(_comparison_facts(found), where)
        return found
    raise FormatError(
        f"{where}: neither a trace nor what verify, compare or quantize --cost say with --json"
    )


# (name in the file, its value, whether it is possible)
Facts: TypeAlias = Iterator[tuple[str, object, bool]]


def _check(facts: Facts, where: str) -> None:
    """Refuse a file with an impossible number, which a sum would hide.

    Raises:
        FormatError: names the number.
    """
    for name, value, possible in facts:
        if not possible:
            raise FormatError(
                f"{where}: {name} is {value!r:.100}, which is impossible here; the file was edited "
                "or damaged: run it again"
            )


def _comparison_facts(found: Comparison) -> Facts:
    for name in ("samples", "populations"):
        yield name, getattr(found, name), 1 <= getattr(found, name) < _MOST
    for name in ("positions", "counts", "spikes", "differing"):
        yield name, getattr(found, name), 0 <= getattr(found, name) < _MOST
    compared = found.positions + found.counts
    yield "positions", found.positions, compared > 0
    # one counted position may stand for many spikes
    yield "spikes", found.spikes, found.spikes <= found.positions or found.counts > 0
    yield "differing", found.differing, found.differing <= compared
    unlike = found.by_population
    yield "by_population", unlike, all(number > 0 for number in unlike.values())
    yield "by_population", unlike, sum(unlike.values()) == found.differing
    yield "by_population", unlike, len(unlike) <= found.populations
    differs = found.first is not None or found.first_count is not None
    yield "differing", found.differing, (found.differing > 0) == differs
    for name, first in (("first", found.first), ("first_count", found.first_count)):
        if first is not None:
            yield f"{name}.population", first.population, first.population in unlike
            yield f"{name}.got", first.got, first.got != first.expected
            yield f"{name}.sample", first.sample, 0 <= first.sample < found.samples
    if found.first is not None:
        yield "first.step", found.first.step, found.first.step >= 0
    if found.shard is not None:
        compared_here = found.shard.get("compared")
        yield (
            "shard.compared",
            compared_here,
            (
                isinstance(compared_here, list)
                and all(isinstance(name, str) for name in compared_here)
                and len(compared_here) == found.populations
            ),
        )
        yield "shard.stops", found.shard.get("stops"), found.shard.get("stops", True) is True


def _cost_facts(found: QuantizationCost) -> Facts:
    yield "samples", found.samples, 1 <= found.samples < _MOST
    of_samples = {
        name: getattr(found, name) for name in ("predictions", "real_correct", "integer_correct")
    }
    for name, value in of_samples.items():
        yield name, value, value is None or 0 <= value <= found.samples
    for population in found.populations:
        name = f"populations: {population.name}"
        yield f"{name}: positions", population.positions, 1 <= population.positions < _MOST
        for key in ("real", "integer", "differing"):
            value = getattr(population, key)
            yield f"{name}: {key}", value, 0 <= value <= population.positions
        yield f"{name}: lsb", population.lsb, 0 <= population.lsb < math.inf
    for synapse in found.synapses:
        name = f"synapses: {synapse.name}"
        for key in ("unit", "largest", "error", "clipped"):
            value = getattr(synapse, key)
            yield f"{name}: {key}", value, 0 <= value < math.inf


def _built(kind: type[T], value: Any, where: str) -> T:
    """Build a dataclass from the JSON of ``asdict``; additional keys are ignored."""
    if not isinstance(value, dict):
        raise FormatError(f"{where}: {value!r:.100} where a {kind.__name__} is expected")
    hints = get_type_hints(kind)
    given = {}
    for each in fields(kind):  # type: ignore[arg-type]
        if each.name in value:
            given[each.name] = _as(hints[each.name], value[each.name], f"{where}: {each.name}")
    try:
        return kind(**given)
    except TypeError as error:
        raise FormatError(
            f"{where}: not a whole {kind.__name__} ({error}); write it again"
        ) from error


def _as(kind: Any, value: Any, where: str) -> Any:
    """Convert a plain value to its annotated type."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        (only,) = [each for each in inner if each is not NoneType]
        return _as(only, value, where)
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_as(inner[0], each, where) for each in value)
    elif origin is dict:
        if isinstance(value, dict):
            return {str(key): _as(inner[1], each, where) for key, each in value.items()}
    elif is_dataclass(kind):
        return _built(kind, value, where)  # type: ignore[arg-type]
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif type(value) is kind:
        return value
    raise FormatError(f"{where} is {value!r:.100}; the file was edited or damaged: run it again")
