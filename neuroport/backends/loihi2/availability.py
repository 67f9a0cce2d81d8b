"""Find the first missing piece between this machine and a board, in one line."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

from neuroport.backends.lava_cpu import installation
from neuroport.backends.loihi2.site import VARIABLE, Site, load_site
from neuroport.errors import BackendError, TargetError

# Modules of Lava's extension for Loihi, which is not public, in the order in which they are asked
EXTENSION = (
    "lava.magma.core.model.nc.model",
    "lava.magma.core.model.c.model",
    "lava.proc.embedded_io.spike",
    "lava.proc.embedded_io.state",
    "lava.utils.loihi2_profiler",
    "lava.utils.loihi2_state_probes",
)


def missing(site: str | os.PathLike[str] | None) -> str | None:
    """Return the first missing piece: Lava, its extension, a site, access to its board; or None."""
    without_lava = installation.missing()
    if without_lava is not None:
        return without_lava
    for module in EXTENSION:
        if not is_installed(module):
            return (
                f"Lava's extension for Loihi is not installed (no module {module}); members of "
                "Intel's Neuromorphic Research Community get it with the board"
            )
    path = site_path(site)
    if path is None:
        return f"no site; give a TOML file that says how the board is reached, --site or {VARIABLE}"
    try:
        return unreachable(load_site(path))
    except TargetError as error:
        return error.message


def is_installed(module: str) -> bool:
    """Return whether a module can be imported; Lava's own raises if a parent is missing."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def site_path(site: str | os.PathLike[str] | None) -> str | None:
    """Return the site file: the given one, or the one that the environment names."""
    return os.fspath(site) if site is not None else os.environ.get(VARIABLE) or None


def ready_site(site: str | os.PathLike[str] | Site | None) -> Site:
    """Return the site if nothing is missing; a site that was read before is returned unchanged.

    Raises:
        BackendError: something is missing; the error names it.
    """
    if isinstance(site, Site):
        return site
    reason, path = missing(site), site_path(site)
    if reason is not None or path is None:
        raise BackendError(f"engine 'loihi2' is not available: {reason}")
    return load_site(path)


def unreachable(site: Site) -> str | None:
    """Return why the board of a site cannot be reached from here; None if it can."""
    if site.host == "slurm":
        if shutil.which("sinfo") is None:
            return (
                f"{site.title} names Slurm, but sinfo is missing here; run where Slurm's commands "
                "are on the PATH, or reach the board over [ethernet]"
            )
        return None
    if not site.address:
        return (
            f"{site.title}: ethernet.host_address is not set; give the address of the board's host"
        )
    if shutil.which("ping") is None:
        return f"Lava pings {site.address} before it connects, but ping is missing here; install it"
    return None
