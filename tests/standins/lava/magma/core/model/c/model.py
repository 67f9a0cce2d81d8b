"""Stand-in: the base class of models for an embedded processor."""


class CLoihiProcessModel:
    pass
