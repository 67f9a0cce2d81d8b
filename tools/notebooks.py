"""``python -m tools.notebooks [NAME ...]``: execute examples/notebooks and write what they gave.

A notebook is a script of cells (``NAME.py``, jupytext's percent format); that is the file to edit.
It is executed by a Jupyter kernel of the interpreter that runs this, in an empty folder beside
``models``, and ``NAME.ipynb`` is written with its output. Those whose packages are not installed
here are left as they are, and said.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from neuroport.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "notebooks"
NEEDS = {  # beside neuroport with its extras train and plot
    "slayer_to_lava": ("lava",),
    "own_residual_network": ("lava",),
    "spikingjelly_network": ("spikingjelly", "lava"),
    "neuron_kind": ("lava",),
}
SECONDS = 300  # that a cell may take


def scripts() -> dict[str, Path]:
    """The notebooks by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py"))}


def missing(name: str) -> list[str]:
    """Packages that a notebook needs and that are not installed."""
    return [each for each in NEEDS.get(name, ()) if importlib.util.find_spec(each) is None]


def read(script: Path) -> Any:
    """The notebook of a script, without output; the same script gives the same notebook."""
    import jupytext

    made = jupytext.read(script)
    for number, cell in enumerate(made.cells):
        cell["id"], cell["metadata"] = f"cell-{number}", {}
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "jupytext": {"formats": "ipynb,py:percent"},
    }
    return made


def executed(script: Path) -> Any:
    """The notebook of a script, with what its cells gave and how long it took.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient

    made = read(script)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "examples" / "notebooks"
        folder.mkdir(parents=True)
        (Path(name) / "models").symlink_to(ROOT / "models")
        started = time.perf_counter()
        where = {"metadata": {"path": str(folder)}}
        NotebookClient(made, timeout=SECONDS, kernel_name="python3", resources=where).execute()
        seconds = time.perf_counter() - started
    for cell in made.cells:
        cell["metadata"] = {}
        if cell.cell_type == "code":
            cell["outputs"] = [kept for each in cell["outputs"] if (kept := _kept(each))]
    made.metadata.pop("language_info", None)
    python = ".".join(map(str, sys.version_info[:3]))
    made.metadata["neuroport"] = {"python": python, "seconds": round(seconds, 1)}
    return made


def _kept(output: Any) -> Any:
    """An output without what says nothing: names of axes beside their picture, torch on GPUs."""
    data = output.get("data", {})
    if output.get("text", "").startswith("No CUDA runtime is found"):
        return None
    if "image/png" in data or "text/html" in data:
        data.pop("text/plain", None)
    return None if data.get("text/plain", "").lstrip("[").startswith("<Axes") else output


def main() -> None:
    import nbformat

    parser = argparse.ArgumentParser(description="Execute the notebooks of examples/notebooks.")
    parser.add_argument("names", nargs="*", choices=[[], *scripts()], metavar="NAME")
    for name in parser.parse_args().names or scripts():
        if lacking := missing(name):
            print(f"{name}: left as it is, for want of {', '.join(lacking)}")
            continue
        made = executed(scripts()[name])
        write_atomic(FOLDER / f"{name}.ipynb", nbformat.writes(made) + "\n")
        print(f"{name}: {made.metadata['neuroport']['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
