"""Every shipped recipe loads by its name and builds the network that it names."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from neuroport.capture.model_size import count  # noqa: E402
from neuroport.nets.families import build  # noqa: E402
from neuroport.recipe import load_recipe, recipe_text  # noqa: E402

SHIPPED = sorted(
    path.name[:-5]
    for path in (resources.files("neuroport") / "recipes").iterdir()
    if path.name.endswith(".toml")
)
# millions of parameters, as published or counted from the authors' code
MILLIONS = {
    "ms_resnet18_imagenet": 11.69,
    "ms_resnet34_imagenet": 21.80,
    "ms_resnet104_imagenet": 77.35,
    "ms_resnet20_cifar10dvs": 0.27,
    "ds_resnet20_cifar10": 4.33,
    "ds_resnet20_gesture": 0.27,
    "ds_resnet14_cifar10dvs": 0.70,
    "ms_resnet20_cifar100": 0.27,
    "ms_resnet32_cifar100": 0.47,
    "ms_resnet44_cifar100": 0.66,
    "ms_resnet56_cifar100": 0.86,
    "ms_resnet110_cifar100": 1.73,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_loads_and_builds_its_network(name: str) -> None:
    recipe = load_recipe(name)
    if name != "demo":
        assert recipe.name == name
        depth = int(re.findall(r"resnet(\d+)", name)[0])
        assert depth == recipe.network.depth or depth == 6 * recipe.network.blocks + 2
        assert all(word in recipe_text(name) for word in ("From ", "Not stated"))
    with torch.device("meta"):
        net = build(recipe.network, recipe.data.shape[0], recipe.data.class_count)
    counts = count(net, recipe.data.shape[1:])
    if name != "demo":
        # the table's networks for 32 x 32 classify into ten
        more = (recipe.data.class_count - 10) * 65 if name.endswith("cifar100") else 0
        assert (counts.parameters - more) / 1e6 == pytest.approx(MILLIONS[name], abs=0.0051)


def test_page_names_every_shipped_recipe() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    between = {f"ms_resnet{depth}_cifar100" for depth in (32, 44, 56)}
    assert {name for name in SHIPPED if f"`{name}`" in page} == set(SHIPPED) - between
    assert set(MILLIONS) | {"demo"} == set(SHIPPED)
