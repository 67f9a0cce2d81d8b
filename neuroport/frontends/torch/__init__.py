"""Networks of snnTorch and SpikingJelly: captured as they are, in real numbers and in integers."""

from neuroport.frontends.torch.capturing import Captured, capture

__all__ = ["Captured", "capture"]
