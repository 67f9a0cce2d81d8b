"""Every page of ``docs`` with code on it is run as a reader would, or says where it is run."""

from __future__ import annotations

import pkgutil
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from neuroport.graph.node import OWN_KINDS
from tests.conftest import Neuroport
from tests.docs.pages import DOCS, ROOT, Reader, has_code, prints

LAVA = (
    "howto/lava_slow.md",
    "tutorials/own_network.md",
    "tutorials/slayer_to_lava.md",
    "tutorials/training_loop.md",
)
READ = (
    *LAVA,
    "adding_a_chip.md",
    "adding_a_dataset.md",
    "adding_a_family.md",
    "adding_a_front_end.md",
    "adding_an_engine.md",
    "howto/accuracy_lost.md",
    "howto/does_not_fit.md",
    "howto/few_levels.md",
    "howto/forward_refused.md",
    "howto/frames_refused.md",
    "howto/lava_missing.md",
    "howto/many_machines.md",
    "howto/refused_at_lower.md",
    "howto/spikes_differ.md",
    "index.md",
    "reference/python.md",
    "report.md",
)
ELSEWHERE = {
    "adding_a_neuron.md": "tests/kinds/test_soft_lif.py",
    "loihi2.md": "tests/unit/test_deploy.py",  # its commands want a board
    "nir.md": "tests/nir/test_page.py",
    "plot.md": "tests/unit/test_plot.py",
    "snntorch.md": "tests/libraries/test_pages.py",
    "spikingjelly.md": "tests/libraries/test_pages.py",
    "recipes.md": "tests/docs/test_recipe_page.py",
    "slayer.md": "tests/docs/test_pages.py",
    "studies.md": "tests/docs/test_studies.py",
    "targets.md": "tests/unit/targets/test_targets.py",
}


@pytest.mark.parametrize(
    "name", [pytest.param(page, marks=[pytest.mark.lava] * (page in LAVA)) for page in READ]
)
def test_the_page_can_be_followed(name: str, tmp_path: Path, called: Neuroport) -> None:
    pytest.importorskip("torch")
    (tmp_path / "models").symlink_to(ROOT / "models")
    Reader(DOCS / name, tmp_path, called).follow()


@pytest.mark.lava
def test_the_page_on_slayer_takes_a_network_of_slayer(tmp_path: Path, called: Neuroport) -> None:
    import lava.lib.dl.slayer as slayer
    import torch

    neuron = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.25}
    torch.manual_seed(0)
    x = (torch.rand(2, 1, 4, 4, 6) < 0.4).float()
    net = torch.nn.Sequential(
        slayer.block.cuba.Conv(neuron, 1, 3, 3, weight_scale=3, delay_shift=False)
    )
    net(x)
    reader = Reader(DOCS / "slayer.md", tmp_path, called)
    reader.module.__dict__.update(net=net, x=x)
    reader.follow()
    comparison = reader.printed
    assert comparison is not None
    assert comparison.strip().endswith("0 differ")


def test_every_page_with_code_is_run_somewhere() -> None:
    pages = [path for path in DOCS.rglob("*.md") if has_code(path)]
    names = {str(path.relative_to(DOCS)) for path in pages}
    assert names == {*READ, *ELSEWHERE}
    for name, test in ELSEWHERE.items():
        assert Path(name).name in (ROOT / test).read_text(), test


def test_what_a_page_shows_is_compared_but_for_dots() -> None:
    assert prints("a  1\nb\n", "a 1\nb\n")
    assert prints("took 3 s, 0 differ", "took ... s, 0 differ")
    assert not prints("took 3 s, 1 differ", "took ... s, 0 differ")
    assert not prints("more a", "a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nprint(2)\n```\n\n```text\n3\n```\n", "page.md:5 prints\n2"),
        ("```sh\nneuroport show missing.net\n```\n", "missing.net"),
        ("```sh\nneuroport targets # exit 1\n```\n", "neuroport targets"),
    ],
)
def test_what_a_page_says_wrong_is_noticed(
    text: str, says: str, tmp_path: Path, called: Neuroport
) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match=says):
        Reader(page, tmp_path, called).follow()


def test_frames_of_the_shipped_model_are_what_the_pages_say() -> None:
    frames = np.load(ROOT / "models" / "ms_resnet8_mnist" / "frames.npy")
    assert frames.shape == (4, 20, 1, 28, 28)


def test_the_page_on_the_file_lists_every_kind_and_its_fields() -> None:
    rows: dict[str, str] = {}
    for line in (DOCS / "format.md").read_text().splitlines():
        first, _, fields_of = line.removeprefix("| `").partition("` | ")
        if line.startswith("| `") and first in OWN_KINDS:
            rows.setdefault(first, fields_of)
    assert set(rows) == set(OWN_KINDS)
    for name, kind in OWN_KINDS.items():
        told, like = rows[name], re.findall(r"as `(\w+)`", rows[name])
        while like:
            told += rows[like[0]]
            like = [*like[1:], *re.findall(r"as `(\w+)`", rows[like[0]])]
        wanted = {item.name for item in fields(kind)} - {"name", "inputs"}
        assert wanted <= set(re.findall(r"`(\w+)`", told)), name


def test_names_of_the_package_on_the_pages_exist() -> None:
    pytest.importorskip("lava.lib.dl")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    files = [f"/{name}" for name in listed.splitlines()]
    for page in DOCS.rglob("*.md"):
        text = page.read_text()
        names = re.findall(r"`(neuroport(?:\.\w+)+)", text)
        for name in names if page.name != "extending.md" else ():  # which has entry points
            pkgutil.resolve_name(name)
        for name in re.findall(r"`([\w/]+/\w+\.(?:py|c|toml))`", text):
            assert any(file.endswith(f"/{name}") for file in files), f"{page}: {name}"
