"""Notebooks are what their scripts say, were executed without an error, and draw what they show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupytext")
pytest.importorskip("nbclient")

from tools import notebooks  # noqa: E402
from tools.site.notebooks import page  # noqa: E402

NAMES = [
    "neuron_kind",
    "own_residual_network",
    "reading_a_divergence",
    "slayer_to_lava",
    "spikingjelly_network",
    "what_a_chip_will_cost",
]


def stored(name: str) -> Any:
    return nbformat.read(notebooks.FOLDER / f"{name}.ipynb", as_version=4)


def texts(cell: Any) -> str:
    """What a cell printed, and the tables that it showed."""
    data = (output.get("data", {}) for output in cell.outputs)
    return "".join(output.get("text", "") for output in cell.outputs) + "".join(
        each.get("text/html", "") for each in data
    )


def drawn(cell: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_every_script_is_a_notebook() -> None:
    assert [*notebooks.scripts()] == NAMES
    assert sorted(path.stem for path in notebooks.FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_its_script_with_what_its_cells_gave(name: str) -> None:
    made, script = stored(name), notebooks.read(notebooks.scripts()[name])
    assert [(c.cell_type, c.source) for c in made.cells] == [
        (c.cell_type, c.source) for c in script.cells
    ], "run make notebooks"
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert "error" not in kinds
    assert not [o for c in code for o in c.outputs if o.get("name") == "stderr"]
    assert sum(map(drawn, code)) >= 1
    assert "0 differ" in "".join(map(texts, code)) or name == "reading_a_divergence"


def test_all_notebooks_take_less_than_eight_minutes() -> None:
    assert sum(stored(name).metadata.neuroport.seconds for name in NAMES) < 480


@pytest.mark.parametrize(
    "name", ["reading_a_divergence", pytest.param("what_a_chip_will_cost", marks=pytest.mark.long)]
)
def test_notebook_gives_again_what_it_gave(name: str) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("ipykernel")
    made = notebooks.executed(notebooks.scripts()[name])
    for got, want in zip(made.cells, stored(name).cells, strict=True):
        if got.cell_type == "code":
            assert texts(got) == texts(want)
            assert drawn(got) == drawn(want)


@pytest.mark.parametrize("name", NAMES)
def test_page_of_a_notebook_has_its_pictures_and_says_how_it_was_executed(
    name: str, root: Path
) -> None:
    text, pictures = page(notebooks.FOLDER / f"{name}.ipynb")
    assert re.findall(r"\]\(([\w-]+\.png)\)", text) == [*pictures]
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())
    assert re.search(r"\*Executed with Python 3\.\d+\.\d+ in \d+ s", text)
    assert f"notebooks/{name}.md" in (root / "mkdocs.yml").read_text()
