"""What a column or tag of a log is called, and what that says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

STEP_NAMES = (
    "step", "global_step", "trainer/global_step", "_step", "iter", "iteration", "iterations",
    "batch", "update", "updates", "num_updates", "steps", "global step", "epoch", "epochs", "episode",
)  # fmt: skip
"""Columns that count, in order of preference."""

_TRAIN = {"train", "training", "trn", "tr"}
_VALIDATION = {
    "val",
    "valid",
    "validation",
    "dev",
    "eval",
    "evaluation",
    "test",
    "testing",
    "holdout",
}
_LOSS = {
    "loss", "losses", "nll", "ce", "xent", "crossentropy", "mse", "mae", "rmse", "perplexity", "ppl",
    "error", "err", "wer", "cer", "bpc", "bpb", "logloss", "cost", "objective", "mlogloss", "merror",
    "rmsle", "mape", "multierror",
}  # fmt: skip
_SCORE = {
    "acc", "accuracy", "top1", "top5", "acc1", "acc5", "prec1", "f1", "auc", "auroc", "auprc",
    "precision", "recall", "bleu", "rouge", "map", "iou", "miou", "dice", "psnr", "ssim", "r2",
    "reward", "return", "rew", "mcc", "kappa", "score", "elbo", "likelihood", "ndcg", "aucpr",
}  # fmt: skip
_LOSS_ALONE = {"l1", "l2", "huber", "quantile", "poisson", "tweedie", "fair", "mphe"}
"""Losses of gradient boosting; beside other words they are norms or parts of something else."""

_PARTS = {
    "g", "d", "gen", "disc", "generator", "discriminator", "real", "fake", "adv", "adversarial",
    "policy", "value", "actor", "critic", "q", "qf1", "qf2", "qf", "entropy", "alpha", "kl", "kld",
    "aux", "auxiliary", "reg", "regularization", "regularisation", "penalty", "recon", "vq", "box",
    "cls", "obj", "dfl", "mask", "giou", "commit", "td", "temperature", "perceptual", "feature",
    "style", "content", "cycle", "identity", "pg", "pi", "vf",
}  # fmt: skip
"""Words for a part of what is optimised; some of these rise in healthy runs."""

_FILLERS = {
    "epoch", "step", "avg", "average", "mean", "total", "batch", "metric", "metrics", "scalars",
    "scalar", "curr", "current", "running", "smoothed", "iter", "per", "of", "the", "log", "final",
    "dataloader", "idx", "s",
    "cv", "agg",
}  # fmt: skip
_NEGATED = {"neg", "negative"}
"""What turns a score into a loss."""

_NO_CURVE = {
    "time", "seconds", "count", "scale", "best", "improved", "improve", "decreased", "increased", "min",
    "max", "minimum", "maximum", "std", "weight", "coef", "coefficient", "threshold", "patience", "whl",
    "prev", "previous",
}  # fmt: skip
"""Words for settings, for bests and extremes of other curves, and for prose about them."""

_VALUE_OF_LOSS = re.compile(r"\bloss values?$", re.IGNORECASE)
"""In prose the number itself; ``loss/value`` is the loss of a value function."""

_NUMBERED = re.compile(r"loss\d+")
"""One of several losses."""

_RATE = {"lr", "learningrate"}
_RATE_ALONE = "eta"
"""With other words it is the time that is left."""

_NORM = {"gradnorm", "gradientnorm"}


@dataclass(frozen=True)
class Role:
    """``quantity``, ``split`` and ``part`` as in ``Curve``; ``stem`` is what remains of the name
    when split and fillers are taken away, by which training and validation find one another."""

    quantity: str
    split: str
    part: bool
    stem: str


def role_of(name: str) -> Role:
    """What the curve called ``name`` is."""
    words = _words(_VALUE_OF_LOSS.sub("loss", name))
    joined = "".join(words)
    if _RATE & set(words) or "learningrate" in joined or joined == _RATE_ALONE:
        return Role("learning rate", "", False, joined)
    if any(norm in joined for norm in _NORM):
        return Role("gradient norm", "", False, joined)
    split = ""
    if _VALIDATION & set(words):
        split = "validation"
    elif _TRAIN & set(words):
        split = "train"
    rest = [
        word
        for before, word in zip(["", *words], words, strict=False)
        # The number of a data set, as in valid_1 or dataloader_idx_0.
        if not (word.isdecimal() and (before in _VALIDATION or before == "idx"))
        and word not in _TRAIN | _VALIDATION | _FILLERS
    ]
    if _NO_CURVE & set(rest):
        return Role("other", split, False, joined)
    quantity = "score" if _SCORE & set(rest) else "other"
    alone = bool(split) and len(rest) == 1 and rest[0] in _LOSS_ALONE
    if alone or _LOSS & set(rest) or (quantity == "score" and _NEGATED & set(rest)):
        quantity = "loss"
    numbered = any(_NUMBERED.fullmatch(word) for word in rest)
    if numbered:
        quantity = "loss"
    part = numbered or bool(_PARTS & set(rest))
    return Role(quantity, split, part, " ".join(rest))


def is_step(name: str) -> bool:
    """Whether the column counts steps or epochs."""
    return name.strip().lower() in STEP_NAMES


def _words(name: str) -> list[str]:
    whole = name.replace("mAP", "map").replace("mIoU", "miou").replace("IoU", "iou")
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", whole)
    joined = re.sub(r"cross[ _-]entropy", "crossentropy", spaced.lower())
    return [word for word in re.split(r"[^a-z0-9]+", joined) if word]
