"""Data: from arrays and loaders to the model."""

from extraction import chain, extract, objects

from convlint.program.facts import ObjectKind

IMPORTS = """
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset
"""


def test_array_is_followed_through_split_scaler_and_tensor() -> None:
    program = extract(
        """
        X, y = load_wine(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split(X, y)
        scaler = StandardScaler().fit(X_train)
        X_train = scaler.transform(X_train)
        dataset = TensorDataset(torch.tensor(X_train, dtype=torch.float32), torch.tensor(y_train))
        loader = DataLoader(dataset, batch_size=16, shuffle=True)
        """,
        IMPORTS,
    )
    (dataset,) = objects(program, ObjectKind.DATASET)
    assert chain(program, dataset.args["0"].flow) == [
        "tensor",
        "transform",
        "train_test_split",
        "<array>",
    ]
    (loader,) = objects(program, ObjectKind.LOADER)
    assert loader.args["dataset"].object == dataset.id
    assert loader.args["shuffle"].constant is True


def test_bunch_attributes_are_arrays() -> None:
    program = extract(
        "data = load_wine()\nx = torch.from_numpy(data.data).float() / 10.0\n", IMPORTS
    )
    flow = program.flows[-1]
    assert chain(program, flow.id) == ["div", "float", "from_numpy", "<array>"]
    assert flow.args["right"].number == 10.0


def test_transforms_of_a_dataset_are_objects_in_order() -> None:
    program = extract(
        """
        from torchvision import datasets, transforms
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
        train = datasets.MNIST("data", train=True, transform=transform)
        """
    )
    (dataset,) = objects(program, ObjectKind.DATASET)
    compose = program.objects[dataset.args["transform"].object or 0]
    items = compose.args["transforms"].items or ()
    assert [program.objects[i.object or 0].cls for i in items] == [
        "torchvision.transforms.ToTensor",
        "torchvision.transforms.Normalize",
    ]


def test_keyword_arguments_out_of_sight_leave_defaults_unknown() -> None:
    program = extract("loader = DataLoader(dataset, **options())", IMPORTS)
    (loader,) = objects(program, ObjectKind.LOADER)
    assert "shuffle" not in loader.args
    assert "**" in loader.args


def test_data_of_unknown_origin_is_not_a_constant() -> None:
    program = extract("x = torch.tensor(read_somewhere())", IMPORTS)
    assert program.flows[-1].op == "tensor" or program.flows[-1].op == "<unknown>"
    assert "<constant>" not in [f.op for f in program.flows]
