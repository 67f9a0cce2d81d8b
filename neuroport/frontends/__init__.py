"""Front ends: networks that others wrote become graphs of integers, and graphs become theirs."""

from neuroport.capture.frontend import FrontEnd

__all__ = ["FrontEnd"]
