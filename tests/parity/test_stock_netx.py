"""A shipped network without ground truth: unmodified NetX on Lava is its truth."""

from __future__ import annotations

import numpy as np
import pytest
from packaging.version import Version

import neuroport as port
from neuroport.netx import read, stock
from tests.golden.shipped import folder, net

pytestmark = [
    pytest.mark.lava,
    pytest.mark.skipif(folder() is None, reason="lava-dl is not installed with its tests"),
]

STEPS = 16


@pytest.mark.skipif(
    Version(np.__version__) >= Version("2.5"),
    reason="NetX converts an array of one number by int(), which NumPy 2.5 refuses: it reads no "
    "file whose input layer has a weight",
)
def test_mnist_network_of_the_wheel_runs_as_netx_runs_it() -> None:
    from lava.lib.dl.netx import hdf5
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink

    path = net("mnist.net")
    weight, bias = stock.transform(path)
    image = np.random.default_rng(4).random(784)
    currents = (weight * image + bias).astype(np.int64)

    network = hdf5.Network(net_config=str(path))
    network.in_layer.neuron.bias_mant.init = currents
    length = STEPS + 3  # three layers behind the input, a step each
    sinks = []
    for layer in network.layers[:3]:
        sinks.append(Sink(shape=layer.out.shape, buffer=length))
        layer.out.connect(sinks[-1].a_in)
    try:
        network.run(
            condition=RunSteps(num_steps=length), run_cfg=Loihi2SimCfg(select_tag="fixed_pt")
        )
        rasters = [sink.data.get().T for sink in sinks]
        potential = network.out_layer.neuron.u.get()  # it integrates in its current
    finally:
        network.stop()

    graph = read(path, steps=STEPS)
    frames = np.broadcast_to(currents, (STEPS, 1, 784))
    for engine in ("reference", "fast", "lava-cpu"):
        trace = port.run(graph, frames, on=engine)
        for late, raster in enumerate(rasters):
            found = trace[f"layer{late}"][:, 0]
            assert found.any()
            np.testing.assert_array_equal(found, raster[late : late + STEPS])
        assert potential.any()
        np.testing.assert_array_equal(trace["layer3"][-1, 0], potential)
