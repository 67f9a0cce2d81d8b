"""Former home of the list of engines, which is :mod:`neuroport.engines.table` now."""

from neuroport.deprecated import moved

__getattr__ = moved(
    __name__,
    {
        "Backend": "neuroport.engines.engine:Engine",
        "backend": "neuroport.engines.table:ready",
        "backends": "neuroport.engines.table:engines",
    },
)
