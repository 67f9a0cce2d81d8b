"""A site: the TOML file that describes how to reach a board.

::

    board = "kapoho-point"          # a target, whose rules are checked before anything is built
    chips = 8                       # chips whose power the board's logger adds up
    generation = "N3B3"

    [slurm]                         # or [ethernet]: host_address, host_binary_path
    partition = "kp"                # or board = "NODE"; not both

    [environment]                   # variables for Lava's runtime, such as NXOPTIONS
    [timing]                        # steps; see docs/loihi2.md for how to find them
    [measuring]                     # steps of a measuring run
"""

from __future__ import annotations

import difflib
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from neuroport.errors import StorageError, TargetError
from neuroport.files import parse_toml, place, read_text

VARIABLE = "NEUROPORT_SITE"  # names the site file if none is given
GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")  # Lava 0.10.0, lava/utils/loihi.py
TABLES: dict[str, dict[str, str]] = {
    "slurm": {
        "partition": "the partition from which a node is taken",
        "board": "the node's name; leave the partition out then",
    },
    "ethernet": {
        "host_address": "IP address of the board's host",
        "host_binary_path": "path of nx_driver_server on that host",
    },
    "timing": {
        "input_delay": "steps by which the adapter delays frames beyond Lava's CPU simulator",
        "output_delay": "steps by which the adapter delays recorded messages",
        "read_delay": "steps from reading a state to its arrival on the host",
    },
    "measuring": {"steps": "steps of a run that is measured, at least"},
}
KEYS = {
    "board": "the target, by name or file, whose rules are checked",
    "chips": "chips whose power the board's logger adds up",
    "generation": f"the chips' generation: {', '.join(GENERATIONS)}",
    **dict.fromkeys((*TABLES, "environment"), "a table"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """The settings by which a board is reached.

    Attributes:
        title: the file.
        board: target whose rules apply.
        chips: number of chips whose power the board's logger adds up, used or not.
        generation: generation of the chips.
        host: ``slurm`` or ``ethernet``.
        partition, node: Slurm's partition or node; one of them or neither.
        address, binary: address and binary of the Ethernet host.
        environment: further variables for Lava's runtime.
        input_delay, output_delay, read_delay: steps that adapters and readers take. 0, 0 and 1 are
            the delays of the adapters' public CPU versions (lava-dl, tutorials/lava/lib/dl/netx/
            pilotnet_snn/utils.py); not checked on hardware.
        measured_steps: minimum number of steps of a measured run.
    """

    title: str
    chips: int
    host: str
    board: str = "loihi2"
    generation: str = "N3B3"
    partition: str = ""
    node: str = ""
    address: str = ""
    binary: str = "nxcore/bin/nx_driver_server"
    environment: dict[str, str] = field(default_factory=dict)
    input_delay: int = 0
    output_delay: int = 0
    read_delay: int = 1
    measured_steps: int = 10_000

    @property
    def where(self) -> str:
        """Description of the board."""
        if self.host == "ethernet":
            place = f"host {self.address}"
        elif self.node:
            place = f"Slurm node {self.node}"
        else:
            place = f"Slurm partition {self.partition or 'by default'}"
        return f"{self.board}, {self.generation}, {place}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which ``Site(**values)`` is equal."""
        return asdict(self)


def load_site(path: str | os.PathLike[str]) -> Site:
    """Read the site in a TOML file.

    Raises:
        TargetError: there is no such file, or a key is missing, unknown or of the wrong type.
    """
    try:
        title = place(path)
        table = parse_toml(read_text(title, TargetError, "a site"), title, TargetError)
    except StorageError as error:
        raise TargetError(error.message) from error
    _known(title, "", table, KEYS)
    for name, keys in TABLES.items():
        _known(title, f"{name}.", _table(title, table, name), keys)
    hosts = [name for name in ("slurm", "ethernet") if name in table]
    if len(hosts) != 1:
        found = "both [slurm] and [ethernet]" if hosts else "neither [slurm] nor [ethernet]"
        raise TargetError(
            f"{title}: {found}; a site has the one through which its board is reached"
        )
    if "chips" not in table:
        raise TargetError(
            f"{title}: chips is missing; say how many chips the board has, since the logger "
            "adds up the power of all of them"
        )
    slurm, ethernet = (_table(title, table, name) for name in ("slurm", "ethernet"))
    timing, measuring = (_table(title, table, name) for name in ("timing", "measuring"))
    site = Site(
        title=title,
        host=hosts[0],
        chips=_whole(title, "chips", table["chips"], 1),
        board=_board(title, table.get("board", "loihi2")),
        generation=_text(title, "generation", table.get("generation", "N3B3")),
        partition=_text(title, "slurm.partition", slurm.get("partition", "")),
        node=_text(title, "slurm.board", slurm.get("board", "")),
        address=_text(title, "ethernet.host_address", ethernet.get("host_address", "")),
        binary=_text(
            title,
            "ethernet.host_binary_path",
            ethernet.get("host_binary_path", "nxcore/bin/nx_driver_server"),
        ),
        environment={
            name: _text(title, f"environment.{name}", value)
            for name, value in _table(title, table, "environment").items()
        },
        measured_steps=_whole(title, "measuring.steps", measuring.get("steps", 10_000), 1),
        **{
            name: _whole(title, f"timing.{name}", timing.get(name, usual), 0)
            for name, usual in (("input_delay", 0), ("output_delay", 0), ("read_delay", 1))
        },
    )
    if site.generation not in GENERATIONS:
        raise TargetError(
            f"{title}: generation is {site.generation!r}; use {', '.join(GENERATIONS)}"
        )
    if site.partition and site.node:
        raise TargetError(f"{title}: slurm has a partition and a board; Lava takes one of them")
    return site


def _board(title: str, value: Any) -> str:
    """Return the name of a target, or the path of its file, which begins at the site's folder."""
    board = _text(title, "board", value)
    return os.path.join(os.path.dirname(title), board) if board.endswith(".toml") else board


def _known(title: str, prefix: str, table: dict[str, Any], keys: dict[str, str]) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(keys)}"
            raise TargetError(f"{title}: unknown key {prefix + key!r}; {hint}")


def _table(title: str, table: dict[str, Any], name: str) -> dict[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise TargetError(f"{title}: {name} is {found!r}; make it a table [{name}]")
    return found


def _text(title: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TargetError(f'{title}: {key} is {value!r}; it must be a text in "quotes"')
    return value


def _whole(title: str, key: str, value: Any, least: int) -> int:
    if type(value) is not int or not least <= value < 1 << 31:
        raise TargetError(
            f"{title}: {key} is {value!r}; it must be a whole number, {least} or more"
        )
    return value
