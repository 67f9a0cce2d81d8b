"""Audit of stock NetX: what it builds from a lava-dl ``.net`` file, and what the file means.

:func:`repaired` reads the network as SLAYER computed it; :func:`inspect` lists where unmodified
``lava.lib.dl.netx.hdf5.Network`` departs from it without saying so, and counts the spikes. NetX
itself is not needed: what it does to a file is computed here (source: ``lava/lib/dl/netx`` of
lava-dl 0.6.0, ``lava/utils/weightutils.py`` and ``lava/proc/dense`` of Lava 0.10.0).
"""

from neuroport.analysis.netx_audit.findings import AuditFinding, Report, inspect
from neuroport.netx.unread_fields import repaired

__all__ = ["AuditFinding", "Report", "inspect", "repaired"]
