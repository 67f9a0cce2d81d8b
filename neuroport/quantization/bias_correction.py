"""prototype"""
from __future__ import annotations
import copy
from typing import Any
import torch
from torch import Tensor, nn
from neuroport.capture.connectivity import LayerCall, evaluating, heard, unit_of
from neuroport.nets.stream import Stream, per_position
from neuroport.nets.synapse import Conv, GradedConv, Readout, snap_weight
from neuroport.nets.torch_parts import OnGrid
BATCH = 8

def parts(layers):
    return {l.path: l.module for l in layers if isinstance(l.module, (Conv, Readout))}

@torch.no_grad()
def correct_a(net, layers, frames, sweeps=1, real_inputs=False):
    mods = parts(layers)
    for m in mods.values(): m.correction.zero_()
    for _ in range(sweeps):
        sums: dict[str, Any] = {}
        def hear(name, module, args, out):
            x = args[0].value if isinstance(args[0], Stream) else args[0]
            s = x.double().sum((0, 1)); n = x.shape[0]*x.shape[1]
            if name in sums: sums[name][0].add_(s); sums[name][1] += n
            else: sums[name] = [s, n]
        with evaluating(net), heard(net, mods.items(), hear):
            for f in range(0, frames.shape[1], BATCH):
                net(frames[:, f:f+BATCH].float())
        named = {l.name: l for l in layers}
        new: dict[Any, list[Tensor]] = {}
        for name, (s, n) in sums.items():
            module = named[name].module; mean = s / n
            if isinstance(module, Readout):
                w = module.weights()[0].double()
                d = snap_weight(w.float(), float(module.lsb)).double()*float(module.lsb) - w
                new.setdefault(module, []).append(-(d @ mean.mean((1, 2))))
                continue
            w = module.folded()[0]
            q = snap_weight(module.scaled(w), module.unit())
            d = q.double()*module.unit()
            if module.finer is not None: d = d * 2.0**-module.finer.reshape(-1,1,1,1).double()
            u = module.message_unit
            if isinstance(module, GradedConv) and not module.pixels:
                u = float(module.source_lsb)
                if module.source_finer is not None:
                    d = d * 2.0**module.source_finer.reshape(-1,1,1).double()
                    mean = mean * 2.0**-per_position(module.source_finer).double()
            elif not isinstance(module, GradedConv):
                u = unit_of(named[name].inputs[0], named)
            d = d - w.double()
            e = module.convolve(mean[None, None]*u, d)[0, 0]
            new.setdefault(module, []).append(-e.mean((1, 2)))
        for module, found in new.items():
            module.correction.copy_(torch.stack(found).mean(0).float())

@torch.no_grad()
def correct_b(net, layers, frames):
    mods = parts(layers)
    for m in mods.values(): m.correction.zero_()
    real = copy.deepcopy(net)
    for m in real.modules():
        if isinstance(m, OnGrid): m.lsb.zero_()
    named = {l.name: l for l in layers}
    means = {}
    def hear(name, module, args, out):
        if isinstance(module, Readout):
            x = args[0].double().mean((0,1,3,4)) @ module.weights()[0].double().T
        else:
            x = out.double().mean((0,1,3,4))
        means.setdefault(name, []).append(x)
    with evaluating(real), heard(real, [(p, real.get_submodule(p)) for p in mods], hear):
        for f in range(0, frames.shape[1], BATCH):
            real(frames[:, f:f+BATCH].float())
    means = {k: torch.stack(v).mean(0) for k, v in means.items()}
    seen = set()
    def fix(name, module, args, out):
        if isinstance(module, Readout):
            w = snap_weight(module.weights()[0], float(module.lsb)).double()*float(module.lsb)
            x = args[0].double().mean((0,1,3,4)) @ w.T
            module.correction.copy_((means[name]-x).float()); return
        u = float(module.lsb)*(1 if isinstance(module, GradedConv) else unit_of(named[name].inputs[0], named))
        x = out.value.double().mean((0,1,3,4))*u
        if out.finer is not None: x = x*2.0**-out.finer.double()
        x = x + per_position(out.bias).double().mean((1,2))
        d = (means[name]-x).float()
        if module not in seen:
            seen.add(module); module.correction.add_(d)
            b = per_position(out.bias) + per_position(d) if out.bias.ndim > 1 else out.bias + d
            object.__setattr__(out, "bias", b)
    with evaluating(net), heard(net, list(mods.items()), fix):
        net(frames.float())
