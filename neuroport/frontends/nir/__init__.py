"""NIR, the Neuromorphic Intermediate Representation: networks of other tools, in and out."""

from neuroport.frontends.nir.importing import NirImport, from_nir, import_nir
from neuroport.frontends.nir.writing import to_nir

__all__ = ["NirImport", "from_nir", "import_nir", "to_nir"]
