"""Shards: n nearly equal parts of the samples of a test set, for parallel runs.

Samples are independent, because states reset between them. Shards can therefore run anywhere, in
any order, and be joined exactly. Shard ``2/4`` of 1,000 samples holds samples 250 to 499.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from neuroport.errors import CompareError, FramesError
from neuroport.runs.frames import frames_hash

_TEXT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Shard:
    """Number ``number`` of ``of`` shards, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def read(cls, text: str | Shard) -> Shard:
        """Parse a text such as ``2/4``.

        Raises:
            FramesError: the text is not a shard.
        """
        if isinstance(text, Shard):
            return text
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of:
            raise FramesError(
                f"shard is {text!r:.100}; give i/n, the number of a shard and how many there are, "
                "from 1/n to n/n"
            )
        return cls(number, of)

    def samples(self, total: int) -> slice:
        """Return this shard's samples, given the number of all samples.

        Raises:
            FramesError: there are fewer samples than shards.
        """
        if self.of > total:
            raise FramesError(
                f"shard {self} of {total} samples: a shard would be empty; make {total} shards at "
                "most"
            )
        return slice((self.number - 1) * total // self.of, self.number * total // self.of)

    def told(self, total: int, frames: str) -> dict[str, Any]:
        """Describe this shard, for the provenance of a result; ``frames``: hash of all frames."""
        part = self.samples(total)
        return {
            "number": self.number,
            "of": self.of,
            "samples": [part.start, part.stop],
            "total": total,
            "frames": frames,
        }


def samples_of(
    shard: str | Shard | None, frames: npt.NDArray[Any]
) -> tuple[slice, dict[str, Any] | None]:
    """Return the samples of a shard and its description; all samples and None without a shard.

    Raises:
        FramesError: the shard does not exist, or there are no samples.
    """
    if frames.ndim < 2:
        raise FramesError(
            f"frames are {frames.shape}; give (T, N, C, H, W), steps and samples first"
        )
    total = frames.shape[1]
    if shard is None:
        return slice(0, total), None
    asked = Shard.read(shard)
    return asked.samples(total), asked.told(total, frames_hash(frames))


def in_order(
    names: Sequence[str],
    told: Sequence[Any],
    facts: Sequence[Mapping[str, Hashable]],
) -> list[int]:
    """Return the positions of all shards of a run, first to last.

    Args:
        names: names of the results for messages, such as files.
        told: the description of each result's shard (:meth:`Shard.told`).
        facts: entries that must be equal in all shards, by their names in messages.

    Raises:
        CompareError: a result is not a shard, belongs to another run, is given twice, or is
            missing.
    """
    if not names:
        raise CompareError("there is nothing to merge; give the results of all shards")
    for name, each in zip(names, told, strict=True):
        if each is None:
            raise CompareError(f"{name} is not a shard; merge results of --shard i/n")
        if not _sound(each):
            raise CompareError(f"{name}: its shard is {each!r:.200}, which none is; run it again")
    wholes = [{"frames": each["frames"], "number of shards": each["of"]} for each in told]
    for what in (*wholes[0], *dict.fromkeys(key for each in facts for key in each)):
        values = [{**whole, **each}.get(what) for whole, each in zip(wholes, facts, strict=True)]
        usual = Counter(values).most_common(1)[0][0]
        for name, value in zip(names, values, strict=True):
            if value != usual:
                other = names[values.index(usual)]
                raise CompareError(
                    f"{name} belongs to another run than {other}: {what} {_short(value)}, not "
                    f"{_short(usual)}; merge the shards of one run"
                )
    by_number: dict[int, int] = {}
    for position, each in enumerate(told):
        shard = Shard(each["number"], each["of"])
        if shard.number in by_number:
            raise CompareError(
                f"shard {shard} is there twice, {names[by_number[shard.number]]} and "
                f"{names[position]}; give it once"
            )
        by_number[shard.number] = position
    of, total = told[0]["of"], told[0]["total"]
    missing = [number for number in range(1, of + 1) if number not in by_number]
    if missing:
        part = Shard(missing[0], of).samples(total)
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CompareError(
            f"shard {missing[0]}/{of} (samples {part.start} to {part.stop - 1}) is missing{more}; "
            "run it, and merge again"
        )
    return [by_number[number] for number in range(1, of + 1)]


def _sound(told: Any) -> bool:
    """Whether this is a valid result of :meth:`Shard.told`."""
    try:
        shard = Shard.read(f"{told['number']}/{told['of']}")
        return bool(shard.told(told["total"], str(told["frames"])) == told)
    except (FramesError, KeyError, TypeError, ValueError):
        return False


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text[:14] if re.fullmatch(r"(2:)?[0-9a-f]{64}", text) else text[:200]
