"""Front ends: convert networks of other tools to graphs of integers, and back."""

from neuroport.capture.frontend import FrontEnd

__all__ = ["FrontEnd"]
