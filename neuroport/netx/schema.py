"""Names and types of a ``.net`` file's content, as NetX, lava-dl's HDF5 reader, defines them.

Source: ``lava/lib/dl/netx/hdf5.py`` of lava-dl 0.6.0.
"""

LAYERS = "layer"
TYPE = "type"
NEURON = "neuron"

# NetX skips layer types that it does not know and runs the rest of the network. It raises
# NotImplementedError for this one, so a file that NetX cannot express starts with it.
REFUSED_TYPE = "concat"
