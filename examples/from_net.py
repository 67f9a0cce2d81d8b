"""I have a .net file: what stock NetX would do wrong with it, and a file that runs right.

python examples/from_net.py [old.net frames.npy] [folder]

Without a file of yours, lava-dl writes one of a small SLAYER network first: its convolution has
delays, its norm a scale, and its last layer a bias, which stock NetX all gets wrong in silence.
Frames are (T, N, C, H, W), integers. The same at the command line::

    neuroport check old.net --frames frames.npy
    neuroport lower old.net --steps 24 -o new.net
    neuroport run new.net --frames frames.npy --on lava-cpu
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from neuroport.analysis import netx_audit

STEPS, SAMPLES = 24, 4


def write(folder: Path) -> tuple[Path, Path]:
    """A file as lava-dl's own ``export_hdf5`` writes it, and frames."""
    import h5py
    import lava.lib.dl.slayer as slayer
    import torch

    torch.manual_seed(2)
    block, norm = slayer.block.cuba, slayer.neuron.norm
    neuron: dict[str, Any] = {"threshold": 0.6, "current_decay": 1, "voltage_decay": 0}
    own = {"delay_shift": False}
    scaled = {**neuron, "norm": norm.WgtScaleBatchNorm}
    biased = {**neuron, "norm": norm.MeanOnlyBatchNorm}
    blocks = [
        block.Conv(dict(neuron), 2, 4, 3, weight_scale=3, delay=True, **own),
        block.Conv(scaled, 4, 4, 3, weight_scale=4, **own),
        block.Flatten(),
        block.Dense(biased, 4 * 25, 10, weight_scale=3, **own),
    ]
    x = (torch.rand(SAMPLES, 2, 9, 9, STEPS) < 0.3).float()
    with torch.no_grad(), h5py.File(folder / "old.net", "w") as file:
        sent = x
        for index, each in enumerate(blocks):
            sent = each.train()(sent)  # sizes, and means and scales of the norms
            if index == 0:
                each.delay.delay.data = 5 * torch.rand(4)
            if index == 1:
                each.neuron.norm.running_var.fill_(3.9)
            each.export_hdf5(file.create_group(f"layer/{index}"))
    np.save(folder / "frames.npy", np.moveaxis(x.numpy().astype(np.uint8), -1, 0))
    return folder / "old.net", folder / "frames.npy"


def main(*arguments: str) -> int:
    folder = Path(arguments[-1] if len(arguments) % 2 else ".")
    old, data = map(Path, arguments[:2]) if len(arguments) > 1 else write(folder)
    frames = np.load(data)
    report = netx_audit.inspect(old, frames=frames)
    for finding in report.findings:
        print(finding)
    if report.graph is None:
        print(f"no network can be made of it: {report.refusal}")
        return 1
    path = port.export(port.lower(report.graph), folder / "new.net")
    want = port.run(report.graph, frames)
    outcome = port.compare(want, port.run(path, frames, on="lava-cpu"))
    print(f"{path}: {outcome}")
    return outcome.differing


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:])))
