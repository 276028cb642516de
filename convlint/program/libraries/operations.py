"""Canonical names of tensor operations, and which calls are losses."""

from __future__ import annotations

import functools

from convlint.lazy_regex import lazy_regex

_SPECIAL = {
    "ReLU": "relu", "ReLU6": "relu6", "LeakyReLU": "leaky_relu", "RReLU": "rrelu",
    "PReLU": "prelu", "ELU": "elu", "SELU": "selu", "CELU": "celu", "GELU": "gelu",
    "SiLU": "silu", "GLU": "glu", "LSTM": "lstm", "GRU": "gru", "RNN": "rnn",
    "LSTMCell": "lstm_cell", "GRUCell": "gru_cell", "RNNCell": "rnn_cell",
    "RMSNorm": "rms_norm", "AdaptiveAvgPool2d": "adaptive_avg_pool2d",
    "BCELoss": "binary_cross_entropy", "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "NLLLoss": "nll_loss", "NLLLoss2d": "nll_loss", "MSELoss": "mse_loss", "L1Loss": "l1_loss",
    "CTCLoss": "ctc_loss", "KLDivLoss": "kl_div", "CrossEntropyLoss": "cross_entropy",
    "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss",
    "PoissonNLLLoss": "poisson_nll_loss", "GaussianNLLLoss": "gaussian_nll_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "hardtanh": "hardtanh", "hardswish": "hardswish", "Hardtanh": "hardtanh",
    "Hardswish": "hardswish", "Hardsigmoid": "hardsigmoid", "LogSigmoid": "logsigmoid",
}  # fmt: skip

_WORD = lazy_regex(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@functools.lru_cache(maxsize=4096)
def operation(name: str) -> str:
    """The canonical short name of a callable: ``torch.nn.LogSoftmax`` -> ``log_softmax``."""
    last = name.rpartition(".")[2]
    special = _SPECIAL.get(last)
    if special is not None:
        return special
    if last[:1].isupper():
        return _WORD.sub("_", last).lower()
    return last.rstrip("_") if not last.startswith("_") else last


LOSS_FUNCTIONS = frozenset(
    {
        "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
        "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "ctc_loss",
        "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss", "margin_ranking_loss",
        "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
        "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
        "cosine_embedding_loss",
    }
)  # fmt: skip
"""Short names of the functions of torch.nn.functional that are losses."""

DETACHING = frozenset({"detach", "detach_", "item", "numpy", "tolist", "data"})
"""Tensor methods and attributes whose result carries no gradient."""

NOT_DIFFERENTIABLE = frozenset(
    {"argmax", "argmin", "eq", "ne", "gt", "lt", "ge", "le", "long", "int", "bool", "compare"}
)
"""Operations whose result carries no gradient."""

SIZE_ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device", "is_cuda", "requires_grad"})
SIZE_METHODS = frozenset({"size", "dim", "numel", "nelement", "get_device", "is_contiguous"})

CREATES_CONSTANT = frozenset(
    {
        "zeros", "ones", "empty", "full", "rand", "randn", "randint", "arange", "linspace", "eye",
        "zeros_like", "ones_like", "rand_like", "randn_like", "empty_like", "full_like", "randperm",
        "normal", "bernoulli", "multinomial", "uniform",
    }
)  # fmt: skip
