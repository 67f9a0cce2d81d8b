"""Recipes: every key is known, every value is checked, and the file is named."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from neuroport.errors import LayerError, RecipeError, StorageError
from neuroport.recipe import (
    DataRecipe,
    NetworkRecipe,
    QuantizationRecipe,
    Recipe,
    TrainingRecipe,
    changed,
    from_dict,
    load_recipe,
    recipe_text,
    to_toml,
)

OF_GRAPH = "[network]\nfamily = 'graph'\n[training]\nepochs = 0\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes) -> str:
    path = written(folder, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_empty_file_is_the_default_recipe(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, "")) == Recipe()


def test_values_of_a_file_replace_the_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(
        written(
            tmp_path,
            """\
            name = "mine"
            seed = 3
            [data]
            steps = 6
            [network]
            blocks = 2
            widths = [4, 5, 6]
            shortcut = "stride"
            [training]
            epochs = 0
            learning_rate = 1
            [quantization]
            epochs = 7
            """,
        )
    )
    assert recipe == Recipe(
        name="mine",
        seed=3,
        data=DataRecipe(steps=6),
        network=NetworkRecipe(blocks=2, widths=(4, 5, 6), shortcut="stride"),
        training=TrainingRecipe(epochs=0, learning_rate=1.0),
        quantization=QuantizationRecipe(epochs=7),
    )
    assert type(recipe.training.learning_rate) is float
    assert recipe.epochs == 7


def test_shipped_recipe_loads_by_name() -> None:
    recipe = load_recipe("demo")
    assert recipe.name == "ms_resnet8_mnist"
    assert recipe.training.learning_rate == 0.015
    assert recipe_text("demo").startswith("#")


def test_file_comes_before_a_shipped_recipe_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").write_text("seed = 99\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("demo").seed == 99


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe(seed=5, network=NetworkRecipe(widths=(1, 2, 3)))]
)
def test_dictionary_comes_back(recipe: Recipe) -> None:
    values = recipe.to_dict()
    assert from_dict(values) == recipe
    assert type(values["network"]["widths"]) is list
    sections = {f.name for f in dataclasses.fields(Recipe)}
    assert set(values) == sections
    assert from_dict(load_recipe("demo").to_dict()) == load_recipe("demo")


def test_recipe_of_before_the_families_is_what_it_was() -> None:
    network = {"family": "ms_resnet", "blocks": 2, "widths": [4, 5, 6], "shortcut": "stride"}
    recipe = from_dict({"network": network})
    assert recipe.network == NetworkRecipe(blocks=2, widths=(4, 5, 6), shortcut="stride")
    assert recipe == from_dict(recipe.to_dict())


def test_texts_beyond_ascii_come_back_from_toml(tmp_path: Path) -> None:
    for root in ("/Ärzte/😀", 'a"b\\c', "tab\tand\x7f"):
        data = dataclasses.replace(Recipe().data, dataset="mnist", root=root)
        recipe = dataclasses.replace(Recipe(), data=data)
        (tmp_path / "r.toml").write_text(to_toml(recipe), encoding="utf-8")
        assert load_recipe(tmp_path / "r.toml") == recipe


def test_an_integer_that_no_float_holds_is_refused() -> None:
    values = {"network": {"mean": [10**400], "std": [1]}}
    with pytest.raises(RecipeError, match=r"network\.mean is .* expected a list of numbers"):
        from_dict(values)


def test_a_change_holds_one_value() -> None:
    assert changed(Recipe(), ["seed=3"]).seed == 3
    for change in ("seed=3\ndata.steps=2", "seed=3\n[data]\nsteps=2"):
        with pytest.raises(RecipeError, match="holds more than one value"):
            changed(Recipe(), [change])


def test_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("sed = 1", "sed", "seed"),
        ("[data]\nstep = 1", "data.step", "data.steps"),
        ("[network]\nwidht = [1, 2, 3]", "network.widht", "network.widths"),
        ("[training]\nlerning_rate = 1.0", "training.lerning_rate", "training.learning_rate"),
        ("[quantisation]\nepochs = 1", "quantisation", "quantization"),
        ("[quantization]\nepoch = 1", "quantization.epoch", "quantization.epochs"),
    ],
)
def test_unknown_key_names_the_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    message = refused(tmp_path, text)
    assert f"unknown key {key!r}" in message
    assert f"did you mean {near!r}?" in message


def test_unknown_key_that_is_near_to_none_lists_the_known(tmp_path: Path) -> None:
    message = refused(tmp_path, "[network]\nxyzzy = 1")
    assert "unknown key 'network.xyzzy'; known: block, blocks, classes, connect, depth" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 7", "name is 7; expected str"),
        ('seed = "7"', "seed is '7'; expected int"),
        ("seed = 1.0", "seed is 1.0; expected int"),
        ("seed = true", "seed is True; expected int"),
        ("data = 5", "data is 5; make it a table: [data]"),
        ("data = [1]", "data is [1]; make it a table"),
        ("[data]\nsteps = 4.5", "data.steps is 4.5; expected int"),
        ("[data]\ndataset = 5", "data.dataset is 5; expected str"),
        ('[training]\nlearning_rate = "fast"', "training.learning_rate is 'fast'; expected float"),
        ("[training]\nwarmup = true", "training.warmup is True; expected float"),
        ("[training]\nflip = 1", "training.flip is 1; expected bool"),
        ("[network]\nwidths = 16", "network.widths is 16; expected a list of integers"),
        ("[network]\nwidths = [1.0, 2.0, 3.0]", "expected a list of integers"),
        ("[network]\nwidths = [true, 2, 3]", "expected a list of integers"),
        ("[[data]]\nsteps = 4", "make it a table"),
        ("seed = 2020-01-01", "expected int"),
    ],
)
def test_value_of_another_type_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[data]\ndataset = "emnist"', "data.dataset is 'emnist'; known: 'mnist5k', 'saccades'"),
        ('[data]\ndataset = "saccades"\nbinning = "events"', "data.binning is 'events'"),
        ('[data]\ndataset = "saccades"\nwindow = -1', "data.window is -1"),
        ('[data]\ndataset = "saccades"\nbinning = "count"\nwindow = 9', "binned by count"),
        ("[data]\nwindow = 9", "mnist5k has pictures"),
        ("[data]\ngain = 2", "mnist5k has pictures"),
        ('[data]\ndataset = "saccades"\ngain = 0', "data.gain is 0; use 1 to 255"),
        ('[data]\ndataset = "saccades"\ngain = 256', "data.gain is 256"),
        ('[data]\nbinning = "count"', "mnist5k has pictures"),
        ("[data]\nsize = 27", "data.size is 27; the pictures of mnist5k have 28"),
        ('[data]\ndataset = "saccades"\nsize = 1025', "data.size is 1025"),
        ("[data]\ntrain = 0", "data.train is 0; use at least 10 samples"),
        ("[data]\nsteps = 0", "data.steps is 0"),
        ("[data]\nsteps = 65", "data.steps is 65"),
        ("[data]\ntrain = 9", "data.train is 9"),
        ("[data]\ntest = 9", "data.test is 9"),
        ("[data]\ntrain = 4001", "data.train + data.test is 5001"),
        (
            '[network]\nfamily = "vgg"',
            "network.family is 'vgg'; known: 'ms_resnet', 'ds_resnet', 'mlf_vgg', 'danet', "
            "'plain_resnet', 'tdbn_resnet', 'sew_resnet'",
        ),
        ("[network]\nblocks = 0", "network.blocks is 0"),
        ("[network]\nwidths = [16, 32]", "network.widths is [16, 32]"),
        ("[network]\nwidths = [16, 32, 0]", "network.widths is [16, 32, 0]"),
        ("[network]\nwidths = []", "network.widths is []"),
        ('[network]\nshortcut = "max"', "network.shortcut is 'max'; use 'pool' or 'stride'"),
        ("[network]\nin_channels = -1", "network.in_channels is -1"),
        ("[network]\nclasses = -1", "network.classes is -1"),
        ("[network]\nstem_stride = 0", "network.stem_stride is 0"),
        ('[network]\nfamily = "ds_resnet"\nlevels = 5', "network.levels is 5; use 1 to 4"),
        ('[network]\nfamily = "ds_resnet"\nblock = "new"', "network.block is 'new'"),
        ('[network]\nfamily = "ds_resnet"\nnormalize = 1', "normalize is 1; expected bool"),
        ('[network]\nfamily = "danet"\ndomain = "x"', "use 'membrane' or 'spike'"),
        ('[network]\nfamily = "sew_resnet"\nconnect = "or"', "use add, and, iand"),
        ('[network]\nsurrogate = "step"', "network.surrogate is 'step'; use rectangular"),
        ("[network]\nlevels = 2", "network.levels is 2, which has no effect in family 'ms_resnet'"),
        ('[network]\nfamily = "tdbn_resnet"\ndepth = 18', "no effect in family 'tdbn_resnet'"),
        ("[network]\nblocks = [1, 0, 1]", "network.blocks is [1, 0, 1]"),
        ("[network]\nblocks = []", "network.blocks is []"),
        ("[network]\nblocks = [1, 2]", "give a positive width for each of 2 stages"),
        ("[network]\nblocks = [1, 2, 3, 4]", "give four positive widths"),
        ("[network]\nstem_width = -1", "network.stem_width is -1"),
        ("[network]\nthreshold = 2.0", "no effect in family 'ms_resnet'"),
        ('[network]\nfamily = "sew_resnet"\nthreshold = 0', "network.threshold is 0"),
        ('[network]\nfamily = "sew_resnet"\nvoltage_decay = 1.5', "voltage_decay is 1.5"),
        ('[network]\nfires = "below"', "network.fires is 'below'"),
        ("[network]\nmean = [0.5]", "network.mean and network.std belong together"),
        ("[network]\nmean = [128]\nstd = [1]", "pixels are 0 to 1, and so is their mean"),
        ("[network]\nmean = [0.5]\nstd = [0]", "network.std is [0.0]; use more than 0"),
        (
            '[network]\nfamily = "ds_resnet"\nnormalize = true\nmean = [0.5]\nstd = [1]',
            "leave one out",
        ),
        ("[network]\ndepth = 20", "ms_resnet has 18, 34, 104; for 6 n + 2 layers leave it out"),
        ("[network]\ndepth = 18", "give four positive widths"),
        (
            "[network]\ndepth = 18\nblocks = 2\nwidths = [4, 4, 4, 4]",
            "network.blocks is 2, which has no effect with network.depth = 18",
        ),
        ("[training]\nepochs = -1", "training.epochs is -1"),
        ("[training]\nbatch = 1", "training.batch is 1"),
        ("[training]\nlearning_rate = 0", "training.learning_rate must be positive"),
        ("[training]\nlearning_rate = nan", "training.learning_rate"),
        ("[training]\nlearning_rate = inf", "training.learning_rate"),
        ("[training]\nweight_decay = -0.1", "training.weight_decay"),
        ("[training]\nweight_decay = inf", "training.weight_decay"),
        ("[training]\nwarmup = -1", "training.warmup"),
        ("[training]\nwarmup = inf", "training.warmup"),
        ("[training]\nshift = -1", "training.shift is -1"),
        ("[training]\nshift = 9", "training.shift is 9"),
        ('[training]\noptimizer = "adam"', "training.optimizer is 'adam'; use 'adamw', 'sgd'"),
        ("[training]\nmomentum = 1", "training.momentum is 1.0"),
        ("[training]\nmomentum = 0\nnesterov = true", "training.nesterov is true"),
        ('[training]\nschedule = "linear"', "training.schedule is 'linear'"),
        ("[training]\ndecay = 0", "training.decay is 0"),
        ("[training]\ndecay = 1.1", "training.decay is 1.1"),
        ("[training]\ndecay_epochs = 0", "training.decay_epochs is 0"),
        ("[training]\ncosine_epochs = -1", "training.cosine_epochs is -1"),
        ("[training]\ncosine_epochs = 1", "training.cosine_epochs is 1; use more than the warm-up"),
        (
            '[training]\nschedule = "step"\ncosine_epochs = 2',
            "training.cosine_epochs is 2, which has no effect on schedule 'step'",
        ),
        (
            "[training]\nmomentum = 0.5",
            "training.momentum is 0.5, which has no effect on optimizer 'adamw'; leave it out",
        ),
        ("[training]\nnesterov = true", "nesterov is True, which has no effect on optimizer"),
        ("[training]\ndecay = 0.5", "decay is 0.5, which has no effect on schedule 'cosine'"),
        (
            '[training]\nschedule = "constant"\ndecay_epochs = 3',
            "training.decay_epochs is 3, which has no effect on schedule 'constant'; leave it out",
        ),
        ("[data]\nroot = 'x'", "root is 'x', which has no effect on mnist5k, which is read from"),
        (
            "[data]\ndataset = 'digit_pairs'\nroot = 'x'",
            "data.root is 'x', which has no effect on digit_pairs, which is read from no folder",
        ),
        *(
            (
                f"{OF_GRAPH}{text}",
                f"training.{text.replace('=', 'is', 1)}, which has no effect on a graph",
            )
            for text in (
                *("learning_rate = 0.5", "warmup = 0.0", "schedule = 'step'", "ema = 0.5"),
                *("cosine_epochs = 5", "schedule_per = 'epoch'", "precision = 'bfloat16'"),
            )
        ),
        (
            f"{OF_GRAPH}[quantization]\nequalize = true",
            "equalize is True, which has no effect on a",
        ),
        ("[training]\nlabel_smoothing = 1", "training.label_smoothing is 1.0"),
        ("[training]\nclip = -1", "training.clip is -1"),
        ("[training]\nclip = nan", "training.clip is nan"),
        ("[training]\nrotate = 181", "training.rotate is 181"),
        ("[training]\nscale = 1", "training.scale is 1.0"),
        ('[training]\ncrop = "random"', "training.crop is 'random'; use 'middle', 'resized'"),
        ('[training]\ncrop = "resized"', "for the picture files of imagenet; mnist5k has none"),
        ("[training]\nauto_augment = true", "training.auto_augment is for colour pictures"),
        ('[training]\nprecision = "float8"', "training.precision is 'float8'; use 'float32',"),
        ("[training]\ncheckpoint_steps = -1", "training.checkpoint_steps is -1"),
        ("[data]\nclasses = 11", "data.classes is 11; mnist5k has 10"),
        ("[quantization]\nepochs = -1", "quantization.epochs is -1"),
        ("[quantization]\nlearning_rate = -1", "quantization.learning_rate must be positive"),
        ('[network]\nfamily = "qkformer"\nheads = 3', "a number that divides every width of"),
        ('[network]\nfamily = "qkformer"\nheads = 0', "network.heads is 0"),
        ('[network]\nfamily = "qkformer"\nratio = 0', "network.ratio is 0; use 1 to 64"),
        ('[network]\nfamily = "spike_transformer"\nwindow = 6', "use an odd number, 255 at most"),
        ('[network]\nfamily = "qkformer"\nwindow = 5', "no effect in family 'qkformer'"),
        ('[network]\ndownsampling = "min"', "use 'stride' or 'max'"),
        (
            '[data]\ndataset = "saccades"',
            "frames of 34 x 34 reach stage 3 with a side of 17, which its average-pooled shortcut "
            "cannot divide by 2: use sides that are multiples of 4 (data.size), or "
            'network.shortcut = "stride"',
        ),
        ("[network]\nstem_stride = 2\nfirst_stride = 3", "stage 1 with a side of 14"),
        (
            '[data]\ndataset = "imagenet"\nroot = "x"\nsize = 112\n'
            "[network]\ndepth = 104\nwidths = [4, 4, 4, 4]",
            "stage 4 with a side of 7, which its average-pooled shortcut cannot divide by 2: use "
            "sides that are multiples of 32 (data.size)",
        ),
        ("seed = -1", "seed is -1"),
        ("seed = 99999999999999999999", "seed is 99999999999999999999"),
        ("[data]\nsplit_seed = -1", "data.split_seed is -1"),
    ],
)
def test_value_out_of_range_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "[data]\nsteps = 1",
        "[data]\nsteps = 64",
        "[data]\ntrain = 10\ntest = 10",
        "[data]\ntrain = 4500\ntest = 500",
        "[network]\nwidths = [1, 1, 1]",
        "[training]\nepochs = 0\nbatch = 2\nshift = 0\nweight_decay = 0\nwarmup = 0",
        "[training]\nshift = 8",
        "[training]\nrotate = 180\nscale = 0.99",
        "[training]\noptimizer = 'sgd'\nmomentum = 0",
        "[training]\nschedule = 'step'\ndecay = 1\ndecay_epochs = 1",
        f"{OF_GRAPH}learning_rate = 0.01\nlabel_smoothing = 0.1\nclip = 1.0\nkeep = 'best'",
        '[training]\noptimizer = "sgd"\nnesterov = true\nschedule = "constant"\nflip = true',
        "[quantization]\nepochs = 0",
        '[network]\nfamily = "sew_resnet"\nconnect = "iand"',
        '[network]\nfamily = "e_spikeformer"\nlevels = 4\n[data]\nsteps = 1',
        '[data]\ndataset = "saccades"\nsize = 36',
        '[data]\ndataset = "saccades"\n[network]\nshortcut = "stride"',
        '[data]\ndataset = "saccades"\n[network]\nfamily = "danet"',
        '[data]\ndataset = "imagenet"\nroot = "x"\n[network]\ndepth = 104\nwidths = [4, 4, 4, 4]',
    ],
)
def test_value_at_the_edge_of_its_range_is_taken(tmp_path: Path, text: str) -> None:
    assert load_recipe(written(tmp_path, text)) != Recipe()


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"stem_stride": 2},
        {"first_stride": 3},
        {"shortcut": "stride"},
        {"depth": 104, "widths": (1, 1, 1, 1)},
        {"depth": 18, "widths": (1, 1, 1, 1)},
    ],
)
def test_frames_are_refused_that_the_network_cannot_take_and_no_others(
    table: dict[str, Any],
) -> None:
    torch = pytest.importorskip("torch")
    from neuroport.nets.families import build
    from neuroport.nets.ms_resnet import MembraneBlock

    network = NetworkRecipe(**{"widths": (1, 1, 1), **table})
    net = build(network, 3, 2).eval()
    shapes: list[Any] = []
    for block in net.modules():
        if isinstance(block, MembraneBlock):
            for part in (block.conv2, block.shortcut):
                part.register_forward_hook(lambda m, x, out: shapes.append(out.shape))
    for size in (8, 12, 17, 24, 32):
        data = DataRecipe(dataset="imagenet", root="x", size=size, steps=1)
        shapes.clear()
        with torch.no_grad(), contextlib.suppress(LayerError, RuntimeError):
            net(torch.zeros(1, 1, 3, size, size))
        # a side of 1 would be stretched without a word
        if shapes[0::2] != shapes[1::2]:
            with pytest.raises(RecipeError, match="average-pooled shortcut"):
                Recipe(data=data, network=network)
        else:
            assert Recipe(data=data, network=network).data.size == size


@pytest.mark.parametrize("text", ["seed =", "[data", "seed = 1\nseed = 2", "= 1", "seed: 1"])
def test_text_that_is_not_toml_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    message = refused(tmp_path, text)
    assert "not TOML" in message
    assert "line" in message


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    assert "not text" in refused(tmp_path, b"\xff\xfe\x00")


def test_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path, "no-such-recipe"):
        with pytest.raises(StorageError) as caught:
            load_recipe(path)
        assert str(path) in str(caught.value)


def test_a_key_without_effect_in_an_earlier_run_counts_as_not_given() -> None:
    values = Recipe().to_dict()
    values["training"] |= {"momentum": 0.5, "decay": 0.7, "cosine_epochs": 3}
    values["data"]["root"] = "/nowhere"
    with pytest.raises(RecipeError, match="has no effect"):
        from_dict(values)
    wanted = Recipe(training=TrainingRecipe(cosine_epochs=3))
    assert from_dict(values, earlier=True) == wanted
    for broken in ({"data": 3}, {"training": {"optimizer": []}}, {"training": {"sed": 1}}):
        with pytest.raises(RecipeError):
            from_dict(broken, earlier=True)


@pytest.mark.parametrize("values", [{"sed": 1}, {"data": {"steps": 0}}, {"data": None}])
def test_error_names_its_source(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="checkpoint: "):
        from_dict(values, "checkpoint")
