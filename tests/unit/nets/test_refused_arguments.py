"""What has no meaning is refused where a layer or a family is made, or a setting is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import neuroport as port  # noqa: E402
from neuroport.errors import CaptureError, LayerError  # noqa: E402
from neuroport.nets.baselines import SpikingResNet  # noqa: E402
from neuroport.nets.batchnorm import TdBatchNorm  # noqa: E402
from neuroport.nets.danet import DaNet  # noqa: E402
from neuroport.nets.ds_resnet import DsResNet  # noqa: E402
from neuroport.nets.e_spikeformer import ESpikeformer  # noqa: E402
from neuroport.nets.grid_options import set_grid_options  # noqa: E402
from neuroport.nets.mlf_vgg import MlfVgg  # noqa: E402
from neuroport.nets.ms_resnet import MsResNet  # noqa: E402
from neuroport.nets.neuron import Lif, Mlf, learn  # noqa: E402
from neuroport.nets.synapse import (  # noqa: E402
    Conv,
    GradedConv,
    Readout,
    coarsen_stem,
    convolve_in,
    set_frame_bits,
)
from neuroport.nets.widths import set_widths, widths_of  # noqa: E402
from neuroport.quantization.scales import is_integer  # noqa: E402


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        ({"threshold": 0}, "threshold is 0; give a number above 0"),
        ({"threshold": -1.0}, "threshold is -1.0; give a number above 0"),
        ({"threshold": float("nan")}, "threshold is nan; give a number above 0"),
        ({"threshold": float("inf")}, "threshold is inf; give a number above 0"),
        ({"threshold": "a"}, "threshold is 'a'; give a number above 0"),
        ({"voltage_decay": 1.5}, "voltage_decay is 1.5; give a number from 0 to 1"),
        ({"current_decay": -0.1}, "current_decay is -0.1; give a number from 0 to 1"),
        ({"voltage_decay": "fast"}, "voltage_decay is 'fast'; give a number from 0 to 1"),
        ({"surrogate": "foo"}, "surrogate is 'foo'; use rectangular, triangular"),
        ({"fires_at": "no"}, "fires_at is 'no'; give True or False"),
    ],
)
def test_a_neuron_without_meaning_is_refused(constants: dict[str, Any], said: str) -> None:
    with pytest.raises(LayerError, match=said):
        Lif(**constants)


def test_a_threshold_that_is_set_later_is_checked_too() -> None:
    neuron = Lif()
    neuron.threshold = 0.75
    with pytest.raises(LayerError, match="threshold is 0"):
        neuron.threshold = 0
    assert neuron.threshold == 0.75


def test_numbers_of_numpy_are_numbers() -> None:
    assert Lif(np.float32(0.5), np.float64(0.25)).threshold == 0.5


@pytest.mark.parametrize("what", ["decays", "thresholds", None, True])
def test_what_no_neuron_learns_is_refused(what: Any) -> None:
    neuron = nn.Sequential(Lif())
    with pytest.raises(LayerError, match="use none, decay, threshold, both"):
        learn(neuron, what)


def test_levels_share_a_grid_and_do_not_learn_thresholds() -> None:
    with pytest.raises(LayerError, match="thresholds of 3 levels cannot be learned"):
        learn(nn.Sequential(Mlf()), "threshold")
    with pytest.raises(LayerError, match="give one for each level"):
        Mlf(())


@pytest.mark.parametrize(
    ("family", "arguments", "said"),
    [
        (MsResNet, {"shortcut": "Pool"}, "shortcut is 'Pool'; use pool, stride"),
        (MsResNet, {"stem": "9x9"}, "stem is '9x9'; use 3x3, 7x7, deep"),
        (MsResNet, {"projection": "spikes"}, "projection is 'spikes'; use membrane, spike"),
        (MsResNet, {"downsampling": "mean"}, "downsampling is 'mean'; use stride, max"),
        (MsResNet, {"blocks": 0}, "blocks is 0; give a whole number from 1 on"),
        (MsResNet, {"blocks": (1, 2)}, "blocks are given for 2 stages, widths for 3"),
        (MsResNet, {"blocks": (1, 2, 0)}, r"blocks\[2\] is 0"),
        (MsResNet, {"blocks": 1.5}, "blocks is 1.5"),
        (MsResNet, {"widths": ()}, r"widths is \(\); give the channels of each stage"),
        (MsResNet, {"widths": (16, 0, 64)}, r"widths\[1\] is 0"),
        (MsResNet, {"widths": "abc"}, "widths is 'abc'"),
        (MsResNet, {"classes": 0}, "classes is 0"),
        (MsResNet, {"in_channels": 0}, "in_channels is 0"),
        (MsResNet, {"dropout": 2.0}, "dropout is 2.0; give a number from 0 to 1"),
        (MsResNet.imagenet, {"depth": 50}, "depth is 50; use 18, 34, 104"),
        (DsResNet, {"block": "DS"}, "block is 'DS'; use ds, vanilla"),
        (DsResNet, {"levels": 5}, "levels is 5; use 1, 2, 3, 4"),
        (DsResNet, {"levels": -1}, "levels is -1; use 1, 2, 3, 4"),
        (DsResNet, {"normalize": "no"}, "normalize is 'no'; give True or False"),
        (MlfVgg, {"levels": 7}, "levels is 7; use 1, 2, 3, 4"),
        (DaNet, {"domain": "spikes"}, "domain is 'spikes'; use membrane, spike"),
        (DaNet, {"reach": "all"}, "reach is 'all'; use stage, network, fused"),
        (DaNet, {"order": "bn"}, "order is 'bn'; use lif-conv-bn, bn-lif-conv"),
        (DaNet.imagenet, {"depth": 104}, "depth is 104; use 18, 34, 50, 101, 152"),
        (SpikingResNet, {"block": "SEW"}, "block is 'SEW'; use plain, tdbn, sew"),
        (SpikingResNet, {"connect": "or"}, "connect is 'or'; use add, and, iand"),
        (SpikingResNet, {"block": "sew", "threshold": -1}, "threshold is -1"),
        (SpikingResNet, {"std": (0.0,)}, r"std\[0\] is 0.0; give a number above 0"),
        (ESpikeformer, {"levels": 0}, "levels is 0; give a whole number from 1 on"),
        (ESpikeformer, {"reparameterize": "no"}, "reparameterize is 'no'"),
        (Conv, {"in_channels": 0, "out_channels": 4}, "in_channels is 0"),
        (Conv, {"in_channels": 4, "out_channels": 4, "groups": 3}, "3 groups do not divide 4"),
        (GradedConv, {"in_channels": 3, "out_channels": 4, "pixels": "yes"}, "pixels is 'yes'"),
        (Readout, {"channels": 4, "classes": 0}, "classes is 0"),
    ],
)
def test_a_network_is_never_silently_another_one(
    family: Callable[..., nn.Module], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(LayerError, match=said):
        family(**arguments)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda net: set_widths(net, "Checked"), "widths is 'Checked'; use proven, checked"),
        (lambda net: set_grid_options(net, equalize="no"), "equalize is 'no'; give True or False"),
        (lambda net: set_frame_bits(net, 9), "bits is 9; use 1, 2, 3, 4, 5, 6, 7, 8"),
        (lambda net: convolve_in(net, torch.int8), "precision is .* use torch.float32, torch.bf"),
        (lambda net: convolve_in(net, "bfloat16"), "precision is 'bfloat16'; use torch.float32"),
        (lambda net: coarsen_stem(net.blocks), "Chain has no layer that takes pixels"),
        (lambda net: TdBatchNorm(4, threshold=0), "threshold is 0; give a number above 0"),
    ],
)
def test_a_setting_that_is_not_known_is_refused(change: Callable[[Any], object], said: str) -> None:
    net = MsResNet(1, (4, 4, 4))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(LayerError, match=said):
        change(net)
    assert widths_of(net) == "proven"
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("function", [is_integer, lambda net: learn(net, "none")])
def test_what_is_no_module_is_refused(function: Callable[[Any], object]) -> None:
    with pytest.raises(CaptureError, match=r"net is an? .*, not a torch module"):
        function(3)


def test_pixels_are_normalized_by_one_number_or_by_one_for_each_channel() -> None:
    for given in ((0.5,), (0.5, 0.4, 0.3), torch.tensor([0.5, 0.4, 0.3])):
        assert GradedConv(3, 4, 3, pixels=True, mean=given).mean[0] == 0.5
    with pytest.raises(LayerError, match="mean has 2 numbers for 3 channels"):
        GradedConv(3, 4, 3, pixels=True, mean=(0.5, 0.4))


def test_an_option_that_no_network_has_is_answered_with_those_there_are() -> None:
    with pytest.raises(CaptureError, match=r"equalise: no option .* use widths, equalize"):
        port.quantize(
            MsResNet(1, (4, 4, 4)).eval(), np.zeros((2, 1, 1, 8, 8), np.uint8), equalise=True
        )
