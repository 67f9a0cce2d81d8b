"""The compiled kernels on emulated 64-bit ARM processors."""
