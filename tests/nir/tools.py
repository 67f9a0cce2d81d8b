"""What other tools say of the files in ``files``, and of files that :func:`to_nir` writes.

Writes ``files/said.npz``: frames, and the spikes of the tools on them. It needs an environment with
nir, nirtorch, norse, snntorch and sinabs, which those who run the tests need not have:

    python -m tests.nir.tools

* Norse 1.1 reads ``lif_norse.nir`` and runs it as it is; of ``braille.nir`` it leaves out the bias
  of the loop at the first step, so that its run here is of that network without that bias.
* snnTorch 1.0 gives the numbers of ``braille.nir`` to its cells: ``Synaptic``, reset to zero
  without delay, the loop written out. (Its own reader fails on the file, its ``RSynaptic`` resets
  late.)
* sinabs 3.1 reads ``scnn_mnist.nir``; its neurons are set to what NIR says: one spike at most, a
  reset to zero, no lower bound. By default it fires several times a step and subtracts.
* snnTorch reads ``leaking.nir``, which :func:`to_nir` wrote for its steps of 1e-4 s: integers that
  leak, with a shortcut of spikes; its neurons are set to reset to zero, without delay.
* Norse reads ``exported.nir``, which :func:`to_nir` wrote: integers with a shortcut of spikes. (Its
  executor visits nodes depth first: where two branches of synapses meet, one comes a step late.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FILES = Path(__file__).parent / "files"


def frames(shape: tuple[int, ...], share: float, steps: int) -> Any:
    """Random spikes (T, N, *shape)."""
    return np.random.default_rng(18).random((steps, 4, *shape)) < share


def norse(path: Path, x: Any, dt: float, without: str | None = None) -> Any:
    import nir
    import norse.torch
    import torch

    graph = nir.read(path)
    if without is not None:
        graph.nodes[without].bias = np.zeros_like(graph.nodes[without].bias)
    module, state, said = norse.torch.from_nir(graph, dt=dt), None, []
    with torch.no_grad():
        for step in x:
            spikes, state = module(torch.tensor(step, dtype=torch.float32), state)
            said.append(spikes.numpy())
    return np.stack(said) > 0.5


def snntorch_reads(path: Path, x: Any) -> Any:
    import nir
    import torch
    from snntorch.import_nir import import_from_nir

    module = import_from_nir(nir.read(path))
    for layer in module.modules():
        if hasattr(layer, "reset_mechanism"):
            layer.reset_mechanism, layer.reset_delay = "zero", False
    state: tuple[Any, ...] = ()
    said = []
    with torch.no_grad():
        for step in torch.tensor(x, dtype=torch.float32):
            spikes, *state = module(step, *state)
            said.append(spikes.numpy())
    return np.stack(said) > 0.5


def snntorch(x: Any, dt: float) -> Any:
    import nir
    import snntorch as snn
    import torch

    nodes = nir.read(FILES / "braille.nir").nodes

    def cell(node: Any) -> Any:
        return snn.Synaptic(
            alpha=torch.tensor(1 - dt / node.tau_syn),
            beta=torch.tensor(1 - dt / node.tau_mem),
            threshold=torch.tensor(node.v_threshold),
            reset_mechanism="zero",
            reset_delay=False,
        )

    def affine(name: str, v: Any) -> Any:
        weight, bias = (
            torch.tensor(getattr(nodes[name], key)).double() for key in ("weight", "bias")
        )
        return v.double() @ weight.T + bias

    first, second = cell(nodes["lif1.lif"]), cell(nodes["lif2"])
    hidden = current = voltage = torch.zeros(x.shape[1], 38)
    other = level = torch.zeros(x.shape[1], 7)
    said: list[Any] = []
    with torch.no_grad():
        for step in torch.tensor(x).double():
            drive = affine("fc1", step) + affine("lif1.w_rec", hidden)
            hidden, current, voltage = first(drive, current, voltage)
            spikes, other, level = second(affine("fc2", hidden), other, level)
            said.append(spikes.numpy().copy())
    return np.stack(said) > 0.5


def sinabs(x: Any) -> Any:
    import nir
    import torch
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.nir import from_nir

    steps, samples = x.shape[:2]
    module = from_nir(nir.read(FILES / "scnn_mnist.nir"), batch_size=samples)
    for layer in module.modules():
        if hasattr(layer, "spike_fn"):
            layer.spike_fn, layer.reset_fn, layer.min_v_mem = SingleSpike, MembraneReset(), None
    with torch.no_grad():
        given = torch.tensor(x, dtype=torch.float32).transpose(0, 1).flatten(0, 1)
        said = module(given)
    said = said[0] if isinstance(said, tuple) else said
    return said.numpy().reshape(samples, steps, 10).swapaxes(0, 1) > 0.5


def main() -> None:
    one, braille, maps = (
        frames((1,), 0.5, 60),
        frames((12,), 0.3, 60),
        frames((2, 34, 34), 0.05, 12),
    )
    exported = frames((6,), 0.4, 40)
    np.savez_compressed(
        FILES / "said.npz",
        lif_norse=norse(FILES / "lif_norse.nir", one, 1e-3),
        lif_norse_frames=one,
        braille_norse=norse(FILES / "braille.nir", braille, 1e-4, "lif1.w_rec"),
        braille_snntorch=snntorch(braille, 1e-4),
        braille_frames=braille,
        scnn_mnist_sinabs=sinabs(maps),
        scnn_mnist_frames=maps,
        exported_norse=norse(FILES / "exported.nir", exported, 1.0),
        leaking_snntorch=snntorch_reads(FILES / "leaking.nir", exported),
        exported_frames=exported,
    )


if __name__ == "__main__":
    main()
