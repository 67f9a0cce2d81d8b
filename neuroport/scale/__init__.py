"""Run test sets on many processes and machines, with dask.distributed."""
