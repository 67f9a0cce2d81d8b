"""The ``[network]`` table of a recipe: the families of networks, and the keys of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from neuroport.checks import require
from neuroport.errors import RecipeError
from neuroport.registry import Registry

# a recipe is anybody's: it does not ask for more than a network has
MOST_BLOCKS = 200  # of a stage, as in the deepest that were published
WIDEST = 1 << 16


@dataclass(frozen=True)
class Family:
    """A family of networks. Another package adds one by an entry point ``neuroport.families``.

    Attributes:
        build: makes a network of a :class:`NetworkRecipe` whose ``in_channels`` and ``classes`` are
            the dataset's; or where it stands, ``module:function``.
        keys: of ``[network]`` that it alone, or with others, knows; all know ``blocks``,
            ``widths``, ``surrogate``, ``learn`` and ``recompute``.
        depths: numbers of layers that its networks for ImageNet have.
    """

    build: str | Callable[[NetworkRecipe], Any]
    keys: tuple[str, ...] = ()
    depths: tuple[int, ...] = ()


_HERE = "neuroport.nets.families"
FAMILIES = Registry(
    ("family", "families"),
    "neuroport.families",
    {
        "ms_resnet": Family(
            f"{_HERE}:ms_resnet",
            ("depth", "shortcut", "projection", "stem_stride", "first_stride"),
            (18, 34, 104),
        ),
        "ds_resnet": Family(f"{_HERE}:ds_resnet", ("levels", "block", "normalize")),
        "danet": Family(
            f"{_HERE}:danet", ("depth", "domain", "reach", "order"), (18, 34, 50, 101, 152)
        ),
        "plain_resnet": Family(f"{_HERE}:plain_resnet"),
        "tdbn_resnet": Family(f"{_HERE}:tdbn_resnet"),
        "sew_resnet": Family(f"{_HERE}:sew_resnet", ("connect",)),
    },
    RecipeError,
)
# keys that some families alone know
OF_SOME = frozenset(key for each in FAMILIES.own.values() for key in each.keys)


def family(name: str) -> Family:
    """The family of a name.

    Raises:
        RecipeError: there is none, or its package is broken.
    """
    require(
        name in FAMILIES,
        f"network.family is {name!r}; known: {', '.join(map(repr, FAMILIES))}",
    )
    found = FAMILIES[name]
    good = isinstance(found, Family) and set(found.keys) <= OF_SOME
    require(
        good,
        f"family {name!r} is {found!r:.200}; a package adds a neuroport.nets.recipe.Family, whose "
        f"keys are some of {', '.join(sorted(OF_SOME))}",
    )
    assert isinstance(found, Family)
    return found


CHOICES: dict[str, tuple[str, ...]] = {
    "shortcut": ("pool", "stride"),
    "projection": ("membrane", "spike", "composed"),
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
    that rounds (:func:`neuroport.nets.synapse.coarsen_stem`), and neither does a ``spike`` or
    ``composed`` projection (:class:`neuroport.nets.ms_resnet.MsResNet`). The keys between belong to
    some families only (``FAMILIES``).
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
    projection: str = "membrane"
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
        own = family(self.family)
        self._unset(sorted(OF_SOME.difference(own.keys)), f"in family {self.family!r}")
        require(
            1 <= self.blocks <= MOST_BLOCKS,
            f"network.blocks is {self.blocks}; use 1 or more, {MOST_BLOCKS} at most",
        )
        if self.depth and own.depths:
            depths = own.depths
            require(
                self.depth in depths,
                f"network.depth is {self.depth}; for ImageNet {self.family} has "
                f"{', '.join(map(str, depths))}; for 6 n + 2 layers leave it out and set blocks",
            )
            taken = ("blocks", "shortcut", "stem_stride", "first_stride")
            self._unset(taken, f"with network.depth = {self.depth}, which decides it")
            require(
                self.projection != "composed" or self.depth != 104,
                "network.projection is 'composed', but at network.depth = 104 the stem is three "
                "convolutions with relays between them; use 'spike' or 'membrane'",
            )
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
