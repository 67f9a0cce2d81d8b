"""Engines run a network; all return the same kind of :class:`~neuroport.runs.trace.Trace`.

An engine is one class, found by its name in :data:`neuroport.engines.table.ENGINES`. Another
package adds one by an entry point of the group ``neuroport.engines``::

    @dataclass(frozen=True)
    class TheirOptions(Options):
        level: int = option(1, "How hard it tries.", low=1)

    class Theirs(Engine):
        name = "theirs"
        summary = "an engine of another package"
        Options = TheirOptions

        def plan(self, graph, options):
            return lambda frames, progress: their_trace(graph, frames, options.level)
"""

from neuroport.engines.engine import Engine as Engine
from neuroport.engines.engine import Options as Options
from neuroport.engines.engine import Prepared as Prepared
from neuroport.engines.engine import option as option
