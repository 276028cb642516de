"""Where things are made and called: functions in progress, tests in force, words of the text."""

from __future__ import annotations

from extraction import extract

from convlint.program.facts import ObjectKind

NET = """
import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.spare = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.empty(4))
        self.shift = nn.Parameter(torch.empty(4))
        nn.init.zeros_(self.shift)

    def unused(self):
        return 1

    def forward(self, x):
        if self.training:
            x = F.dropout(x)
        if not self.fast:
            return F.dropout1d(x)
        x = F.dropout2d(x) if self.deep else x
        return self.fc(F.dropout3d(x)[:, -1]) * self.scale + self.shift

model = Net()
model.apply(print)
"""


def test_calls_know_the_tests_in_force() -> None:
    calls = {call.name.rpartition(".")[2]: call for call in extract(NET).calls}
    assert calls["dropout"].conditions == ("self.training",)
    assert calls["dropout1d"].conditions == ("not self.fast",)
    assert calls["dropout2d"].conditions == ("not (not self.fast)", "self.deep")
    assert calls["dropout3d"].conditions == ("not (not self.fast)",)
    assert calls["dropout3d"].within == ("Net.forward",)
    assert calls["Linear"].within == ("Net.__init__",)


def test_methods_that_rewire_a_module_are_calls_on_it() -> None:
    program = extract(NET)
    (applied,) = [call for call in program.calls if call.name == "torch.nn.Module.apply"]
    assert program.objects[applied.receiver or 0].kind is ObjectKind.MODEL


def test_parameters_know_whether_their_values_are_set() -> None:
    program = extract(NET)
    (model,) = [item for item in program.objects if item.kind is ObjectKind.MODEL]
    written = {
        name: program.flows[value.flow].written
        for name, value in model.attributes.items()
        if value.flow is not None
    }
    assert written == {"scale": False, "shift": True}


def test_a_cut_along_several_axes_keeps_its_text() -> None:
    cuts = [flow for flow in extract(NET).flows if flow.op == "getitem"]
    assert [cut.args["axes"].constant for cut in cuts] == [":,-1"]


def test_words_tell_what_is_read_and_what_is_never_named() -> None:
    program = extract(NET)
    assert "fc" in program.attributes_read
    assert "spare" not in program.attributes_read
    assert "Net.unused" in program.unreferenced


def test_datasets_tell_which_attributes_each_method_names() -> None:
    program = extract(
        """
        import numpy as np
        from torch.utils.data import Dataset
        class D(Dataset):
            def __init__(self):
                self.rng = np.random.default_rng(0)
            def __getitem__(self, i):
                return self.rng.normal() + self.data[i]
        data = D()
        """
    )
    (data,) = [item for item in program.objects if item.kind is ObjectKind.DATASET]
    assert data.mentions["__getitem__"] == ("rng", "data")
    generator = program.objects[data.attributes["rng"].object or 0]
    assert generator.cls == "numpy.random.default_rng"
