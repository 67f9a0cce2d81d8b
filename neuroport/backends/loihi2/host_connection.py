"""Tell Lava which board to use. Imported by the worker, before anything else of Lava."""

from __future__ import annotations

import os

from lava.utils import loihi  # imports only the standard library

from neuroport.backends.loihi2.site import Site


def reach(site: Site) -> None:
    """Set the environment that Lava's closed modules read, some of them at import.

    Partition and node are set as variables that Lava's runtime reads, because Lava 0.10's own
    functions read the last, empty line of ``sinfo`` as a partition and fail.

    Raises:
        ValueError: Lava's own message, if Slurm or the host does not answer.
    """
    os.environ.update(site.environment)
    generation = loihi.ChipGeneration[site.generation]
    if site.host == "slurm":
        loihi.use_slurm_host(loihi_gen=generation)
        for variable, value in (("PARTITION", site.partition), ("BOARD", site.node)):
            if value:
                os.environ[variable] = value
    else:
        loihi.use_ethernet_host(site.address, site.binary, generation)
