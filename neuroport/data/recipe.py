"""The ``[data]`` table of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from neuroport.checks import one_of, require, seed
from neuroport.data.catalog import KNOWN, Dataset
from neuroport.errors import RecipeError

HOUR = 3_600_000_000  # microseconds
MOST_CLASSES = 1 << 16


@dataclass(frozen=True)
class DataRecipe:
    """Dataset, number of steps T, and number of samples (chosen with a seed of their own).

    * ``train``, ``test``: numbers of samples; 0 means all, if the dataset has its own split.
    * ``root``: folder of the dataset. If empty, ``fashion_mnist`` is read from its Debian package,
      and ``saccades``, which are simulated, are kept in the user's cache folder.
    * ``binning``: bin events by ``time`` or by ``count``. ``window`` is the length of a step in
      microseconds; 0 means the recording's length / T. A frame holds ``gain`` times the count, at
      most 255.
    * ``size``: side of a frame (its columns if the sensor is one row). Pictures in memory are
      averaged down to a divisor of their own size.
    * ``classes``: number of classes; 0 means the dataset's own.
    * ``resize``, ``train_size``: the shorter side of a picture file is resized to ``resize`` (0:
      256 / 224 of ``size``), and the centre is cut to ``size``, for training to ``train_size`` (0:
      ``size``).
    * ``bits``: bits of a pixel; with 4, pixels are 0 to 15.
    """

    dataset: str = "mnist5k"
    steps: int = 4
    train: int = 4000
    test: int = 1000
    split_seed: int = 0
    root: str = ""
    binning: str = "time"
    window: int = 0
    gain: int = 1
    size: int = 0
    classes: int = 0
    bits: int = 8
    resize: int = 0
    train_size: int = 0

    def __post_init__(self) -> None:
        names = ", ".join(repr(name) for name in KNOWN)
        require(self.dataset in KNOWN, f"data.dataset is {self.dataset!r}; known: {names}")
        known = self.known
        require(1 <= self.steps <= 64, f"data.steps is {self.steps}; use 1 to 64")
        self._check_samples(known)
        seed(self.split_seed, "data.split_seed")
        one_of(self.binning, ("time", "count"), "data.binning")
        require(
            0 <= self.window <= HOUR,
            f"data.window is {self.window}; use 0 or more microseconds, an hour at most",
        )
        require(
            self.window == 0 or self.binning == "time",
            f"data.window is {self.window}, but samples are binned by count; leave it out",
        )
        require(1 <= self.gain <= 255, f"data.gain is {self.gain}; use 1 to 255")
        require(
            known.events or (self.binning, self.window, self.gain) == ("time", 0, 1),
            f"data.binning, window and gain are for events; {self.dataset} has pictures",
        )
        require(1 <= self.bits <= 8, f"data.bits is {self.bits}; use 1 to 8")
        require(
            self.bits == 8 or not known.events,
            f"data.bits is {self.bits}, and {self.dataset} has counts of events; leave it out",
        )
        require(0 <= self.size <= 1024, f"data.size is {self.size}; use 0 to 1024 pixels")
        require(
            known.resized or self.size == 0 or known.height % self.size == 0,
            f"data.size is {self.size}; the pictures of {self.dataset} have {known.height}: use a "
            "number that divides it, so that every pixel averages as many",
        )
        for key in ("resize", "train_size"):
            value = getattr(self, key)
            require(0 <= value <= 4096, f"data.{key} is {value}; use 0 to 4096 pixels")
            require(
                known.files or value == 0,
                f"data.{key} is {value}, which is for picture files; {self.dataset} has none: "
                "leave it out",
            )
        require(
            self.resize == 0 or self.resize >= self.shape[1],
            f"data.resize is {self.resize}, less than the {self.shape[1]} pixels that are cut out "
            "of it (data.size)",
        )
        require(
            self.classes in (0, known.classes)
            or (known.files and 1 < self.classes <= MOST_CLASSES),
            f"data.classes is {self.classes}; {self.dataset} has {known.classes}",
        )
        require(
            self.root != "" or not known.layout or known.folder != "",
            f"data.root is missing; name the folder that holds {known.layout} "
            f"(published at {known.published})",
        )

    def _check_samples(self, known: Dataset) -> None:
        for name, value in (("train", self.train), ("test", self.test)):
            whole = "" if known.samples else ", or 0 for all"
            require(
                value >= 10 or (value == 0 and not known.samples),
                f"data.{name} is {value}; use at least 10 samples{whole}",
            )
        total = self.train + self.test
        require(
            not known.samples or total <= known.samples,
            f"data.train + data.test is {total}; the dataset has {known.samples} samples",
        )

    @property
    def known(self) -> Dataset:
        """Properties of the dataset."""
        known = KNOWN[self.dataset]
        if not isinstance(known, Dataset):
            raise RecipeError(
                f"dataset {self.dataset!r} is {known!r:.100}; a package adds a "
                "neuroport.data.catalog.Dataset"
            )
        return known

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a frame."""
        known = self.known
        rows = self.size if self.size and known.height > 1 else known.height
        return known.channels, rows, self.size or known.width

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return self.classes or self.known.classes
