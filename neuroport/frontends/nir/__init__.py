"""Read and write NIR, the Neuromorphic Intermediate Representation."""

from neuroport.frontends.nir.importing import NirImport, from_nir, import_nir
from neuroport.frontends.nir.writing import to_nir

__all__ = ["NirImport", "from_nir", "import_nir", "to_nir"]
