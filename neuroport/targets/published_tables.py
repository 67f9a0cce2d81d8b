"""The published partition tables, and the residuals of the fitted formulas.

Each file in ``tables`` is one table of a lava-dl notebook, printed by the compiler before the
authors ran the network on Loihi 2, with the shapes of the network's layers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources as packaged
from math import ceil
from typing import Any

from neuroport.targets.core_memory import synapse_words
from neuroport.targets.population_demands import PopulationDemand, SynapseDemand
from neuroport.targets.resources import Placed, resources
from neuroport.targets.target import Fact, Target, load_target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXACT = 0.01  # share by which synapse words may differ and count as reproduced


@dataclass(frozen=True, slots=True)
class Row:
    """One layer: numbers of the table (``published``) and of the formulas (``placed``)."""

    published: dict[str, Any]
    placed: Placed

    @property
    def words(self) -> float:
        """Synapse words per core by the formula, at the published tile.

        It is the mean if the cores of a flat layer differ, because the table does not say which
        core it shows.
        """
        layer, said = self.placed.layer, self.published
        if "tile" in said:
            return synapse_words(layer, int(said["tile"][2]))
        if "neurons" in said:
            return synapse_words(layer, int(said["neurons"]))
        cores = int(said["cores"])
        size = ceil(layer.neurons / cores)
        parts = [size] * (layer.neurons // size) + [layer.neurons % size]
        return sum(synapse_words(layer, part) for part in parts if part) / cores

    @property
    def residual(self) -> float:
        """Relative error of :attr:`words`."""
        said = self.published["synapse_words"]
        return float(self.words - said) / said if said else float(self.words != said)

    @property
    def reproduced(self) -> bool:
        """Whether the synapse words are within 1 %."""
        return abs(self.residual) <= EXACT

    @property
    def same_cores(self) -> bool:
        """Whether the tiling, which does not use the table, needs as many cores."""
        return bool(self.placed.cores == self.published["cores"])

    @property
    def same_tile(self) -> bool:
        """Whether the tile is equal, if the table has one."""
        tile = self.published.get("tile")
        return tile is None or list(self.placed.tiling.tile) == tile

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        got = self.placed.to_dict()
        keys = ("tile", "cores", "axon_map_words", "axon_memory_words")
        return {
            "layer": self.placed.layer.name,
            "published": self.published,
            "formula": {"synapse_words": self.words, **{key: got[key] for key in keys}},
            "residual": self.residual,
            "same_cores": self.same_cores,
        }


@dataclass(frozen=True, slots=True)
class Table:
    """One published table: its rows, and the chip with its compiler's limit."""

    network: str
    source: str
    bits: str
    target: Target
    rows: tuple[Row, ...]

    @property
    def cores(self) -> tuple[int, int]:
        """Total cores: published, and by the formulas."""
        return (
            sum(row.published["cores"] for row in self.rows),
            sum(row.placed.cores for row in self.rows),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        said, got = self.cores
        return {
            "network": self.network,
            "source": self.source,
            "bits": self.bits,
            "cores": {"published": said, "formula": got},
            "rows": [row.to_dict() for row in self.rows],
        }

    def lines(self) -> Iterator[str]:
        """Return the table for a terminal: published numbers and those of the formulas."""
        said, got = self.cores
        yield f"{self.network}: {said} cores published, {got} by the formulas ({self.source})"
        yield f"  weight bits {self.bits}"
        yield "  layer   tile           cores          words of synapses     residual  axon map"
        for row in self.rows:
            tiling, found = row.placed.tiling, row.published
            tile = "x".join(str(n) for n in tiling.tile)
            tile += "" if row.same_tile else "!"
            cores = f"{found['cores']} / {tiling.cores}{'' if row.same_cores else '!'}"
            words = f"{found['synapse_words']:,} / {row.words:,.0f}"
            axons = f"{found['axon_map']:,} / {tiling.full.axon_map_words:,}"
            yield (
                f"  {row.placed.layer.name:8}{tile:15}{cores:15}{words:22}"
                f"{100 * row.residual:+7.1f} %  {axons}"
            )
            if why := found.get("why"):
                yield f"          differs: {why}"


def tables() -> tuple[Table, ...]:
    """Return all published tables."""
    folder = packaged.files(__package__) / "tables"
    files = sorted((p for p in folder.iterdir() if p.name.endswith(".toml")), key=lambda p: p.name)
    return tuple(_table(tomllib.loads(file.read_text())) for file in files)


def summary(found: tuple[Table, ...]) -> str:
    """Summarize how well the formulas reproduce all rows."""
    rows = [row for table in found for row in table.rows]
    words = sum(row.reproduced for row in rows)
    cores = sum(row.same_cores for row in rows)
    return (
        f"{words} of {len(rows)} tiles have the published synapse words within 1 %, {cores} of "
        f"{len(rows)} layers the published cores; fitted after the fact, not run on hardware"
    )


def layers_of(table: dict[str, Any]) -> tuple[PopulationDemand, ...]:
    """Return the layers of a published table; each is read by the next."""
    entries = table["layer"]
    following = [*entries[1:], None]
    return tuple(
        PopulationDemand(
            entry["name"],
            "lif",
            tuple(entry["shape"]),
            (SynapseDemand(entry["kind"], entry["axons"], entry["bits"]),)
            if "kind" in entry
            else (),
            ((after["name"], after["kind"]),) if after else (),
        )
        for entry, after in zip(entries, following, strict=True)
    )


def compiled_for(limit: int) -> Target:
    """Return a Loihi 2 chip with this compiler limit of synapse words, which was raised once."""
    chip = load_target("loihi2")
    words = Fact(limit, "printed by the compiler, see the table's source", "seen")
    return replace(chip, values={**chip.values, "synapse_words": words})


def _table(content: dict[str, Any]) -> Table:
    found = resources(layers_of(content), compiled_for(content["synapse_limit"]))
    rows = [Row(said, got) for said, got in zip(content["layer"], found.placed, strict=True)]
    return Table(content["network"], content["source"], content["bits"], found.target, tuple(rows))
