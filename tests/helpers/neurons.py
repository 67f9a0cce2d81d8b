"""One population of each kind that NetX files hold besides LIF, for tests that want every kind."""

from __future__ import annotations

import numpy as np

from neuroport.graph.node import (
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Delta,
    Dense,
    LeakyReadout,
    Node,
    Recurrent,
    ResonateFire,
    Shape,
    Sigma,
    SigmaDelta,
    SubtractiveLif,
    SubtractiveRecurrent,
)


def even(rng: np.random.Generator, rows: int, columns: int, top: int = 40) -> np.ndarray:
    return 2 * rng.integers(-top // 2, top // 2 + 1, (rows, columns))


def neurons(source: str, shape: Shape) -> list[Node]:
    """Populations behind ``source``, which sends messages of ``shape``, without default values."""
    rng = np.random.default_rng(5)
    size = int(np.prod(shape))
    return [
        Dense("to heard", (source,), even(rng, 4, size)),
        Recurrent("heard", ("to heard",), even(rng, 4, 4), 9, 3000, 200, np.arange(4)),
        Dense("to changes", (source,), even(rng, 4, size)),
        Delta("changes", ("to changes",), 2, spike_exponent=5, state_exponent=4),
        Dense("to units", ("changes",), even(rng, 3, 4)),
        SigmaDelta("units", ("to units",), 3, np.array([1, -2, 3]), 5, 4),
        Dense("to sum", ("units",), even(rng, 2, 3)),
        Sigma("sum", ("to sum",)),
        Dense("to phase", (source,), even(rng, 6, size)),
        ResonateFire("phase", ("to phase",), 640, np.array([900, 800, 700]), np.array([-30, 1, 9])),
        Dense("to izhikevich", ("phase",), even(rng, 4, 3)),
        ResonateFire("izhikevich", ("to izhikevich",), 650, 2103, 3273, izhikevich=True),
        Dense("to fading", (source,), even(rng, 3, size)),
        LeakyReadout("fading", ("to fading",), 1200, np.array([300, 4096, 1]), np.array([1, 2, 0])),
        Dense("to tired", (source,), even(rng, 4, size)),
        AdaptiveLif(
            "tired",
            ("to tired",),
            320,
            90,
            np.array([9, 90, 900, 4000]),
            700,
            3000,
            200,
            np.arange(4),
        ),
        Dense("to musing", (source,), even(rng, 3, size)),
        AdaptiveRecurrent(
            "musing", ("to musing",), even(rng, 3, 3), 320, 64, 400, 900, 4000, 100, [1, 0, 2]
        ),
        Dense("to tuned", (source,), even(rng, 6, size)),
        AdaptiveResonateFire(
            "tuned", ("to tuned",), 320, 90, 700, 1500, np.array([900, 2103, 3000]), 3273
        ),
        Dense("to soft", (source,), even(rng, 3, size)),
        SubtractiveLif(
            "soft", ("to soft",), 7, np.array([448, 500, 300]), 3000, 200, np.array([1, 0, 2])
        ),
        Dense("to murmur", (source,), even(rng, 3, size)),
        SubtractiveRecurrent(
            "murmur", ("to murmur",), even(rng, 3, 3), 9, 600, 4000, 150, np.array([0, 1, 2])
        ),
        Dense("to rung", ("tuned",), even(rng, 4, 3)),
        AdaptiveResonateFire("rung", ("to rung",), 650, -9, 60, 900, 2103, 3273, izhikevich=True),
    ]
