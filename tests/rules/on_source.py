"""Running single rules on short snippets of source text."""

from __future__ import annotations

import textwrap

from convlint.engine import check_source
from convlint.findings import Confidence, Finding
from convlint.rules import find_rule

HEAD = """\
import math
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Variable
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

inputs, labels = torch.randn(64, 20), torch.randint(0, 10, (64,))
loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)
"""

STEP = """\
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
{body}
    loss.backward()
    optimizer.step()
"""


LOOP_HEAD = """\
import argparse
import copy
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
loader = DataLoader(data, batch_size=32, shuffle=True)
val_loader = DataLoader(data, batch_size=32)
"""

LOOP_MODEL = """
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda")
        criterion = nn.CrossEntropyLoss()
"""


def loop_script(text: str) -> str:
    """The text, which is indented by eight, after a model, its optimizer, a scaler and a loss."""
    return LOOP_MODEL + text


def training(body: str, model: str = "nn.Linear(20, 10)") -> str:
    """A training script around the lines that compute ``loss`` from ``model``, ``x`` and ``y``."""
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return f"{HEAD}model = {model}\n{STEP.format(body=lines)}"


def judge(slug: str, source: str) -> list[Finding]:
    """What the rule of this name finds in ``source``, whatever its confidence."""
    rule = find_rule(slug)
    assert rule is not None
    return check_source(source, "train.py", rules=[rule], min_confidence=Confidence.LOW)


def found(slug: str, source: str, path: str = "train.py") -> int:
    """How often the rule speaks on an indented source."""
    rule = find_rule(slug)
    assert rule is not None
    text = textwrap.dedent(source)
    return len(check_source(text, path, rules=[rule], min_confidence=Confidence.MEDIUM))
