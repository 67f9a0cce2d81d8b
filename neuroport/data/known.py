"""What is known of each dataset before it is read: shape, classes, and where it is published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """Facts of a dataset.

    Args:
        channels: channels of a frame (2 for events of a camera: OFF, then ON).
        height, width: of the sensor or picture.
        classes: number of classes.
        events: whether samples are events to be binned; a picture is shown at every step.
        resized: whether the recipe's ``size`` may be any; else it divides the dataset's own.
        samples: how many there are, where neuroport splits them itself; 0 for a split that is part
            of the dataset.
        layout: files below the recipe's ``root``; empty where no root is needed.
        published: who publishes it; nothing is ever downloaded.
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


def _events(side: int, classes: int, layout: str, published: str) -> Dataset:
    return Dataset(2, side, side, classes, True, True, layout=layout, published=published)


KNOWN = {
    "mnist5k": Dataset(1, 28, 28, 10, samples=5000),
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
        layout="cifar-10-batches-bin/data_batch_1.bin to data_batch_5.bin and test_batch.bin, "
        "the binary version",
        published="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "cifar100": Dataset(
        3,
        32,
        32,
        100,
        layout="cifar-100-binary/train.bin and test.bin, the binary version",
        published="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "imagenet": Dataset(
        3,
        224,
        224,
        1000,
        resized=True,
        layout="train/<class>/*.JPEG and val/<class>/*.JPEG, a folder per class",
        published="https://www.image-net.org",
    ),
}
