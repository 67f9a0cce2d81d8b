"""The properties of each dataset: shape, classes, reader, and where it is published.

Another package adds a dataset by an entry point of the group ``neuroport.datasets`` that names a
:class:`Dataset`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from neuroport.errors import RecipeError
from neuroport.registry import Registry


@dataclass(frozen=True)
class Dataset:
    """Properties of a dataset.

    Args:
        channels: channels of a frame (2 for events of a camera: OFF, then ON).
        height, width: size of the sensor or picture.
        classes: number of classes.
        events: whether samples are events to be binned; a picture is shown at every step.
        resized: whether the recipe's ``size`` may be any number; otherwise it must divide the
            dataset's own.
        samples: number of samples if neuroport splits them itself; 0 if the dataset has its own
            split.
        layout: files below the recipe's ``root``; empty if no root is needed.
        folder: folder of the dataset if the recipe has no ``root``; empty if a root is needed.
        package: how to install the dataset into that folder.
        published: who publishes it; neuroport downloads nothing.
        files: whether samples are picture files. Training may crop these differently in every
            epoch, and their folders determine the classes.
        policy: the policy of AutoAugment for its pictures; empty if they have no colours.
        reader: function that reads the dataset, or its location as text, ``module:function``. It is
            called with the recipe's :class:`~neuroport.data.recipe.DataRecipe` and whether to read
            the training samples. It returns recordings (:class:`~neuroport.data.loading.Source`) of
            events, or :class:`~neuroport.data.samples.Samples` of pictures.
        split: whether the reader takes only the recipe and returns both parts as a
            :class:`~neuroport.data.samples.Split`.
    """

    channels: int
    height: int
    width: int
    classes: int
    events: bool = False
    resized: bool = False
    samples: int = 0
    layout: str = ""
    published: str = ""
    files: bool = False
    policy: str = ""
    reader: str | Callable[..., Any] = ""
    split: bool = False
    folder: str = ""
    package: str = ""


def _idx(published: str, folder: str = "", package: str = "") -> Dataset:
    return Dataset(
        1,
        28,
        28,
        10,
        layout="train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte, packed (.gz) or not",
        published=published,
        reader="neuroport.data.idx:idx_folder",
        folder=folder,
        package=package,
    )


def _events(side: int, classes: int, layout: str, published: str) -> Dataset:
    return Dataset(2, side, side, classes, True, True, layout=layout, published=published)


_OWN = {
    "mnist5k": Dataset(
        1, 28, 28, 10, samples=5000, reader="neuroport.data.digits:load_digits", split=True
    ),
    "saccades": Dataset(2, 34, 34, 10, events=True, resized=True, samples=5000),
    "nmnist": _events(
        34,
        10,
        "NMNIST/Train/0/00002.bin and NMNIST/Test/0/00004.bin, a folder per digit",
        "https://www.garrickorchard.com/datasets/n-mnist",
    ),
    "dvsgesture": _events(
        128,
        11,
        "DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy and DVSGesture/ibmGestureTest/..., "
        "as the package tonic unpacks them",
        "https://research.ibm.com/interactive/dvsgesture",
    ),
    "cifar10dvs": _events(
        128,
        10,
        "CIFAR10DVS/airplane/0.aedat4, 1,000 in a folder per class, as the package tonic unpacks "
        "them",
        "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671",
    ),
    "shd": Dataset(
        1,
        1,
        700,
        20,
        events=True,
        resized=True,
        layout="SHD/shd_train.h5 and SHD/shd_test.h5, unpacked",
        published="https://zenkelab.org/resources/spiking-heidelberg-datasets-shd",
    ),
    "cifar10": Dataset(
        3,
        32,
        32,
        10,
        policy="cifar10",
        layout="cifar-10-batches-bin/data_batch_1.bin to data_batch_5.bin and test_batch.bin, "
        "the binary version",
        published="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "cifar100": Dataset(
        3,
        32,
        32,
        100,
        policy="cifar10",
        layout="cifar-100-binary/train.bin and test.bin, the binary version",
        published="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "digit_pairs": Dataset(
        3,
        32,
        32,
        100,
        policy="cifar10",
        reader="neuroport.data.digit_pairs:load_digit_pairs",
        split=True,
    ),
    "mnist": _idx("http://yann.lecun.com/exdb/mnist"),
    "fashion_mnist": _idx(
        "https://github.com/zalandoresearch/fashion-mnist",
        "/usr/share/datasets/fashion-mnist",
        "apt-get install dataset-fashion-mnist (of Debian and Ubuntu)",
    ),
    "imagenet": Dataset(
        3,
        224,
        224,
        1000,
        resized=True,
        files=True,
        policy="imagenet",
        layout="train/<class>/*.JPEG and val/<class>/*.JPEG, a folder per class",
        published="https://www.image-net.org",
    ),
}
_READERS = {
    "saccades": "neuroport.data.loading:saccades",
    "nmnist": "neuroport.data.loading:nmnist_folder",
    "dvsgesture": "neuroport.data.loading:gesture",
    "cifar10dvs": "neuroport.data.loading:cifar10_dvs",
    "shd": "neuroport.data.loading:shd_half",
    "cifar10": "neuroport.data.pictures:cifar",
    "cifar100": "neuroport.data.pictures:cifar",
    "imagenet": "neuroport.data.pictures:folders",
}
KNOWN = Registry(
    ("dataset", "datasets"),
    "neuroport.datasets",
    {name: replace(known, reader=known.reader or _READERS[name]) for name, known in _OWN.items()},
    RecipeError,
)
