"""Read one group of an untrusted stock NetX file, and refuse fields that were not read.

Stock NetX converts values (``astype(int)``) and ignores unknown fields. Here, a number that is not
an integer and a field that was not read are errors that name layer and field.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from neuroport.errors import FormatError
from neuroport.graph.node import IntArray
from neuroport.hdf5 import short

LARGEST = 1 << 31


class Entry:
    """A group. Each getter marks its field as read; :meth:`finish` refuses the other fields.

    Args:
        values: its content, from :func:`neuroport.hdf5.plain_tree`.
        where: name of the group for error messages, beginning with the path of the file.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where
        self.read: set[str] = set()

    def has(self, name: str) -> bool:
        return name in self.values

    def is_group(self, name: str) -> bool:
        return isinstance(self.values.get(name), dict)

    def child(self, name: str) -> Entry:
        """Return a group inside this one."""
        self.read.add(name)
        if not self.is_group(name):
            self.refuse(name, "is missing or not a group; export the network again")
        return Entry(self.values[name], f"{self.where}/{name}")

    def text(self, name: str) -> str:
        self.read.add(name)
        found = self.values.get(name)
        if not isinstance(found, str) or not found.isprintable() or not 0 < len(found) < 40:
            self.refuse(name, "is missing or no word; export the network again")
        return found

    def integers(self, name: str, default: int | None = None) -> IntArray:
        """Return an array of integers, stored in any type; ``default`` if it is absent.

        Raises:
            FormatError: the field is absent without a default, or has values other than integers.
        """
        self.read.add(name)
        if default is not None and not self.has(name):
            return np.array(default, np.int64)
        data = self.values.get(name)
        if not isinstance(data, np.ndarray) or data.size == 0:
            self.refuse(name, "is missing or holds no numbers; export the network again")
        if data.dtype.kind == "f":
            whole = np.isfinite(data) & (data == np.round(data))
            if not whole.all():
                self.refuse(
                    name,
                    f"holds {data[~whole].flat[0]:g}, which is not an integer, and NetX would "
                    "truncate it; export quantized integers",
                )
        if np.any(np.abs(data.astype(np.float64)) >= LARGEST):
            self.refuse(name, "holds numbers beyond 32 bits; export the network again")
        return np.asarray(data.astype(np.int64))

    def integer(self, name: str, default: int | None = None) -> int:
        """Return one integer, stored as a scalar or as an array of one."""
        values = self.integers(name, default)
        if values.size != 1:
            self.refuse(name, f"holds {values.size} values where one is expected")
        return int(values.flat[0])

    def pair(self, name: str, default: int) -> tuple[int, int]:
        """Return (H, W), stored as two numbers or one for both."""
        values = self.integers(name, default).reshape(-1)
        if len(values) not in (1, 2):
            self.refuse(name, f"holds {len(values)} values where two are expected")
        return int(values[0]), int(values[-1])

    def sizes(self, name: str) -> tuple[int, ...]:
        """Return the shape of a layer: at most three positive sizes, at most 2**24 neurons."""
        values = tuple(int(n) for n in self.integers(name).reshape(-1))
        if len(values) > 3 or min(values) < 1 or float(np.prod(values, dtype=float)) > 1 << 24:
            self.refuse(name, f"is {values}; a layer has up to 3 sizes and 2**24 neurons")
        return values

    def expect(self, name: str, values: Iterable[int], why: str) -> None:
        """Refuse a field that is present with another value."""
        if self.has(name) and (found := self.integer(name)) not in values:
            self.refuse(name, f"is {found}; {why}")
        self.read.add(name)

    def pass_over(self, *names: str) -> None:
        """Ignore fields that do not affect a run."""
        self.read.update(names)

    def finish(self) -> None:
        """Refuse fields that were not read: NetX ignores them, but they may have a meaning."""
        unread = sorted(set(self.values) - self.read)
        if unread:
            name = unread[0] if unread[0].isidentifier() else short(unread[0])
            self.refuse(name[:100], "is unknown to NetX, which would ignore it; remove it")

    def refuse(self, name: str, why: str) -> NoReturn:
        raise FormatError(f"{self.where}: field {name} {why}")
