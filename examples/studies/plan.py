"""What is trained, on what budget, and why so little: the plan, made before the first run.

Measured on one core (20 layers, widths 8, 16, 32, digits of 14x14, T = 4, batch 25): 0.035 s per
training step for MS-ResNet, 0.04 s for DS-ResNet with three levels; the time grows with the depth,
so 8, 20, 56 and 110 layers take 0.4, 1, 2.8 and 5.5 times as long.

    1,500 digits / batch 25 x 4 epochs     = 240 steps: 8.5 s at 20 layers (MS reaches 93 %)
    depth: 6 families x (0.4+1+2.8+5.5)    = 58 x 8.5 s x 3 seeds    25 min, 33 with evaluation
    dormant: K = 1, 2 at 20 and 56 layers  = 7.6 x 9.5 s x 3 seeds    4 min
    levels: K = 4, and four vanilla ones   = 19 x 10 s x 3 seeds     10 min
    integer: 3 neurons x 3 widths, T <= 4  = 9 x 8 s x 3 seeds        4 min
    equal: two more DANets at 20 layers    = 2 x 8.5 s x 3 seeds      1 min
    spikes: measured on the runs of depth
    gradients: one backward pass at each depth, no training           3 min

in all about an hour of one core to itself. One recipe for all: the learning rate
of MS-ResNet's zoo models, not tuned for any of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from neuroport.recipe import Recipe, from_dict

SEEDS = (0, 1, 2)
DEPTHS = (8, 20, 56, 110)
# the [network] table of each; the pooled projection needs sides that can be halved, 7 cannot.
# DANet's reading of spikes and stages is not here: it is "sew" (neuroport/nets/danet.py)
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {"family": "plain_resnet"},
    "tdbn": {"family": "tdbn_resnet"},
    "sew": {"family": "sew_resnet"},
    "ms": {"family": "ms_resnet", "shortcut": "stride"},
    "ds1": {"family": "ds_resnet", "levels": 1},
    "ds2": {"family": "ds_resnet", "levels": 2},
    "ds3": {"family": "ds_resnet", "levels": 3},
    "ds4": {"family": "ds_resnet", "levels": 4},
    **{
        f"vanilla{levels}": {"family": "ds_resnet", "levels": levels, "block": "vanilla"}
        for levels in (1, 2, 3, 4)
    },
    "da-membrane-stage": {"family": "danet", "domain": "membrane", "reach": "stage"},
    "da-membrane-network": {"family": "danet", "domain": "membrane", "reach": "network"},
    "da-spike-network": {"family": "danet", "domain": "spike", "reach": "network"},
}
DEEP = ("plain", "tdbn", "sew", "ms", "ds3", "da-membrane-stage")
DORMANT = ("ds1", "ds2", "ds3")
LEVELS = tuple(f"{block}{levels}" for block in ("ds", "vanilla") for levels in (1, 2, 3, 4))
EQUAL = ("sew", "ms", *(name for name in NETWORKS if name.startswith("da-")))


@dataclass(frozen=True)
class Budget:
    """What every network gets, whatever its family and depth."""

    train: int = 1500
    test: int = 500
    size: int = 14
    steps: int = 4
    widths: tuple[int, ...] = (8, 16, 32)
    epochs: int = 4
    batch: int = 25
    learning_rate: float = 0.01

    def to_dict(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return {**asdict(self), "widths": list(self.widths)}


@dataclass(frozen=True)
class Run:
    """One network to train."""

    network: str
    depth: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.network}-{self.depth}-seed{self.seed}"

    def recipe(self, budget: Budget) -> Recipe:
        """Its recipe; without a quantized phase."""
        data = {k: getattr(budget, k) for k in ("train", "test", "size", "steps")}
        training = {k: getattr(budget, k) for k in ("epochs", "batch", "learning_rate")}
        return from_dict(
            {
                "name": self.name,
                "seed": self.seed,
                "data": data,
                "network": {
                    **NETWORKS[self.network],
                    "blocks": (self.depth - 2) // 6,
                    "widths": list(budget.widths),
                },
                "training": training,
                "quantization": {"epochs": 0},
            }
        )


class Trained(Protocol):
    """What a study trains: a :class:`Run`, or another choice of networks."""

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def seed(self) -> int: ...
    def recipe(self, budget: Budget) -> Recipe: ...


# study -> its networks and depths, the short ones first
TRAINED: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "equal": (EQUAL, (20,)),
    "dormant": (DORMANT, (20, 56)),
    "levels": (LEVELS, (20, 56)),
    "depth": (DEEP, DEPTHS),
    "spikes": (DEEP, DEPTHS),
}

# integer: (levels, steps) of a neuron that sends 0 to `levels` at each of `steps`, and widths
INTEGER = ((1, 4), (2, 2), (4, 1))
WIDTHS = ((4, 8, 16), (8, 16, 32), (12, 24, 48))
INTEGER_DEPTH = 20

COMPARED = ("plain", "tdbn", "sew", "ms", "ds3")
# isometry: (depth, networks, seeds, whether they are trained)
ISOMETRY: tuple[tuple[int, tuple[str, ...], int, bool], ...] = (
    (20, COMPARED, 3, True),
    (56, COMPARED, 3, True),
    (110, ("sew", "ms"), 3, True),
    (482, COMPARED, 1, False),
)


def isometry_runs(seed: int) -> Iterator[tuple[Run, bool]]:
    """The networks whose isometry is measured with one seed, and whether they are trained."""
    for depth, networks, seeds, trained in ISOMETRY:
        if seed < seeds:
            for network in networks:
                yield Run(network, depth, seed), trained


def projects(depth: int) -> set[int]:
    """The blocks that change the shape, and so a projection is their shortcut."""
    stage = (depth - 2) // 6
    return {stage, 2 * stage}


def runs(study: str, seed: int) -> Iterator[Run]:
    """The networks of a study with one seed, shallow ones first."""
    networks, depths = TRAINED[study]
    for depth in depths:
        for network in networks:
            yield Run(network, depth, seed)
