"""What snnTorch, Norse and SpikingJelly say of files that :func:`to_nir` wrote.

Runs in an environment that has them (``make nir`` makes one), without neuroport:
``python -m tests.nir.readers FOLDER [TOOL ...]``. Every folder in it holds ``frames.npy``,
(T, N, *shape), and files ``NAME.nir`` for steps of 1 s and ``NAME.ms.nir`` for those of 1e-4 s.
Beside them it writes ``said.npz``: under ``NAME|TOOL`` the spikes (T, N, *shape), or the first line
of the tool's error.

Each tool reads with the reader that it ships, as it is; what it prints is dropped.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

TOOLS = {"snntorch": 1e-4, "norse": 1.0, "spikingjelly": 1.0}  # and the step that each is given


def path_of(folder: Path, name: str, tool: str) -> Path:
    """The file of a network that a tool reads."""
    return folder / (f"{name}.nir" if TOOLS[tool] == 1 else f"{name}.ms.nir")


def snntorch(graph: Any, x: Any) -> list[Any]:
    """Without a batch: it flattens samples, too. Its neurons keep their state themselves."""
    from snntorch.import_nir import import_from_nir

    module, state, said = import_from_nir(graph), None, []
    for step in x:
        spikes, state = module(step, state)
        said.append(spikes)
    return said


def norse(graph: Any, x: Any) -> list[Any]:
    """Without a batch, for the same reason."""
    import norse.torch

    module, state, said = norse.torch.from_nir(graph, dt=TOOLS["norse"]), None, []
    for step in x:
        spikes, state = module(step, state)
        said.append(spikes)
    return said


def spikingjelly(graph: Any, x: Any) -> list[Any]:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    module, state, said = import_from_nir(graph, dt=TOOLS["spikingjelly"]), None, []
    for step in x:
        spikes, state = module(step[None], state)
        said.append(spikes[0])
    return said


READERS: dict[str, Callable[[Any, Any], list[Any]]] = {
    "snntorch": snntorch,
    "norse": norse,
    "spikingjelly": spikingjelly,
}


def read_one(tool: str, path: Path, frames: Any) -> Any:
    """Spikes (T, N, *shape), or why there are none."""
    import nir
    import torch

    samples = torch.tensor(frames, dtype=torch.float32).unbind(1)
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            said = [
                torch.stack([torch.as_tensor(s) for s in READERS[tool](nir.read(path), sample)])
                for sample in samples  # a module each: none has states of the last sample
            ]
    except Exception as error:  # whatever stops a tool is what it says
        lines = str(error).splitlines() or [""]
        return np.array(f"{type(error).__name__}: {lines[0]}")
    return torch.stack(said, 1).numpy() > 0.5


def main() -> None:
    logging.disable(logging.WARNING)
    root, tools = Path(sys.argv[1]), sys.argv[2:] or list(TOOLS)
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        frames = np.load(folder / "frames.npy")
        names = sorted(p.name.removesuffix(".ms.nir") for p in folder.glob("*.ms.nir"))
        said = {
            f"{name}|{tool}": read_one(tool, path_of(folder, name, tool), frames)
            for name in names
            for tool in tools
        }
        np.savez_compressed(folder / "said.npz", **said)
    found = {name: version(name) for name in (*tools, "nir", "nirtorch", "torch")}
    (root / "versions.txt").write_text("".join(f"{n} {v}\n" for n, v in found.items()))


if __name__ == "__main__":
    main()
