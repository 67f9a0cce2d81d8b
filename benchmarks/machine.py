"""The machine that something was measured on: what its figures depend on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from neuroport.kernels.compilation import instructions


def machine() -> dict[str, Any]:
    """Processor, its instructions, cores, memory, system, Python and C compiler."""
    return {
        "processor": processor(),
        "instructions": instructions(),
        "cores": len(os.sched_getaffinity(0)),
        "memory, GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "compiler": compiler(),
    }


def commit() -> str:
    """The commit of the sources, with "+" if they were changed since; "unknown" without git.

    Results in ``docs`` are no sources.
    """
    here = ["git", "-C", str(Path(__file__).resolve().parents[1])]
    try:
        named = _said([*here, "describe", "--always"])
        changed = _said([*here, "status", "--porcelain", "-uno", "--", ".", ":!docs"])
    except OSError:
        return "unknown"
    return f"{named}+" if changed else named or "unknown"


def processor() -> str:
    """The processor's model, as it calls itself."""
    found = re.search(r"model name\s*: (.*)", _cpuinfo())
    return found[1].strip() if found else platform.processor() or "unknown"


def compiler() -> str:
    """The C compiler's own name and version; "none" without one."""
    found = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not found:
        return "none"
    said = subprocess.run([*found.split(), "--version"], capture_output=True, text=True, timeout=60)
    return said.stdout.splitlines()[0].strip() if said.stdout else "unknown"


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""
