"""The front end ``nir``."""

from __future__ import annotations

import os
from typing import Any

from neuroport.capture.frontend import FrontEnd
from neuroport.graph.graph import Graph


class Nir(FrontEnd):
    """Files of NIR, and graphs of the package ``nir``."""

    name = "nir"
    summary = "a .nir file, or a nir.NIRGraph"

    def takes(self, network: Any) -> bool:
        if isinstance(network, (str, os.PathLike)):
            return os.fspath(network).endswith(".nir")
        return any(kind.__module__.split(".")[0] == "nir" for kind in type(network).__mro__)

    def quantize(self, network: Any, frames: Any, **options: Any) -> Graph:
        from neuroport.frontends.nir.importing import import_nir

        return import_nir(network, frames=frames, measure=False, **options).graph
