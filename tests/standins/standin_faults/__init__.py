"""Stand-ins made wrong in one construct each: what ``neuroport qualify`` must find.

``NEUROPORT_STANDIN`` names the fault (``{"wrong": "resets"}``). Each changes one class of stand-in,
in the child process of that run alone.
"""

import json
import os

import numpy as np

WRONG = json.loads(os.environ.get("NEUROPORT_STANDIN", "{}")).get("wrong", "")


def _resets(model):
    """States are never reset between samples."""

    def run_spk(self):
        self.reset_interval = 1 << 30
        self.reset_offset = 1
        return right(self)

    right, model.run_spk = model.run_spk, run_spk


def _biases(model):
    """The exponent of a bias is one less."""

    def scale_bias(self):
        right(self)
        self.effective_bias = self.effective_bias >> 1

    right, model.scale_bias = model.scale_bias, scale_bias


def _leaks(model):
    """Voltages that leak do so by 1/4096 more."""

    def subthr_dynamics(self, activation_in):
        self.dm_offset = int(self.dv > 0)
        right(self, activation_in)

    right, model.subthr_dynamics = model.subthr_dynamics, subthr_dynamics


def _currents(model):
    """Currents that decay are rounded down."""

    def subthr_dynamics(self, activation_in):
        kept = self.u * np.int64(4096 - 1 - self.du)
        lost = (kept >> 12) - np.sign(kept) * (np.abs(kept) >> 12)
        right(self, activation_in)
        self.u[:] += lost.astype(np.int32)
        self.v[:] += lost.astype(np.int32)

    right, model.subthr_dynamics = model.subthr_dynamics, subthr_dynamics


def _threshold(model):
    """Thresholds have 16 bits."""

    def scale_threshold(self):
        right(self)
        self.effective_vth = np.minimum(self.effective_vth, 65535 << 6)

    right, model.scale_threshold = model.scale_threshold, scale_threshold


def _merged(model, most):
    """A population hears so many synapses, and no more."""

    def run_spk(self):
        self.a_in.recv = lambda: sum(_heard(self.a_in)[:most])
        return right(self)

    right, model.run_spk = model.run_spk, run_spk


def _weights(model):
    """Weights reach 127."""

    def run_spk(self):
        if not self.weights_set:
            self.weights = np.clip(self.weights, -128, 128)
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _exponent(model):
    """Exponents of weights reach 7."""

    def run_spk(self):
        self.proc_params._parameters["weight_exp"] = min(self.proc_params["weight_exp"], 7)
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _together(model):
    """Of several spikes that arrive together one is counted."""

    def run_spk(self):
        right(self)
        self.a_buff = np.minimum(self.a_buff, 1)

    right, model.run_spk = model.run_spk, run_spk


def _one_counter(model):
    """The third neuron is not counted."""

    def run_spk(self):
        right(self)
        self.a_buff[2:3] = 0

    right, model.run_spk = model.run_spk, run_spk


def _sixteen_bits_read(model):
    """What is read has 16 bits."""

    def run_post_mgmt(self):
        right(self)
        self.data = self.data & 0xFFFF

    right, model.run_post_mgmt = model.run_post_mgmt, run_post_mgmt


def _unflipped(model):
    """Kernels are not flipped."""

    def run_spk(self):
        if not hasattr(self, "turned"):
            self.weight, self.turned = self.weight[:, ::-1, ::-1].copy(), True
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _strides(model):
    """With a stride maps are one neuron further."""

    def run_spk(self):
        right(self)
        if self.stride.max() > 1:
            self.a_buf = np.roll(self.a_buf, 1, axis=0)

    right, model.run_spk = model.run_spk, run_spk


def _blocks_of_zeros(model):
    """A channel that has a block of zeros for one output is not stored for the others, either."""

    def run_spk(self):
        if self.weight[0, :, :, 0].size > 1:
            lost = (self.weight == 0).all(axis=(1, 2)).any(axis=0)
            self.weight[..., lost] = 0
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _seven_bits(model):
    """Frames have 7 bits."""

    def run_spk(self):
        _sending(self.out, lambda data: data & 0x7F)
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _columns(model):
    """Spikes of column 255 get lost in maps wider than 223."""

    def run_spk(self):
        right(self)
        if self.a_buf.shape[0] > 223:
            self.a_buf[255::256] = 0

    right, model.run_spk = model.run_spk, run_spk


def _sign(model):
    """Graded messages have no sign."""

    def run_spk(self):
        _sending(self.s_out, abs)
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _twenty_bits(model):
    """Graded messages have 20 bits."""

    def run_spk(self):
        _sending(self.s_out, lambda data: (data.astype(np.int32) << 12) >> 12)
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _half(model):
    """Half a unit does not arrive."""

    def run_spk(self):
        self.a_in1.recv = lambda: _heard(self.a_in1)[0]
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _products(model):
    """Products have 16 bits."""

    def run_spk(self):
        if not hasattr(self, "narrow"):
            self.narrow, whole = True, self.a_in1.recv
            self.a_in1.recv = lambda: np.clip(whole(), -32768, 32767)
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _ones(model):
    """The threshold is Lava's default, 1."""

    def run_spk(self):
        self.vth = np.ones(1, np.int32)
        right(self)

    right, model.run_spk = model.run_spk, run_spk


def _heard(port):
    """What each synapse of a port delivers."""
    return [port._transformer.transform(each.recv(), each) for each in port.csp_ports]


def _sending(port, change):
    """Let a port send what ``change`` makes of its data; from the first step on."""
    if not hasattr(port, "changed"):
        port.changed, whole = True, port.send
        port.send = lambda data: whole(change(data))


FAULTS = {
    "resets": ("NcModelLIFReset", _resets),
    "biases": ("NcModelLIFReset", _biases),
    "leaks": ("NcModelLIFReset", _leaks),
    "currents": ("NcModelLIFReset", _currents),
    "thresholds of 16 bits": ("NcModelLIFReset", _threshold),
    "one synapse": ("NcModelLIFReset", lambda model: _merged(model, 1)),
    "four synapses": ("NcModelLIFReset", lambda model: _merged(model, 4)),
    "weights": ("NcModelDense", _weights),
    "exponents": ("NcModelDense", _exponent),
    "counters": ("NcModelSparse", _one_counter),
    "counters together": ("NcModelSparse", _together),
    "readers": ("ReadModel", _sixteen_bits_read),
    "kernels": ("NcModelConv", _unflipped),
    "strides": ("NcModelConv", _strides),
    "blocks of zeros": ("NcModelConv", _blocks_of_zeros),
    "columns": ("NcModelConv", _columns),
    "frames of 7 bits": ("MapModel", _seven_bits),
    "signs": ("NcModelGradedVec", _sign),
    "messages of 20 bits": ("NcModelGradedVec", _twenty_bits),
    "half units": ("NcModelProdNeuron", _half),
    "products of 16 bits": ("NcModelProdNeuron", _products),
    "ones": ("NcModelProdNeuron", _ones),
}


def seeded(model):
    """The stand-in, made wrong where the chosen fault is its own."""
    if WRONG:
        name, change = FAULTS[WRONG]
        if model.__name__ == name:
            change(model)
    return model
