"""Names and types in a ``.net`` file, as defined by NetX, lava-dl's HDF5 reader.

Source: ``lava/lib/dl/netx/hdf5.py`` of lava-dl 0.6.0.
"""

LAYERS = "layer"
TYPE = "type"
NEURON = "neuron"

# NetX skips layer types that it does not know and runs the rest of the network. It raises
# NotImplementedError for this one, so a file that NetX cannot express starts with it.
REFUSED_TYPE = "concat"
