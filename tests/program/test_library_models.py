"""Models of libraries are known by name, and what wrappers do to training is seen through."""

import pytest
from extraction import HEAD, extract, kinds, objects

from convlint.program.facts import EventKind, ObjectKind


@pytest.mark.parametrize(
    ("source", "cls"),
    [
        (
            "from torchvision import models\nnet = models.resnet18(weights='DEFAULT')",
            "torchvision.models.resnet18",
        ),
        ("import timm\nnet = timm.create_model('resnet50', pretrained=True)", "timm.create_model"),
        (
            "from transformers import AutoModel\nnet = AutoModel.from_pretrained('gpt2')",
            "transformers.AutoModel.from_pretrained",
        ),
    ],
)
def test_library_constructors_make_models(source: str, cls: str) -> None:
    program = extract(
        f"{source}\noptimizer = torch.optim.AdamW(net.parameters())", "import torch\n"
    )
    (layer,) = objects(program, ObjectKind.LAYER)
    (optimizer,) = objects(program, ObjectKind.OPTIMIZER)
    assert layer.cls == cls
    assert optimizer.parameters_of == (layer.id,)


def test_layers_made_from_a_table_are_known() -> None:
    program = extract(
        """
        TABLE = {"A": [64, "M", 128, "M"]}
        def make_layers(entries):
            layers, channels = [], 3
            for entry in entries:
                if entry == "M":
                    layers += [nn.MaxPool2d(2)]
                else:
                    layers += [nn.Conv2d(channels, entry, 3), nn.ReLU()]
                    channels = entry
            return nn.Sequential(*layers)
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.features = make_layers(TABLE["A"])
            def forward(self, x):
                return self.features(x)
        Net()
        """,
        "import torch\nimport torch.nn as nn\n",
    )
    (model,) = program.models
    classes = [program.objects[layer].cls.rpartition(".")[2] for layer in model.layers]
    assert classes == ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d"]
    last = [program.objects[n] for n in model.layers if program.objects[n].cls.endswith("Conv2d")]
    assert last[-1].args["in_channels"].number == 64


TRAINING = [
    EventKind.FORWARD,
    EventKind.BACKWARD,
    EventKind.CLIP,
    EventKind.STEP,
    EventKind.ZERO_GRAD,
]


def test_fabric_back_propagates_and_clips() -> None:
    program = extract(
        """
        from lightning.fabric import Fabric
        fabric = Fabric()
        model, optimizer = fabric.setup(model, optimizer)
        for x in loader:
            loss = model(x).sum()
            fabric.backward(loss)
            fabric.clip_gradients(model, optimizer, max_norm=1.0)
            optimizer.step()
            optimizer.zero_grad()
        """,
        HEAD,
    )
    assert [kind for kind in kinds(program) if kind in TRAINING] == TRAINING


def test_accelerator_back_propagates_and_clips() -> None:
    program = extract(
        """
        from accelerate import Accelerator
        accelerator = Accelerator(gradient_accumulation_steps=2)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        for x in loader:
            with accelerator.accumulate(model):
                loss = model(x).sum()
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        """,
        HEAD,
    )
    assert [kind for kind in kinds(program) if kind in TRAINING] == TRAINING
