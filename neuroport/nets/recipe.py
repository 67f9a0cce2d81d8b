"""The ``[network]`` table of a recipe: the families of networks, and the keys of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from neuroport.arguments import Check, one_of, whole_number
from neuroport.checks import require
from neuroport.errors import LayerError, RecipeError
from neuroport.registry import Registry

# recipes are untrusted: limit the size of what they ask for
MOST_BLOCKS = 200  # blocks of a stage, as in the deepest published networks
WIDEST = 1 << 16
# depth for ImageNet -> blocks of the four stages; bottlenecks from 50 on, except at 104
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    104: (3, 8, 32, 8),
    152: (3, 8, 36, 3),
}


@dataclass(frozen=True)
class Family:
    """A family of networks. Another package adds one by an entry point ``neuroport.families``.

    Attributes:
        build: function that builds a network from a :class:`NetworkRecipe` whose ``in_channels``
            and ``classes`` are the dataset's; or its location as text, ``module:function``.
        keys: further keys of ``[network]`` that the family accepts. All families accept ``blocks``,
            ``widths``, ``surrogate``, ``learn``, ``recompute``, ``stem``, ``mean`` and ``std``.
        depths: numbers of layers of its networks for ImageNet.
    """

    build: str | Callable[[NetworkRecipe], Any]
    keys: tuple[str, ...] = ()
    depths: tuple[int, ...] = ()


GRAPH = "graph"  # not a family: training is given the network
_HERE = "neuroport.nets.families"
_OF_SPIKES = ("threshold", "voltage_decay", "fires")
FAMILIES = Registry(
    ("family", "families"),
    "neuroport.families",
    {
        "ms_resnet": Family(
            f"{_HERE}:ms_resnet",
            (
                *("depth", "shortcut", "projection", "stem_stride", "first_stride"),
                *("stem_width", "fires", "downsampling"),
            ),
            (18, 34, 104),
        ),
        "ds_resnet": Family(f"{_HERE}:ds_resnet", ("levels", "block", "normalize")),
        "mlf_vgg": Family(f"{_HERE}:mlf_vgg", ("levels",)),
        "danet": Family(
            f"{_HERE}:danet", ("depth", "domain", "reach", "order"), (18, 34, 50, 101, 152)
        ),
        "plain_resnet": Family(
            f"{_HERE}:plain_resnet", ("depth", *_OF_SPIKES), (18, 34, 50, 101, 152)
        ),
        "tdbn_resnet": Family(f"{_HERE}:tdbn_resnet", _OF_SPIKES),
        "sew_resnet": Family(
            f"{_HERE}:sew_resnet", ("depth", "connect", *_OF_SPIKES), (18, 34, 50, 101, 152)
        ),
        "e_spikeformer": Family(
            f"{_HERE}:e_spikeformer", ("levels", "ratio", "reparameterize", "stem_stride")
        ),
        "qkformer": Family(f"{_HERE}:qkformer", ("heads", "ratio", "stem_stride", "first_stride")),
        "spike_transformer": Family(
            f"{_HERE}:spike_transformer",
            ("window", "ratio", "reparameterize", "stem_stride", "first_stride"),
        ),
    },
    RecipeError,
)
# keys that only some families accept
OF_SOME = frozenset(key for each in FAMILIES.own.values() for key in each.keys)


def family(name: str) -> Family:
    """Return the family of a name.

    Raises:
        RecipeError: there is no such family, or its package cannot be imported.
    """
    if name == GRAPH:
        return Family("")
    require(
        name in FAMILIES,
        f"network.family is {name!r}; known: {', '.join(map(repr, (*FAMILIES, GRAPH)))}",
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
    "downsampling": ("stride", "max"),
    "block": ("ds", "vanilla"),
    "domain": ("membrane", "spike"),
    "reach": ("stage", "network", "fused"),
    "order": ("lif-conv-bn", "bn-lif-conv"),
    "connect": ("add", "and", "iand"),
    "learn": ("none", "decay", "threshold", "both"),
    "stem": ("rounding", "coarse"),
    "fires": ("above", "at"),
    "surrogate": ("rectangular", "triangular", "sigmoid", "arctan", "slayer"),
}


def choice(key: str) -> Check:
    """Check for one of the values that ``key`` of a recipe may have; raises a LayerError."""
    return one_of(CHOICES[key], LayerError)


_whole = whole_number(1, LayerError)


def per_stage(blocks: int | Sequence[int], widths: Sequence[int]) -> list[int]:
    """The number of blocks of each stage, given one number for all stages or one for each.

    Raises:
        LayerError: a number is below 1, there are no stages, or their numbers differ.
    """
    if not isinstance(widths, (list, tuple)) or not widths:
        raise LayerError(f"widths is {widths!r:.100}; give the channels of each stage, (16, 32)")
    for stage, width in enumerate(widths):
        _whole(width, f"widths[{stage}]")
    if not isinstance(blocks, (list, tuple)):
        return [_whole(blocks, "blocks")] * len(widths)
    if len(blocks) != len(widths):
        raise LayerError(
            f"blocks are given for {len(blocks)} stages, widths for {len(widths)}; give both for "
            "each stage, or one number of blocks for all"
        )
    return [_whole(number, f"blocks[{stage}]") for stage, number in enumerate(blocks)]


@dataclass(frozen=True)
class NetworkRecipe:
    """A network of a family: 6 * blocks + 2 layers, or ``depth`` layers for ImageNet.

    * ``blocks``: number of blocks in each of three stages, or a list with one number per stage.
    * ``depth``: use the family's network of four stages for ImageNet instead.
    * ``stem_width``: channels of the stem; 0: as many as the first stage.
    * ``mean``, ``std``: normalization of pixels (0 to 1), one number per channel or one for all.
      They are part of the network, which reads raw pixels.
    * ``threshold``, ``voltage_decay`` (fraction lost per step), ``fires`` (only ``above`` the
      threshold, or also ``at`` it): constants of every neuron.
    * ``in_channels``, ``classes``: 0 means those of the dataset.
    * ``recompute``: save memory in training at the cost of time.
    * ``learn``: make the neurons' ``decay``, ``threshold`` or ``both`` parameters of the
      real-valued phase.
    * ``stem = "coarse"`` needs no relay that rounds (:func:`neuroport.nets.synapse.coarsen_stem`),
      and neither does ``projection = "spike"`` or ``"composed"``
      (:class:`neuroport.nets.ms_resnet.MsResNet`).
    * ``family = "graph"`` trains a given graph of integers further and uses only ``surrogate``.

    Other keys belong to some families only (``FAMILIES``); the families' classes describe them.
    """

    family: str = "ms_resnet"
    blocks: int | tuple[int, ...] = 1
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
    stem_width: int = 0
    threshold: float = 0.5
    voltage_decay: float = 0.75
    fires: str = "above"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    downsampling: str = "stride"
    heads: int = 1
    ratio: int = 4
    window: int = 13
    reparameterize: bool = False

    def __post_init__(self) -> None:
        own = family(self.family)
        self._unset(sorted(OF_SOME.difference(own.keys)), f"in family {self.family!r}")
        if self.family == GRAPH:
            others = {item.name for item in fields(self)} - {"family", "surrogate"}
            self._unset(sorted(others), "on a graph, which has its layers")
        listed = isinstance(self.blocks, tuple)
        numbers = self.blocks if isinstance(self.blocks, tuple) else (self.blocks,)
        require(
            len(numbers) >= 1 and all(1 <= n <= MOST_BLOCKS for n in numbers),
            f"network.blocks is {list(numbers) if listed else self.blocks}; use 1 or more in every "
            f"stage, {MOST_BLOCKS} at most",
        )
        if self.depth and own.depths:
            depths = own.depths
            require(
                self.depth in depths,
                f"network.depth is {self.depth}; for ImageNet {self.family} has "
                f"{', '.join(map(str, depths))}; for 6 n + 2 layers leave it out and set blocks",
            )
            taken = (
                *("blocks", "shortcut", "stem_stride", "first_stride", "stem_width"),
                "downsampling",
            )
            self._unset(taken, f"with network.depth = {self.depth}, which decides it")
            require(
                self.projection != "composed" or self.depth != 104,
                "network.projection is 'composed', but at network.depth = 104 the stem is three "
                "convolutions with relays between them; use 'spike' or 'membrane'",
            )
        stages = 4 if self.depth else len(numbers) if listed else 3
        good = len(self.widths) == stages and min(self.widths) >= 1
        good = good and max(self.widths) <= WIDEST
        advice = {3: "three positive widths", 4: "four positive widths ([64, 128, 256, 512])"}.get(
            stages, f"a positive width for each of {stages} stages"
        )
        advice += f", {WIDEST} at most" if max(self.widths, default=0) > WIDEST else ""
        require(good, f"network.widths is {list(self.widths)}; give {advice}")
        for key in ("stem_stride", "first_stride"):
            value = getattr(self, key)
            require(1 <= value <= 1024, f"network.{key} is {value}; use 1 or more, 1024 at most")
        require(
            0 <= self.stem_width <= WIDEST,
            f"network.stem_width is {self.stem_width}; use 0 or more, {WIDEST} at most",
        )
        require(
            0 < self.threshold <= 1024,
            f"network.threshold is {self.threshold}; use more than 0, 1024 at most",
        )
        require(
            0 <= self.voltage_decay <= 1,
            f"network.voltage_decay is {self.voltage_decay}; use 0 (nothing is lost) to 1",
        )
        self._check_normalization()
        for key in ("in_channels", "classes"):
            value = getattr(self, key)
            require(value >= 0, f"network.{key} is {value}; leave it out: the dataset decides")
        require(1 <= self.levels <= 4, f"network.levels is {self.levels}; use 1 to 4")
        self._check_attention()
        for key, names in CHOICES.items():
            value = getattr(self, key)
            known = " or ".join(map(repr, names)) if len(names) == 2 else ", ".join(names)
            require(value in names, f"network.{key} is {value!r}; use {known}")
        if self.domain == "spike":
            self._unset(("order",), "with network.domain = 'spike', whose norms follow synapses")
        several = "levels" in own.keys and self.levels > 1
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

    def _check_attention(self) -> None:
        require(
            self.heads >= 1 and all(width % self.heads == 0 for width in self.widths),
            f"network.heads is {self.heads}; use a number that divides every width of "
            f"{list(self.widths)}",
        )
        require(1 <= self.ratio <= 64, f"network.ratio is {self.ratio}; use 1 to 64")
        require(
            1 <= self.window <= 255 and self.window % 2 == 1,
            f"network.window is {self.window}; use an odd number, 255 at most: 2 s - 1 covers the "
            "last stage's map of s x s",
        )

    def _check_normalization(self) -> None:
        for key in ("mean", "std"):
            values = getattr(self, key)
            least, unit = (0.0, 1.0) if key == "mean" else (1e-6, 1e3)
            require(
                all(least <= value <= unit for value in values),
                f"network.{key} is {list(values)}; "
                + (
                    "pixels are 0 to 1, and so is their mean"
                    if key == "mean"
                    else "use more than 0"
                )
                + ", such as [0.4914, 0.4822, 0.4465] of CIFAR-10 and [0.2023, 0.1994, 0.2010]",
            )
        require(
            bool(self.mean) == bool(self.std),
            "network.mean and network.std belong together; give both, or none",
        )
        require(
            not (self.mean and self.normalize),
            "network.normalize and network.mean normalize both what the stem reads; leave one out",
        )

    @property
    def stages(self) -> tuple[int, ...]:
        """Blocks of each stage."""
        if self.depth:
            return BLOCKS[self.depth]
        return self.blocks if isinstance(self.blocks, tuple) else (self.blocks,) * 3

    @property
    def layers(self) -> int:
        """Number of layers with weights along the network, without projections.

        0 for a graph and for a family of another package, whose layers are not known here.
        """
        if self.family not in FAMILIES.own:
            return 0
        if self.family == "mlf_vgg":
            return sum(self.stages) + 3
        if self.family == "e_spikeformer":
            return 5 * sum(self.stages) + len(self.stages) + 1
        if self.family == "qkformer":
            return 4 * sum(self.stages) + 2 * len(self.stages) + 2
        if self.family == "spike_transformer":
            *convolutional, last = self.stages
            return 2 * sum(convolutional) + 4 * last + 4
        return self.depth or 2 * sum(self.stages) + 2

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
        """Refuse a key that would have no effect."""
        defaults = {item.name: item.default for item in fields(self)}
        for key in keys:
            value = getattr(self, key)
            require(
                value == defaults[key],
                f"network.{key} is {value!r}, which has no effect {where}; leave it out",
            )
