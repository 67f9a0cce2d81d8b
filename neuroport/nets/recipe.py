"""The ``[network]`` table of a recipe: the families of networks, and the keys of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from neuroport.checks import require

# a recipe is anybody's: it does not ask for more than a network has
MOST_BLOCKS = 200  # of a stage, as in the deepest that were published
WIDEST = 1 << 16
# family -> the keys of [network] that it alone, or with others, knows
FAMILIES: dict[str, tuple[str, ...]] = {
    "ms_resnet": ("depth", "shortcut", "stem_stride", "first_stride"),
    "ds_resnet": ("levels", "block", "normalize"),
    "danet": ("depth", "domain", "reach", "order"),
    "plain_resnet": (),
    "tdbn_resnet": (),
    "sew_resnet": ("connect",),
}
DEPTHS = {"ms_resnet": (18, 34, 104), "danet": (18, 34, 50, 101, 152)}
CHOICES: dict[str, tuple[str, ...]] = {
    "shortcut": ("pool", "stride"),
    "block": ("ds", "vanilla"),
    "domain": ("membrane", "spike"),
    "reach": ("stage", "network"),
    "order": ("lif-conv-bn", "bn-lif-conv"),
    "connect": ("add", "and", "iand"),
    "learn": ("none", "decay", "threshold", "both"),
    "stem": ("rounding", "coarse"),
    "surrogate": ("rectangular", "triangular", "sigmoid", "arctan", "slayer"),
}


@dataclass(frozen=True)
class NetworkRecipe:
    """A network of a family: 6 * blocks + 2 layers, or ``depth`` layers for ImageNet.

    ``blocks`` is their number in each of three stages; ``depth`` chooses a network of four stages,
    all of stride 2, instead. ``in_channels`` and ``classes`` are the dataset's; 0 leaves them to
    it. ``recompute`` trades time for memory in training. ``learn`` makes the neurons' ``decay``,
    ``threshold`` or ``both`` parameters of the real-valued phase. A ``coarse`` stem needs no relay
    that rounds (:func:`neuroport.nets.synapse.coarsen_stem`). The keys between belong to some
    families only (``FAMILIES``).
    """

    family: str = "ms_resnet"
    blocks: int = 1
    widths: tuple[int, ...] = (16, 32, 64)
    in_channels: int = 0
    classes: int = 0
    surrogate: str = "rectangular"
    recompute: bool = False
    learn: str = "none"
    depth: int = 0
    shortcut: str = "pool"
    stem_stride: int = 1
    first_stride: int = 1
    levels: int = 3
    block: str = "ds"
    normalize: bool = False
    domain: str = "membrane"
    reach: str = "stage"
    order: str = "lif-conv-bn"
    connect: str = "add"
    stem: str = "rounding"

    def __post_init__(self) -> None:
        require(
            self.family in FAMILIES,
            f"network.family is {self.family!r}; known: {', '.join(map(repr, FAMILIES))}",
        )
        others = {key for keys in FAMILIES.values() for key in keys} - set(FAMILIES[self.family])
        self._unset(sorted(others), f"in family {self.family!r}")
        require(
            1 <= self.blocks <= MOST_BLOCKS,
            f"network.blocks is {self.blocks}; use 1 or more, {MOST_BLOCKS} at most",
        )
        if self.depth and self.family in DEPTHS:
            depths = DEPTHS[self.family]
            require(
                self.depth in depths,
                f"network.depth is {self.depth}; for ImageNet {self.family} has "
                f"{', '.join(map(str, depths))}; for 6 n + 2 layers leave it out and set blocks",
            )
            taken = ("blocks", "shortcut", "stem_stride", "first_stride")
            self._unset(taken, f"with network.depth = {self.depth}, which decides it")
        four = self.depth != 0
        good = len(self.widths) == (4 if four else 3) and min(self.widths) >= 1
        good = good and max(self.widths) <= WIDEST
        advice = "four positive widths ([64, 128, 256, 512])" if four else "three positive widths"
        advice += f", {WIDEST} at most" if max(self.widths, default=0) > WIDEST else ""
        require(good, f"network.widths is {list(self.widths)}; give {advice}")
        for key in ("stem_stride", "first_stride"):
            value = getattr(self, key)
            require(1 <= value <= 1024, f"network.{key} is {value}; use 1 or more, 1024 at most")
        for key in ("in_channels", "classes"):
            value = getattr(self, key)
            require(value >= 0, f"network.{key} is {value}; leave it out: the dataset decides")
        require(1 <= self.levels <= 4, f"network.levels is {self.levels}; use 1 to 4")
        for key, names in CHOICES.items():
            value = getattr(self, key)
            known = " or ".join(map(repr, names)) if len(names) == 2 else ", ".join(names)
            require(value in names, f"network.{key} is {value!r}; use {known}")
        if self.domain == "spike":
            self._unset(("order",), "with network.domain = 'spike', whose norms follow synapses")
        several = self.family == "ds_resnet" and self.levels > 1
        require(
            not several or self.learn not in ("threshold", "both"),
            f"network.learn is {self.learn!r}, but the {self.levels} levels of a neuron share a "
            "grid, on which the distances of their thresholds are exact; use 'decay' or 1 level",
        )
        require(
            self.order == "lif-conv-bn" or self.learn not in ("threshold", "both"),
            f"network.learn is {self.learn!r}, but with network.order = {self.order!r} the norm "
            "before each neuron learns its threshold already; use 'decay' or 'none'",
        )

    @property
    def captured(self) -> bool:
        """Whether the network has an integer phase: a dendrite sums, it does not multiply."""
        return self.family != "sew_resnet" or self.connect == "add"

    @property
    def pooled(self) -> bool:
        """Whether shortcuts average over squares where the shape changes."""
        if self.family != "ms_resnet":
            return False
        return self.depth == 104 if self.depth else self.shortcut == "pool"

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the stem and of every stage."""
        stem, first = (2, 2) if self.depth else (self.stem_stride, self.first_stride)
        return stem, first, *[2] * (len(self.widths) - 1)

    def _unset(self, keys: Iterable[str], where: str) -> None:
        """Refuse a key that would have no effect, before someone relies on it."""
        defaults = {item.name: item.default for item in fields(self)}
        for key in keys:
            value = getattr(self, key)
            require(
                value == defaults[key],
                f"network.{key} is {value!r}, which has no effect {where}; leave it out",
            )
