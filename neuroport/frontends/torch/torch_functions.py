"""The table of rules that turn functions of torch into nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuroport.frontends.torch import elementwise, layers, reshaping
from neuroport.frontends.torch.traced_tensor import PRODUCT

SAME = {
    *("clone", "contiguous", "detach", "float", "to", "cpu", "type_as", "double", "detach_"),
    *("alias", "positive", "bfloat16", "half"),
}
WHOLE_NUMBERS = {"bool", "int", "long", "byte"}
INPLACE = {
    **{f"{name}_": name for name in ("add", "sub", "mul", "div", "neg", "clamp", "unsqueeze")},
    **{f"{name}_": name for name in ("squeeze", "transpose", "detach", "logical_not", "fill")},
    **{"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "radd": "add"},
    **{
        "rmul": "mul",
        "truediv": "div",
        "rtruediv": "rdiv",
        "rdiv": "rdiv",
        "invert": "logical_not",
    },
    **{"or": "logical_or", "and": "logical_and", "ior": "logical_or", "iand": "logical_and"},
}
RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), elementwise.add),
    **dict.fromkeys(("mul", "multiply", "div", "divide", "true_divide"), elementwise.multiply),
    **dict.fromkeys(("neg", "negative"), elementwise.negate),
    **dict.fromkeys(
        ("maximum", "minimum", "max", "min", "logical_or", "logical_and", "fmax"), elementwise.gate
    ),
    **dict.fromkeys(("bitwise_or", "bitwise_and"), elementwise.gate),
    **dict.fromkeys(("logical_not", "bitwise_not"), elementwise.complement),
    **dict.fromkeys(("gt", "ge", "lt", "le", "greater", "less"), elementwise.compare),
    **dict.fromkeys(("clamp", "clip", "clamp_max", "clamp_min"), elementwise.clamp),
    "max_pool2d": layers.max_pool,
    "_max_pool2d": layers.max_pool,
    "avg_pool2d": layers.avg_pool,
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_avg_pool1d"), layers.adaptive_pool),
    "linear": layers.linear,
    **dict.fromkeys(("matmul", "mm"), layers.matmul),
    **dict.fromkeys(("conv1d", "conv2d"), layers.conv),
    "batch_norm": layers.batch_norm,
    **dict.fromkeys(("mean", "sum"), reshaping.reduce),
    **dict.fromkeys(
        ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as"),
        reshaping.reshape,
    ),
    "reshape_as": reshaping.reshape,
    **dict.fromkeys(("repeat", "expand", "expand_as", "tile", "broadcast_to"), reshaping.repeat),
    **dict.fromkeys(
        ("transpose", "permute", "swapaxes", "movedim", "moveaxis", "swapdims"), reshaping.transpose
    ),
    "getitem": reshaping.getitem,
    "select": reshaping.select,
    **dict.fromkeys(("unbind", "iter"), reshaping.unbind),
    **dict.fromkeys(("split", "chunk", "tensor_split", "split_with_sizes"), reshaping.split),
    "stack": reshaping.stack,
    **dict.fromkeys(("cat", "concat", "concatenate"), reshaping.cat),
    **dict.fromkeys(
        ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"),
        reshaping.zeros_like,
    ),
}
LINEAR = {
    *("avg_pool1d", "avg_pool3d", "conv_transpose1d", "conv_transpose2d", "pad", "interpolate"),
    *("upsample", "pixel_shuffle", "pixel_unshuffle", "flip", "roll", "narrow", "index_select"),
    *("adaptive_avg_pool3d", "lp_pool2d_", "T", "t", "channel_shuffle", "constant_pad_nd"),
}
# functions that the host may apply to outputs, without weights
ON_THE_HOST = {
    *(
        "sum",
        "mean",
        "stack",
        "cat",
        "argmax",
        "softmax",
        "log_softmax",
        "max",
        "add",
        "div",
        "mul",
    ),
    *("iadd", "radd", "truediv", "rmul", "true_divide", "getitem", "view", "reshape", "flatten"),
    *(
        "squeeze",
        "unsqueeze",
        "transpose",
        "permute",
        "swapaxes",
        "cumsum",
        "sub",
        "clone",
        "detach",
    ),
    *(
        "amax",
        "topk",
        "sigmoid",
        "to",
        "float",
        "long",
        "int",
        "select",
        "itruediv",
        "idiv",
        "imul",
    ),
    *("count_nonzero", "std", "var", "unbind", "contiguous", "neg", "negative", "rsub"),
}
# of these, what is more than a sum, a factor or another shape
DECIDES = {
    *("argmax", "softmax", "log_softmax", "max", "amax", "topk", "sigmoid", "cumsum", "std", "var"),
    "count_nonzero",
}
# functions that have no node, and alternatives
WAYS = {
    "layer_norm": "its mean and deviation follow from the values; use BatchNorm",
    "group_norm": "its mean and deviation follow from the values; use BatchNorm",
    "relu": "it is not a spiking neuron; use a neuron instead",
    "softmax": "it divides by a sum; leave it to the loss",
    **dict.fromkeys(
        ("bernoulli", "rand_like", "randn_like", "poisson", "normal", "multinomial"),
        "it draws at random; encode outside, and give spikes as frames (T, N, *shape)",
    ),
    **dict.fromkeys(("bmm", "scaled_dot_product_attention"), PRODUCT),
    "einsum": f"{PRODUCT}; of a signal and constants, write F.linear or F.conv2d",
}
ASKED = {
    *("item", "tolist", "numpy", "bool", "int", "float", "index", "contains", "array", "equal"),
    *("allclose", "is_nonzero", "nonzero", "unique", "complex"),
    *("data_ptr", "storage", "untyped_storage", "_typed_storage", "dlpack"),
}
# functions whose results share no memory with their arguments
FRESH = {
    *("linear", "conv1d", "conv2d", "matmul", "mm", "batch_norm", "avg_pool2d", "max_pool2d"),
    *("add", "sub", "mul", "div", "radd", "rsub", "rmul", "truediv", "stack", "cat", "mean", "sum"),
}
