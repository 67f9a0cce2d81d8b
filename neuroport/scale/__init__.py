"""Test sets over many processes and machines, by dask.distributed."""
