"""Lists of parameters put together in the ways scripts do it."""

from __future__ import annotations

import pytest

from convlint.program import extract_program
from convlint.program.facts import ObjectKind

SCRIPT = """
import itertools
from torch import nn, optim

encoder, decoder = nn.Linear(4, 2), nn.Linear(2, 4)
{lists}
optimizer = optim.Adam({given}, lr=1e-3)
"""


@pytest.mark.parametrize(
    ("lists", "given"),
    [
        ("", "[*encoder.parameters(), *decoder.parameters()]"),
        ("", "list(encoder.parameters()) + list(decoder.parameters())"),
        ("", "itertools.chain(encoder.parameters(), decoder.parameters())"),
        ("", "[p for m in (encoder, decoder) for p in m.parameters()]"),
        ("given = list(encoder.parameters())\ngiven += list(decoder.parameters())", "given"),
        ("given = []\nfor m in (encoder, decoder):\n    given += list(m.parameters())", "given"),
        ("", "[{'params': encoder.parameters()}, {'params': [*decoder.parameters()]}]"),
    ],
)
def test_the_modules_behind_a_list_are_known(lists: str, given: str) -> None:
    program = extract_program(SCRIPT.format(lists=lists, given=given), "train.py")
    (optimizer,) = (o for o in program.objects if o.kind is ObjectKind.OPTIMIZER)
    names = [program.objects[number].names[0] for number in optimizer.parameters_of or ()]
    assert names == ["encoder", "decoder"]


def test_a_list_that_a_test_thins_out_is_not_all_of_them() -> None:
    given = "[p for p in encoder.parameters() if p.requires_grad]"
    program = extract_program(SCRIPT.format(lists="", given=given), "train.py")
    (optimizer,) = (o for o in program.objects if o.kind is ObjectKind.OPTIMIZER)
    assert optimizer.parameters_of is None
