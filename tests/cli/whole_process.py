"""A small script, and what is loaded once a whole process has run convlint."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """\
import torch
from torch import nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(4, 2), torch.zeros(4, 1))] * 3:
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""


def loaded_by(arguments: list[str], directory) -> set[str]:
    """Top-level modules, and convlint's own, loaded once ``convlint`` with these arguments has run."""
    program = (
        "import sys\n"
        "from convlint.cli import main\n"
        f"try:\n    main({arguments!r}, prog_name='convlint')\n"
        "except SystemExit as end:\n    assert end.code in (0, 1), end.code\n"
        "print('LOADED', *sys.modules, *{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env={key: value for key, value in os.environ.items() if key != "FORCE_COLOR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())
