"""Capture networks of snnTorch and SpikingJelly, in real numbers and in integers."""

from neuroport.frontends.torch.torch_import import TorchImport, import_torch

__all__ = ["TorchImport", "import_torch"]
