"""Training projects that bring their inputs to unit scale somewhere, and the same without.

A line ``#: path`` begins a file.
"""

from contrasts import Contrast

IMPORTS = """
import argparse
import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split
"""

NET = """#: net.py
import torch
from torch import nn

class ConvNet(nn.Module):
    def __init__(self, classes=10, channels=3, width=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images):
        return self.head(self.body(images).flatten(1))
"""

ENGINE = """#: engine.py
from torch.nn import functional as F

def train_one_epoch(model, loader, optimizer, device="cpu"):
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)
"""

READ = "torch.from_numpy(cv2.imread(self.paths[i])).permute(2, 0, 1).float()"


def images(load: str, **more: str) -> str:
    """A project of four files whose data set reads images so."""
    helper = more.get("helper", "")
    return f"""{NET}{ENGINE}#: data.py{IMPORTS}
{helper}
class Photos(Dataset):
    def __init__(self, paths, labels):
        self.paths, self.labels = paths, labels

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        {load}
        return image, self.labels[i]

def make_loader(batch_size):
    photos = Photos([f"{{i}}.png" for i in range(1000)], [i % 10 for i in range(1000)])
    return DataLoader(photos, batch_size=batch_size, shuffle=True, num_workers=4)

#: main.py
import argparse
import torch
from data import make_loader
from engine import train_one_epoch
from net import ConvNet

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    model = ConvNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    loader = make_loader(args.batch_size)
    for epoch in range(args.epochs):
        print(epoch, train_one_epoch(model, loader, optimizer))

if __name__ == "__main__":
    main()
"""


TABLE = """#: model.py
from torch import nn

class Regressor(nn.Module):
    def __init__(self, inputs=8, width=64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1)
"""

TRAINER = """#: trainer.py
import torch
from torch import nn

class Trainer:
    def __init__(self, model, train_loader, config):
        self.model, self.loader, self.config = model, train_loader, config
        self.criterion = nn.MSELoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def fit(self):
        for epoch in range(self.config.epochs):
            losses = [self.step(x, y) for x, y in self.loader]
            print(epoch, sum(losses) / len(losses))
"""


def houses(prepare: str, **more: str) -> str:
    """A project that trains on the houses of California, whose arrays are prepared so."""
    return f"""{TABLE}{TRAINER}#: data.py
import numpy as np
import torch
from sklearn.datasets import fetch_california_housing
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch.utils.data import DataLoader, TensorDataset

{more.get("helper", "")}
def make_loaders(batch_size=64):
    X, y = fetch_california_housing(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
    {prepare}
    X_train = torch.tensor(X_train, dtype=torch.float32)
    y_train = torch.tensor(y_train, dtype=torch.float32)
    return DataLoader(TensorDataset(X_train, y_train), batch_size=batch_size, shuffle=True)

#: main.py
from dataclasses import dataclass
from data import make_loaders
from model import Regressor
from trainer import Trainer

@dataclass
class Config:
    lr: float = 1e-3
    epochs: int = 50

Trainer(Regressor(), make_loaders(), Config()).fit()
"""


LIGHTNING = f"""{NET}#: train.py{IMPORTS}
import lightning as L
from net import ConvNet
from torchvision.io import read_image

class Photos(Dataset):
    def __init__(self, paths, labels):
        self.paths, self.labels = paths, labels

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return read_image(self.paths[i]), self.labels[i]

class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = ConvNet()

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = F.cross_entropy(self.net(images.float() / 255), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

loader = DataLoader(Photos(["a.png"] * 100, [0] * 100), batch_size=16, shuffle=True)
L.Trainer(max_epochs=5).fit(Classifier(), loader)
"""

ACCELERATE = f"""{NET}#: train.py{IMPORTS}
from accelerate import Accelerator
from net import ConvNet

class Photos(Dataset):
    def __init__(self, paths, labels):
        self.paths, self.labels = paths, labels

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = np.asarray(Image.open(self.paths[i]).convert("RGB"), dtype=np.float32)
        image = image / 255.0
        return torch.from_numpy(image).permute(2, 0, 1), self.labels[i]

def main():
    accelerator = Accelerator()
    model = ConvNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(Photos(["a.png"] * 100, [0] * 100), batch_size=16, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for epoch in range(5):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()

main()
"""

TRANSFORMED = f"""{NET}{ENGINE}#: main.py{IMPORTS}
import torchvision
from engine import train_one_epoch
from net import ConvNet
from torchvision import transforms as T
from torchvision.transforms import v2

def build_transform(train):
    steps = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()] if train else []
    steps += [T.PILToTensor(), T.ConvertImageDtype(torch.float32)]
    return T.Compose(steps)

train_set = torchvision.datasets.CIFAR10("data", train=True, transform=build_transform(True))
loader = DataLoader(train_set, batch_size=128, shuffle=True)
model = ConvNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(30):
    print(train_one_epoch(model, loader, optimizer))
"""

MEMORY = f"""{NET}{ENGINE}#: main.py{IMPORTS}
import torchvision
from engine import train_one_epoch
from net import ConvNet

raw = torchvision.datasets.MNIST("data", train=True, download=True)
images = raw.data.unsqueeze(1).float()
images = (images - images.mean()) / images.std()
loader = DataLoader(TensorDataset(images, raw.targets), batch_size=128, shuffle=True)
model = ConvNet(channels=1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for epoch in range(30):
    print(train_one_epoch(model, loader, optimizer))
"""

BUFFERS = (
    "class ConvNet(nn.Module):\n    def __init__(self, classes=10, channels=3, width=32):\n"
    "        super().__init__()\n",
    "class ConvNet(nn.Module):\n    def __init__(self, classes=10, channels=3, width=32):\n"
    "        super().__init__()\n"
    '        self.register_buffer("mean", torch.tensor([123.7, 116.3, 103.5]).view(1, 3, 1, 1))\n'
    '        self.register_buffer("std", torch.tensor([58.4, 57.1, 57.4]).view(1, 3, 1, 1))\n',
)


def inside(project: str) -> str:
    """The project, whose model subtracts the mean and divides by the deviation of its buffers."""
    return project.replace(*BUFFERS).replace(
        "self.body(images)", "self.body((images - self.mean) / self.std)"
    )


SLUG = "unnormalized-input"

PROJECTS = [
    Contrast(
        SLUG,
        "divided in the data set of another file",
        images(f"image = {READ} / 255.0"),
        (" / 255.0", ""),
    ),
    Contrast(
        SLUG,
        "a function of the data's module",
        images(
            f"image = to_unit({READ})",
            helper="MEAN, STD = 127.5, 127.5\n\ndef to_unit(image):\n    return (image - MEAN) / STD\n",
        ),
        ("return (image - MEAN) / STD", "return image"),
    ),
    Contrast(
        SLUG,
        "an array divided before it becomes a tensor",
        images(
            "array = cv2.cvtColor(cv2.imread(self.paths[i]), cv2.COLOR_BGR2RGB)\n"
            "        array = array.astype(np.float32) / 255\n"
            "        image = torch.from_numpy(array.transpose(2, 0, 1))"
        ),
        (".astype(np.float32) / 255", ".astype(np.float32)"),
    ),
    Contrast(
        SLUG,
        "divided in place",
        images(f"image = {READ}\n        image /= 255"),
        ("\n        image /= 255", ""),
    ),
    Contrast(
        SLUG,
        "resized, then scaled by a method",
        images(
            "array = cv2.resize(cv2.imread(self.paths[i]), (64, 64))\n"
            "        image = torch.tensor(array, dtype=torch.float32).permute(2, 0, 1).mul(1 / 255)"
        ),
        (".mul(1 / 255)", ""),
    ),
    Contrast(
        SLUG,
        "buffers of a model of another file",
        inside(images(f"image = {READ}")),
        ("self.body((images - self.mean) / self.std)", "self.body(images)"),
    ),
    Contrast(
        SLUG,
        "a model that begins with batch statistics",
        images(f"image = {READ}").replace(
            "            nn.Conv2d(channels",
            "            nn.BatchNorm2d(channels), nn.Conv2d(channels",
            1,
        ),
        ("nn.BatchNorm2d(channels), nn.Conv2d", "nn.Conv2d"),
    ),
    Contrast(
        SLUG,
        "the engine divides",
        images(f"image = {READ}").replace(
            "images.to(device), labels", "images.to(device) / 255, labels"
        ),
        ("images.to(device) / 255", "images.to(device)"),
    ),
    Contrast(
        SLUG,
        "the step of a Lightning module divides",
        LIGHTNING,
        ("images.float() / 255", "images.float()"),
    ),
    Contrast(
        SLUG,
        "the data set of an accelerated script divides",
        ACCELERATE,
        ("        image = image / 255.0\n", ""),
    ),
    Contrast(
        SLUG,
        "a dtype conversion that scales",
        TRANSFORMED,
        ("T.ConvertImageDtype(torch.float32)", "v2.ToDtype(torch.float32)"),
    ),
    Contrast(
        SLUG,
        "the second version of the transforms scales",
        TRANSFORMED.replace(
            "T.PILToTensor(), T.ConvertImageDtype(torch.float32)",
            "v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)",
        ),
        ("scale=True", "scale=False"),
    ),
    Contrast(
        SLUG,
        "the images of a data set in memory",
        MEMORY,
        ("images = (images - images.mean()) / images.std()\n", ""),
    ),
    Contrast(
        SLUG,
        "a scaler fitted on the training part",
        houses(
            "scaler = StandardScaler().fit(X_train)\n"
            "    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)"
        ),
        ("X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)", "pass"),
    ),
    Contrast(
        SLUG,
        "a scaler that fits and transforms",
        houses("X_train = MinMaxScaler().fit_transform(X_train)"),
        ("MinMaxScaler().fit_transform(X_train)", "np.ascontiguousarray(X_train)"),
    ),
    Contrast(
        SLUG,
        "a function that standardises columns",
        houses(
            "X_train, X_test = standardise(X_train, X_test)",
            helper=(
                "def standardise(train, test):\n    mean, std = train.mean(axis=0), train.std(axis=0)\n"
                "    return (train - mean) / std, (test - mean) / std\n"
            ),
        ),
        ("return (train - mean) / std, (test - mean) / std", "return train, test"),
    ),
    Contrast(
        SLUG,
        "columns standardised on the spot",
        houses("X_train = (X_train - X_train.mean(0)) / X_train.std(0)"),
        ("(X_train - X_train.mean(0)) / X_train.std(0)", "X_train.astype(np.float32)"),
    ),
    Contrast(
        SLUG,
        "a regressor that begins with a norm",
        houses("pass").replace(
            "nn.Sequential(nn.Linear", "nn.Sequential(nn.LayerNorm(inputs), nn.Linear"
        ),
        ("nn.LayerNorm(inputs), ", ""),
    ),
]
