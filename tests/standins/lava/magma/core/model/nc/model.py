"""Stand-in: the base class of models for a neuron core."""


class AbstractNcProcessModel:
    pass
