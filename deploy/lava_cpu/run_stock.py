"""Run a .net file on Lava's CPU simulator with lava-dl alone, and store what every layer sent.

    python run_stock.py NETWORK.net FRAMES.npy OUT.npz

NETWORK is a file that neuroport exported from a chain (or lowered with --carrier stock). FRAMES is
(T, N, C, H, W), integers. OUT holds per layer ``layer0 ...`` (steps, *shape): spikes, step 0 being
Lava's time step 1, ``potential``, the voltage of the last layer after each step, and ``seconds``,
the time that the run took once everything was compiled.

Nothing here is neuroport's: it shows that unmodified lava-dl 0.6 reads the file. What NetX cannot
express ends with NotImplementedError. Lava itself runs on Python 3.10 only; on a newer one it needs
neuroport beside it, which makes it importable.
"""

import json
import sys
import time

import h5py
import numpy as np

if sys.version_info >= (3, 11):
    try:
        from neuroport.backends.lava_cpu.newer_python import prepare
    except ImportError:
        sys.exit("Lava 0.10 runs on Python 3.10; on a newer one it needs: pip install neuroport")
    prepare()

from lava.lib.dl.netx import hdf5
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.monitor.process import Monitor


def main(path: str, frames_path: str, out_path: str) -> None:
    frames = np.load(frames_path)
    with h5py.File(path, "r") as file:
        arguments = json.loads(file["layer"].attrs.get("netx", "{}"))
        depth = sum(
            b"input" not in layer["type"][0] and b"flatten" not in layer["type"][0]
            for layer in file["layer"].values()
        )
    net = hdf5.Network(net_config=path, **arguments)
    interval = arguments["reset_interval"]
    steps, samples = frames.shape[:2]
    length = (samples - 1) * interval + steps + depth
    stream = np.zeros((length, *frames.shape[2:]), np.int32)
    for n in range(samples):
        stream[n * interval : n * interval + steps] = frames[:, n]
    if net.inp.shape == frames.shape[:1:-1]:  # feature maps are (W, H, C) in Lava
        data = stream.transpose(*range(stream.ndim - 1, 0, -1), 0)
    else:
        data = stream.reshape(length, -1).T
    source = Source(data=data)
    source.s_out.connect(net.inp)
    sinks = []
    for layer in net.layers:
        sink = Sink(shape=layer.out.shape, buffer=length)
        layer.out.connect(sink.a_in)
        sinks.append(sink)
    monitor = Monitor()
    monitor.probe(net.out_layer.neuron.v, length)
    try:
        # the first step compiles the network
        net.run(condition=RunSteps(num_steps=1), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        started = time.perf_counter()
        net.run(condition=RunSteps(num_steps=length - 1))
        seconds = time.perf_counter() - started
        # (W, H, C, steps) -> (steps, C, H, W)
        found = {f"layer{i}": sink.data.get().T.astype(np.int32) for i, sink in enumerate(sinks)}
        (voltages,) = next(iter(monitor.get_data().values())).values()
        # (steps, W, H, C) -> (steps, C, H, W)
        voltages = voltages.reshape(length, *net.out_layer.neuron.v.shape)
        voltages = voltages.transpose(0, *range(voltages.ndim - 1, 0, -1))
    finally:
        net.stop()
    np.savez(out_path, potential=voltages.astype(np.int32), seconds=seconds, **found)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python run_stock.py NETWORK.net FRAMES.npy OUT.npz")
    main(*sys.argv[1:])
