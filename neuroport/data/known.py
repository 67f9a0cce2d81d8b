"""Former home of the catalog of datasets, which is :mod:`neuroport.data.catalog` now."""

from neuroport.deprecated import moved

__getattr__ = moved(
    __name__,
    {"Dataset": "neuroport.data.catalog:Dataset", "KNOWN": "neuroport.data.catalog:KNOWN"},
)
