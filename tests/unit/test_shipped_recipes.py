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
    "ms_resnet20_cifar10": 0.27,
    "ms_resnet32_cifar10": 0.47,
    "ms_resnet44_cifar10": 0.66,
    "ms_resnet56_cifar10": 0.86,
    "ms_resnet110_cifar10": 1.73,
    "ms_resnet482_cifar10": 7.76,
    "ms_resnet18_cifar10": 11.17,
    "ms_resnet18_wide_cifar10": 12.50,
    "ds_resnet20_vanilla_cifar10": 4.33,
    "mlf_vgg16_cifar10": 15.12,  # the authors' without the biases before norms
    "sew_resnet18_imagenet": 11.69,
    "sew_resnet34_imagenet": 21.80,
    "sew_resnet50_imagenet": 25.56,
    "sew_resnet101_imagenet": 44.55,
    "sew_resnet152_imagenet": 60.19,
    "ms_resnet20_fashion_mnist": 0.27,
    "ds_resnet20_fashion_mnist": 0.27,
    "sew_resnet20_fashion_mnist": 0.27,
    "danet20_fashion_mnist": 0.27,
    "qkformer20_fashion_mnist": 0.14,
    "e_spikeformer19_fashion_mnist": 0.25,
    "spike_transformer16_fashion_mnist": 0.18,
    "max_resnet18_fashion_mnist": 0.20,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_loads_and_builds_its_network(name: str) -> None:
    recipe = load_recipe(name)
    if name != "demo":
        assert recipe.name == name
        depth = int(re.findall(r"(?:net|vgg|former)(\d+)", name)[0])
        assert depth == recipe.network.layers
        text = recipe_text(name)
        assert "From " in text
        assert "Not stated" in text or "Other than there" in text
    with torch.device("meta"):
        net = build(recipe.network, recipe.data.shape[0], recipe.data.class_count)
    counts = count(net, recipe.data.shape[1:])
    if name != "demo":
        # the table's networks for 32 x 32 classify into ten
        more = (recipe.data.class_count - 10) * 65 if name.endswith("cifar100") else 0
        assert (counts.parameters - more) / 1e6 == pytest.approx(MILLIONS[name], abs=0.0051)


def test_page_names_every_shipped_recipe() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    sets = ("cifar10", "cifar100")
    between = {f"ms_resnet{depth}_{name}" for depth in (32, 44, 56) for name in sets}
    between |= {f"sew_resnet{depth}_imagenet" for depth in (34, 50, 101)}
    assert {name for name in SHIPPED if f"`{name}`" in page} == set(SHIPPED) - between
    assert set(MILLIONS) | {"demo"} == set(SHIPPED)
