"""Find by how much a network does not fit a target, and changes that make it fit.

Changes are tried on the layers' shapes, so each is known to suffice (by the fitted formulas): fewer
bits of all weights, fewer channels everywhere, or a larger board. The cheapest change loses the
least weight memory; a larger board loses none, but must be available.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from neuroport.targets.population_demands import PopulationDemand, SynapseDemand
from neuroport.targets.resources import TITLES, Resources, resources
from neuroport.targets.target import Target, load_target, names


@dataclass(frozen=True, slots=True)
class Change:
    """One change that makes the network fit; ``lost`` is the lost share of weight memory."""

    what: str
    cores: int
    lost: float

    def __str__(self) -> str:
        return f"{self.what}: {self.cores:,} cores"


def shortfall(found: Resources) -> list[str]:
    """List what does not fit, and by how much; empty if everything fits."""
    lines = []
    for placed in found.impossible:
        name = placed.binding  # the limit that is exceeded by most
        need, limit = getattr(placed.tiling.full, name), found.target.limit(name)
        sources = sum(synapse.copies for synapse in placed.layer.arriving)
        cure = f"sum its {sources} sources in a relay first" if sources > 1 else "pool before it"
        lines.append(
            f"{placed.layer.name}: one neuron needs {need:,} {TITLES[name]}, a core has "
            f"{limit:,}; {cure}"
        )
    over = found.cores - found.target.capacity
    if over > 0:
        lines.append(
            f"{found.cores:,} cores are needed, {over:,} more than the {found.target.capacity:,} "
            f"of {found.target.name}; {found.chips} chips, where there are {found.target['chips']}"
        )
    return lines


def changes(layers: Sequence[PopulationDemand], found: Resources) -> list[Change]:
    """Return changes that make ``layers`` fit the target of ``found``, cheapest first.

    A board with the same chip, if one is shipped, comes last.
    """
    target = found.target
    tried = [
        change for change in (_fewer_bits(layers, target), _narrower(layers, target)) if change
    ]
    return [*sorted(tried, key=lambda change: change.lost), *_larger_board(found)]


def _fewer_bits(layers: Sequence[PopulationDemand], target: Target) -> Change | None:
    most = max((s.bits for layer in layers for s in layer.arriving), default=1)
    for bits in range(most - 1, 0, -1):
        made = [
            replace(
                layer,
                arriving=tuple(replace(s, bits=min(s.bits, bits)) for s in layer.arriving),
            )
            for layer in layers
        ]
        found = resources(made, target)
        if found.fits:
            what = f"weights of at most {bits} bits (now {most})"
            return Change(what, found.cores, _lost(layers, made))
    return None


def _narrower(layers: Sequence[PopulationDemand], target: Target) -> Change | None:
    """Return the largest share of channels that fits, in whole percent, by bisection."""
    low, high = 0, 100
    best: list[PopulationDemand] = []
    while high - low > 1:
        middle = (low + high) // 2
        made = [_scaled(layer, middle / 100) for layer in layers]
        if resources(made, target).fits:
            low, best = middle, made
        else:
            high = middle
    if not best:
        return None
    what = f"{low} % of the channels of every population that others read"
    return Change(what, resources(best, target).cores, _lost(layers, best))


def _scaled(layer: PopulationDemand, share: float) -> PopulationDemand:
    arriving = tuple(
        s if s.outside else replace(s, axons=ceil(s.axons * share)) for s in layer.arriving
    )
    if not layer.readers:
        return replace(layer, arriving=arriving)
    shape = (max(1, ceil(layer.shape[0] * share)), *layer.shape[1:])
    return replace(layer, shape=shape, arriving=arriving)


def _lost(before: Sequence[PopulationDemand], after: Sequence[PopulationDemand]) -> float:
    return 1 - _weights(after) / max(1, _weights(before))


def _weights(layers: Sequence[PopulationDemand]) -> int:
    def bits(layer: PopulationDemand, synapse: SynapseDemand) -> int:
        return synapse.copies * synapse.axons * layer.shape[0] * synapse.bits

    return sum(bits(layer, synapse) for layer in layers for synapse in layer.arriving)


def _larger_board(found: Resources) -> list[Change]:
    if found.impossible:
        return []
    chip = {key: value for key, value in found.target.values.items() if key != "chips"}
    for name in names():
        board = load_target(name)
        if not board.is_chip:
            continue
        same = {key: value for key, value in board.values.items() if key != "chips"} == chip
        if same and found.cores <= board.capacity:
            what = f"{name}, which has {board.capacity:,} cores"
            return [Change(what, found.cores, 0.0)]
    return []
