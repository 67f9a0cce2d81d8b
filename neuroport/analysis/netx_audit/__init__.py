"""Audit stock NetX: what it builds from a lava-dl ``.net`` file, compared with the file's meaning.

:func:`repaired` reads the network with SLAYER's meaning. :func:`inspect` lists silent errors of the
unmodified ``lava.lib.dl.netx.hdf5.Network`` and counts the affected spikes. NetX itself is not
needed: its processing of a file is computed here (source: ``lava/lib/dl/netx`` of
lava-dl 0.6.0, ``lava/utils/weightutils.py`` and ``lava/proc/dense`` of Lava 0.10.0).
"""

from neuroport.analysis.netx_audit.findings import AuditFinding, Report, inspect
from neuroport.netx.unread_fields import repaired

__all__ = ["AuditFinding", "Report", "inspect", "repaired"]
