"""What the engine ``loihi2`` refuses although a board's own file permits it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuroport.backends.loihi2.legality import refuse
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import AdaptiveLif, Conv, Dense, Input, Lif, Readout, Relay
from neuroport.targets.rules import refusals
from neuroport.targets.target import Fact, Target, load_target


def board(key: str) -> Target:
    """A Loihi 2 whose file says that it can do more."""
    chip = load_target("loihi2")
    return replace(chip, values={**chip.values, key: Fact(True, "microcode", "recalled")})


@pytest.mark.parametrize("field", ["threshold", "current_decay", "voltage_decay"])
def test_constants_of_channels_are_refused_whatever_the_board_permits(field: str) -> None:
    """Lava's LIFReset has one of each; the engine would run all channels with the largest."""
    kernel = np.full((2, 2, 3, 3), 2)
    network = Graph(
        [
            Input("frames", (2, 4, 4), bits=1),
            Conv("stem", ("frames",), kernel, padding=(1, 1)),
            Lif("first", ("stem",), 9).replace(**{field: np.array([9, 90])}),
        ],
        4,
    )
    permits = board("channel_constants")
    assert refusals(network, permits) == []
    with pytest.raises(IllegalError, match=rf"first: {field} differs.*Lava's own.*engine_builds"):
        refuse(network, permits)


def test_a_product_beyond_the_inputs_of_a_prod_neuron_is_refused_whatever_is_permitted() -> None:
    def rounded(bits: int) -> Graph:
        return Graph(
            [
                Input("frames", (1,), bits=bits),
                Dense("stem", ("frames",), np.array([[2]])),
                Relay("relay", ("stem",), shift=10),
                Dense("classes", ("relay",), np.array([[2]])),
                Readout("potential", ("classes",)),
            ],
            4,
        )

    permits = board("custom_neurons")
    refuse(rounded(8), permits)
    assert refusals(rounded(22), permits) == []  # 2 * (2**22 - 1) + 2**9 needs more than 24 bits
    with pytest.raises(IllegalError, match=r"relay: it rounds.*8,389,118.*engine_builds"):
        refuse(rounded(22), permits)


def test_a_neuron_that_the_board_adds_is_refused_once() -> None:
    network = Graph(
        [
            Input("frames", (2,), bits=1),
            Dense("stem", ("frames",), np.full((2, 2), 2)),
            AdaptiveLif("first", ("stem",), 64, 9, 100, 100),
        ],
        4,
    )
    with pytest.raises(IllegalError) as error:
        refuse(network, board("custom_neurons"))
    assert str(error.value).count("first:") == 1
    assert "custom_neurons" not in str(error.value)
