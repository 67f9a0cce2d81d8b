"""What is known of each dataset before it is read: shape, classes, and where it is published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """Facts of a dataset.

    Args:
        channels: channels of a frame (2 for events: OFF, then ON).
        height, width: of the sensor or picture; 0 where the recipe's ``size`` must say it.
        classes: number of classes; 0 where the recipe's ``classes`` must say it.
        events: whether samples are events to be binned; a picture is shown at every step.
        samples: how many there are, where neuroport splits them itself; 0 for a published split.
        root: whether the recipe's ``root`` must name a folder.
    """

    channels: int
    height: int
    width: int
    classes: int
    events: bool = False
    samples: int = 0
    root: bool = False


KNOWN = {
    "mnist5k": Dataset(1, 28, 28, 10, samples=5000),
    "saccades": Dataset(2, 34, 34, 10, events=True, samples=5000),
}
