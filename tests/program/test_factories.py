"""Libraries offer a model in dozens of sizes; a few of them tell all there is to tell."""

from extraction import extract, objects

from convlint.program.facts import ObjectKind

LIBRARY = """
import torch.nn as nn

class Net(nn.Module):
    def __init__(self, width=8, depth=40):
        super().__init__()
        for i in range(depth):
            self.add_module(str(i), nn.Linear(width, width))

    def forward(self, x):
        return x

def _create(name, **settings):
    options = dict(settings)
    return Net(**options)

"""


def test_sizes_of_one_model_are_not_walked_again_and_again() -> None:
    sizes = "".join(
        f"def net_{i}(**k):\n    return _create('{i}', width={i})\n" for i in range(400)
    )
    program = extract(LIBRARY + sizes)
    assert 1 < len(program.models) < 200
    assert program.problems == ()


def test_a_function_with_layers_of_its_own_is_walked_however_many_there_are() -> None:
    sizes = "".join(
        f"def net_{i}(**k):\n    return _create('{i}', width={i})\n" for i in range(400)
    )
    head = "def special():\n    return nn.Sequential(nn.Linear(3, 3), nn.SELU())\n"
    program = extract(LIBRARY + sizes + head)
    assert any(o.cls == "torch.nn.SELU" for o in objects(program, ObjectKind.LAYER))


def test_a_model_out_of_sight_makes_its_optimizer_unknown_not_wrong() -> None:
    sizes = "".join(
        f"def net_{i}(**k):\n    return nn.Sequential(_create('{i}', width={i}), nn.Tanh())\n"
        for i in range(400)
    )
    train = """
def train(loader):
    model = Net(width=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
"""
    program = extract("import torch\n" + LIBRARY + sizes + train)
    (optimizer,) = objects(program, ObjectKind.OPTIMIZER)
    assert not any(model.object == optimizer.args["params"].object for model in program.models)
    assert any(entry.name == "train" for entry in program.entries)


def test_scripts_that_build_and_train_in_many_functions_are_walked_whole() -> None:
    experiment = """
def experiment_{i}():
    model = Net(width={i})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.{i})
    optimizer.step()
"""
    source = "import torch\n" + LIBRARY.replace("depth=40", "depth=4")
    program = extract(source + "".join(experiment.format(i=i) for i in range(1, 21)))
    assert len(objects(program, ObjectKind.OPTIMIZER)) == 20
    assert len(program.models) >= 20
