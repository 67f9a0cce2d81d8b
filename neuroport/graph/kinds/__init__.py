"""The kinds of nodes that come with neuroport: a file each, and a line each here."""

from neuroport.graph.kinds.adaptive import AdaptiveLif as AdaptiveLif
from neuroport.graph.kinds.adaptive import AdaptiveRecurrent as AdaptiveRecurrent
from neuroport.graph.kinds.conv import Conv as Conv
from neuroport.graph.kinds.delay import Delay as Delay
from neuroport.graph.kinds.dense import Dense as Dense
from neuroport.graph.kinds.input import Input as Input
from neuroport.graph.kinds.lif import Lif as Lif
from neuroport.graph.kinds.lif import Recurrent as Recurrent
from neuroport.graph.kinds.readout import LeakyReadout as LeakyReadout
from neuroport.graph.kinds.readout import Readout as Readout
from neuroport.graph.kinds.relay import Relay as Relay
from neuroport.graph.kinds.resonator import AdaptiveResonateFire as AdaptiveResonateFire
from neuroport.graph.kinds.resonator import ResonateFire as ResonateFire
from neuroport.graph.kinds.sigma_delta import Delta as Delta
from neuroport.graph.kinds.sigma_delta import Sigma as Sigma
from neuroport.graph.kinds.sigma_delta import SigmaDelta as SigmaDelta
