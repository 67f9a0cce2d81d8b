"""Import weights of other projects into the same network in neuroport: all entries, or none.

``weights.pth`` of an author's code or of SpikingJelly becomes the folder of a run, before the first
epoch of its integer phase. ``neuroport quantize`` accepts it, and ``neuroport train`` trains it
further.
"""

from __future__ import annotations

import difflib
import os
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.errors import FormatError, TrainingError
from neuroport.files import check_file, ordinary, write_atomic
from neuroport.hdf5 import short
from neuroport.nets.published_names import NAMINGS, Entry, Naming
from neuroport.recipe import Recipe, load_recipe, to_toml
from neuroport.training.checkpoint import (
    CHECKPOINT,
    RECIPE,
    State,
    build_network,
    save_checkpoint,
    skeleton,
)

HELD = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
)  # keys under which checkpoints hold a state dict
WRITE = "write one where it came from: torch.save(net.state_dict(), path)"
PREFIXES = ("module.", "_orig_mod.")  # prefixes of DistributedDataParallel and torch.compile
COUNTED = "num_batches_tracked"  # has no effect in evaluation; old state dicts lack it
NUMBERS = (  # types that can be compared with those of a network
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
FINE_TUNED = 1  # epochs of the integer phase, if the recipe has none


@dataclass(frozen=True, eq=False)
class ForeignWeights:
    """A network with imported weights.

    Attributes:
        net: the real-valued network, in evaluation mode.
        recipe: recipe of the network and of its further training in integers, without a real-valued
            phase.
        naming: the project whose names the state dict uses, one of
            :data:`neuroport.nets.published_names.NAMINGS`.
        entries: the entries of the state dict, and where each went.
    """

    net: nn.Module
    recipe: Recipe
    naming: str
    entries: tuple[Entry, ...]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the folder of a run: its checkpoint and its recipe.

        Raises:
            TrainingError: the folder holds a run.
            StorageError: one of the two cannot be written; neither is.
        """
        where = Path(folder)
        if os.path.lexists(where / CHECKPOINT):
            raise TrainingError(f"{where} holds a run already; choose another folder or remove it")
        for name in (CHECKPOINT, RECIPE):
            check_file(where / name)
        tensors = {f"model.{name}": tensor for name, tensor in self.net.state_dict().items()}
        save_checkpoint(where, State(self.recipe, 0, [], tensors))
        write_atomic(where / RECIPE, to_toml(self.recipe))
        return where

    def table(self) -> str:
        """Return where each entry went, one line per entry."""
        width = max(len(entry.theirs) for entry in self.entries)
        return "\n".join(
            f"{e.theirs:{width}}  -> {e.ours}" + (" (subtracted)" if e.subtracted else "")
            for e in self.entries
        )


def import_weights(
    source: str | os.PathLike[str] | Mapping[str, Tensor],
    recipe: Recipe | str,
    *,
    naming: str | None = None,
) -> ForeignWeights:
    """Import a state dict of another project into the network of a recipe.

    Nothing in the file is executed. Every entry must match a parameter, and every parameter an
    entry. A bias before a norm is subtracted from the norm's mean, which does not change the
    network in evaluation.

    Args:
        source: a file written by ``torch.save`` or safetensors, or the tensors by name.
        recipe: the recipe of the network, or the name of a shipped one. It supplies what a state
            dict does not hold: steps, mean and deviation of pixels, thresholds and decays.
        naming: ``ms_resnet``, ``mlf``, ``sew`` or ``spikingjelly``; recognized by the names if not
            given.

    Raises:
        StorageError: there is no such file.
        FormatError: the file holds no state dict, cannot be read without running code, or holds a
            tensor that is not plain (float8, quantized, sparse, without values).
        TrainingError: entries do not fit; the error lists all of them, each with the nearest name.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    label = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the state dict"
    found = dict(source) if isinstance(source, Mapping) else _read(os.fspath(source))
    theirs = _plain(_state_dict(found, label))
    _check_dense(theirs, label)
    name, recipe = _naming(naming, recipe, theirs, label)
    entries = tuple(NAMINGS[name].entries(skeleton(recipe), recipe.network))
    net = build_network(recipe)
    own = _filled(net, entries, theirs, label)
    state = State(recipe, 0, [], {f"model.{k}": tensor for k, tensor in own.items()}, {}, label)
    state.load_into(net)
    return ForeignWeights(net.eval(), recipe, name, entries)


def _read(path: str) -> Any:
    ordinary(path, "a state dict")
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about how the file was pickled
            return torch.load(path, map_location="cpu", weights_only=True)
    except FormatError:
        raise
    except Exception as error:  # any exception of the reader means that the file is damaged
        # torch advises to read the file by running its code
        said = "it holds more than tensors" if "weights_only" in str(error) else short(error)
        raise FormatError(
            f"{path}: no state dict that can be read without running code of the file ({said}); "
            f"{WRITE}"
        ) from error


def _check_archive(path: str) -> None:
    """Refuse what torch would run, wait for, or unfold beyond the size of the file.

    Up to 2.5, ``torch.load`` hands an archive of TorchScript to a reader that runs its code,
    whatever ``weights_only`` says (CVE-2025-32434). torch finds them by a record that its own
    reader sees, and so are they found here. Its oldest files are tars, which can hold pipes.

    Raises:
        FormatError: the file is such an archive.
    """
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\3\4"
    if not zipped:
        if tarfile.is_tarfile(path):
            raise FormatError(f"{path}: an archive of a torch older than 1.6 (a tar); {WRITE}")
        return
    reader: Any = torch._C.PyTorchFileReader(path)
    if reader.has_record("constants.pkl"):
        raise FormatError(f"{path}: TorchScript, whose code would run when it is read; {WRITE}")
    with zipfile.ZipFile(path) as archive:
        unfolded = sum(record.file_size for record in archive.infolist())
    if unfolded > os.path.getsize(path):
        raise FormatError(f"{path}: compressed, which torch.save never does; {WRITE}")


def _state_dict(found: Any, label: str) -> dict[str, Tensor]:
    """Return the tensors by name; a checkpoint may hold other data beside them."""
    if not isinstance(found, Mapping):
        raise FormatError(f"{label}: holds a {type(found).__name__}, no state dict")
    if found and all(isinstance(value, Tensor) for value in found.values()):
        return {str(name): tensor for name, tensor in found.items()}
    held = [name for name in HELD if isinstance(found.get(name), Mapping)]
    if len(held) != 1:
        keys = ", ".join(str(key)[:60] for key in list(found)[:12]) or "nothing"
        raise FormatError(
            f"{label}: holds {keys}; which of it is the state dict is not clear: write it alone, "
            "torch.save(found['...'], path)"
        )
    inner = found[held[0]]
    if not inner or not all(isinstance(value, Tensor) for value in inner.values()):
        raise FormatError(f"{label}: {held[0]!r} in it is not a state dict of tensors")
    return {str(name): tensor for name, tensor in inner.items()}


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove prefixes that wrappers add to all names, in any order."""
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in tensors)), ""):
        tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors


def _check_dense(tensors: Mapping[str, Tensor], label: str) -> None:
    """Refuse tensors that torch would have to convert first: that is a choice of their owner."""
    found = [(name, tensor, way) for name, tensor in tensors.items() if (way := _way(tensor))]
    if found:
        lines = [f"{name!r} is {_form(tensor)}; {way}" for name, tensor, way in found]
        more = f" ({len(lines)} such tensors, all below)" if lines[1:] else ""
        raise FormatError(
            f"{label}: {lines[0]}, and write the file again{more}", "\n".join(lines[1:] and lines)
        )


def _way(tensor: Tensor) -> str:
    """What makes a tensor one of plain numbers; empty if it is."""
    if tensor.is_meta:
        return "it has no values: load them before the state dict is taken"
    if tensor.is_quantized:
        return "convert it (tensor.dequantize())"
    if tensor.is_nested:
        return "convert it (tensor.to_padded_tensor(0.0))"
    if tensor.layout != torch.strided:
        return "convert it (tensor.to_dense())"
    if tensor.dtype not in NUMBERS and not tensor.is_complex():  # which never fits
        return "convert it (tensor.float()), with the scale that belongs to it"
    return ""


def _naming(
    name: str | None, recipe: Recipe, theirs: Mapping[str, Tensor], label: str
) -> tuple[str, Recipe]:
    """Return the naming, and the recipe with the neurons of that project."""
    family = recipe.network.family
    fitting = {n: naming for n, naming in NAMINGS.items() if family in naming.families}
    if name is not None and name not in fitting:
        known = ", ".join(f"{n} ({', '.join(each.families)})" for n, each in NAMINGS.items())
        raise TrainingError(f"naming is {name!r}, which has no {family}; known: {known}")
    if not fitting:
        families = sorted({each for naming in NAMINGS.values() for each in naming.families})
        raise TrainingError(
            f"no published weights of family {family!r} are known, only of {families}"
        )

    def matched(each: str) -> int:
        net = skeleton(recipe)
        return sum(e.theirs in theirs for e in NAMINGS[each].entries(net, recipe.network))

    name = name or max(fitting, key=matched)
    _same_network(name, recipe)
    return name, _firing(recipe, NAMINGS[name])


def _same_network(naming: str, recipe: Recipe) -> None:
    """Refuse a network with the same names and shapes that computes something else."""
    network = recipe.network
    if network.projection == "spike":
        raise TrainingError(
            "network.projection is 'spike', which is another network than the one whose weights "
            "these are; use 'membrane', or 'composed', which computes the same"
        )
    if network.downsampling == "max":
        raise TrainingError(
            "network.downsampling is 'max', the maximum of spikes, and no published network has "
            "it: MS-ResNet has strides, Max-ResNet the maximum of currents, which has no exact "
            "form; train it, or use 'stride'"
        )
    if naming == "spikingjelly" and network.pooled:
        raise TrainingError(
            'network.shortcut is "pool", and SpikingJelly\'s ms_resnet has strided shortcuts; '
            'use shortcut = "stride"'
        )


def _firing(recipe: Recipe, naming: Naming) -> Recipe:
    network, training = recipe.network, replace(recipe.training, epochs=0)
    if "at" in (naming.fires, network.fires):
        network = replace(network, fires=naming.fires)
    quantization = replace(recipe.quantization, epochs=recipe.quantization.epochs or FINE_TUNED)
    return replace(recipe, network=network, training=training, quantization=quantization)


def _filled(
    net: nn.Module, entries: tuple[Entry, ...], theirs: Mapping[str, Tensor], label: str
) -> dict[str, Tensor]:
    """Return the state of ``net`` filled with all imported tensors."""
    own = dict(net.state_dict())
    wanted = {entry.theirs: entry for entry in entries}
    faults = list(_faults(own, wanted, theirs))
    _check_places(own, entries)
    if faults:
        raise TrainingError(
            f"{label} does not fit the {type(net).__name__} of the recipe: {len(faults)} of its "
            f"{len(theirs)} entries and of {len(wanted)} places do not ({faults[0]}"
            + (", and those below" if faults[1:] else "")
            + "); use the recipe of the network that they are of",
            "\n".join(faults),
        )
    for entry in sorted(entries, key=lambda each: each.subtracted):
        tensor = theirs.get(entry.theirs)
        if tensor is not None:
            tensor = tensor.to(own[entry.ours].dtype).reshape(own[entry.ours].shape)
            own[entry.ours] = own[entry.ours] - tensor if entry.subtracted else tensor.clone()
    return own


def _check_places(own: Mapping[str, Tensor], entries: tuple[Entry, ...]) -> None:
    """Check that an entry exists for every weight and statistic; otherwise neuroport has a bug."""
    to = {entry.ours for entry in entries}
    # of layers that only count: Direct, and the gates of products
    of_ones = (".direct.", ".shortcut.synapse.weight", ".shortcut.norm.bias", ".gate.")
    left = {n for n in own.keys() - to if any(part in n for part in (".synapse.", "norm."))}
    left = {n for n in left if not any(part in n for part in of_ones)}
    assert not left, f"no entry goes to {sorted(left)}"
    assert to <= own.keys(), f"entries go to {sorted(to - own.keys())}, which is not there"


def _faults(
    own: Mapping[str, Tensor], wanted: Mapping[str, Entry], theirs: Mapping[str, Tensor]
) -> Iterator[str]:
    """Return all entries that do not fit, one line each."""
    left = [name for name in theirs if name not in wanted]
    absent = [name for name in wanted if name not in theirs and not name.endswith(COUNTED)]
    for name in absent:
        yield f"{name} is missing{_near(name, left)}"
    for name in left:
        yield f"{name} {_form(theirs[name])} has no place{_near(name, absent)}"
    for name in wanted.keys() & theirs.keys():
        has, wants = theirs[name], own[wanted[name].ours]
        if has.shape != wants.shape and (*has.shape, 1, 1) != wants.shape:  # dense layers
            yield f"{name} is {tuple(has.shape)}, the recipe's network has {tuple(wants.shape)}"
        elif has.is_complex() or not torch.equal(
            # the checks of a checkpoint give a better message for values that are not finite
            has.nan_to_num().to(wants.dtype).to(has.dtype),
            has.nan_to_num(),
        ):
            yield f"{name} is {_form(has)}, which {wants.dtype} does not hold exactly"


def _near(name: str, among: list[str]) -> str:
    near = difflib.get_close_matches(name, among, 1, 0.7)
    return f"; the nearest is {near[0]}" if near else ""


def _form(tensor: Tensor) -> str:
    kind = str(tensor.dtype).partition(".")[2]
    if tensor.layout != torch.strided:
        kind = f"{str(tensor.layout).partition('.')[2]} {kind}"
    if tensor.is_meta:
        kind = f"{kind} on torch's meta device"
    return f"{kind} {tuple(tensor.shape)}" if not tensor.is_nested else f"nested {kind}"
