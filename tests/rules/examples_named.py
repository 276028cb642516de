"""Whole scripts around clipping, initialisation and normalisation, and the same with the fault."""

from contrasts import Contrast, healthy, sick

HEAD = """\
import argparse
import math
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch import optim
from torch.utils.data import DataLoader, Dataset, TensorDataset
"""

WORDS = """
class Words(nn.Module):
    def __init__(self, vocabulary=1000, width=64):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.rnn = nn.LSTM(width, width, batch_first=True)
        self.out = nn.Linear(width, vocabulary)

    def forward(self, x):
        return self.out(self.rnn(self.embed(x))[0])

tokens = torch.randint(0, 1000, (256, 65))
loader = DataLoader(TensorDataset(tokens[:, :-1], tokens[:, 1:]), batch_size=32, shuffle=True)
"""

TRAINER = """
class Trainer:
    def __init__(self, model, clip=1.0):
        self.model, self.clip = model, clip
        self.optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def clip_gradients(self):
        {clip}

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x).flatten(0, 1), y.flatten())
        loss.backward()
        self.clip_gradients()
        self.optimizer.step()
        return loss.item()

    def fit(self, epochs):
        for epoch in range(epochs):
            for x, y in loader:
                self.step(x, y)

Trainer(Words()).fit(3)
"""


def words(clip: str, before: str = "") -> str:
    """A language model trained with this line between backward and step."""
    return f"""{before}{WORDS}
model = Words()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        {clip}
        optimizer.step()
"""


def clipped(name: str, clip: str, before: str = "") -> Contrast:
    """One way to clip."""
    return Contrast("missing-clipping", name, words(clip, before), (clip, "pass"))


def initialised(
    function: str, activation: str, depth: int = 4, apply: str = "net.apply(init)"
) -> str:
    """A multilayer perceptron whose weights this function sets."""
    layers = f"nn.Linear(64, 64), {activation}, " * depth
    return f"""
def init(m):
{function}

net = nn.Sequential({layers}nn.Linear(64, 4))
{apply}
optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
loader = DataLoader(TensorDataset(torch.randn(256, 64), torch.randint(0, 4, (256,))), batch_size=32, shuffle=True)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
"""


def guarded(call: str) -> str:
    """The call, for linear layers alone."""
    return f"    if isinstance(m, nn.Linear):\n        {call}\n        nn.init.zeros_(m.bias)"


PHOTOS = """
class Photos(Dataset):
    def __init__(self, paths, labels, transform=None):
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        {load}
        return image, self.labels[i]

photos = Photos([f"{{i}}.png" for i in range(100)], [i % 2 for i in range(100)]{transform})
loader = DataLoader(photos, batch_size=16, shuffle=True)
model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(5):
    for image, label in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(image), label).backward()
        optimizer.step()
"""


def photos(load: str, transform: str = "", before: str = "") -> str:
    """Images that a dataset reads like this, and a network trained on them."""
    return before + PHOTOS.format(load=load, transform=transform)


RAW = "image = torch.from_numpy(cv2.imread(self.paths[i])).permute(2, 0, 1).float()"

CASES = [
    # clipping
    clipped("by the norm", "nn.utils.clip_grad_norm_(model.parameters(), 1.0)"),
    clipped("by the value", "nn.utils.clip_grad_value_(model.parameters(), 0.5)"),
    clipped(
        "adaptively, by timm",
        "adaptive_clip_grad(model.parameters(), clip_factor=0.01)",
        "from timm.utils.agc import adaptive_clip_grad\n",
    ),
    clipped(
        "by the dispatcher of timm",
        'dispatch_clip_grad(model.parameters(), value=1.0, mode="norm")',
        "from timm.utils import dispatch_clip_grad\n",
    ),
    clipped("one gradient at a time", "[p.grad.clamp_(-1, 1) for p in model.parameters()]"),
    clipped(
        "by a function of one's own",
        "clip(model)",
        """
def clip(model, limit=1.0):
    norm = math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters()))
    if norm > limit:
        for p in model.parameters():
            p.grad.mul_(limit / norm)
""",
    ),
    Contrast(
        "missing-clipping",
        "by a method of the trainer",
        WORDS + TRAINER.format(clip="nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)"),
        ("nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)", "pass"),
    ),
    Contrast(
        "missing-clipping",
        "by accelerate",
        """
from accelerate import Accelerator
"""
        + WORDS
        + """
accelerator = Accelerator()
model = Words()
optimizer = optim.Adam(model.parameters(), lr=1e-3)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for x, y in loader:
    optimizer.zero_grad()
    accelerator.backward(F.cross_entropy(model(x).flatten(0, 1), y.flatten()))
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
""",
        ("    accelerator.clip_grad_norm_(model.parameters(), 1.0)\n", ""),
    ),
    Contrast(
        "missing-clipping",
        "a GAN with a recurrent generator",
        """
class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(16, 64, batch_first=True), nn.Linear(64, 4)

    def forward(self, z):
        return self.out(self.rnn(z)[0])

G = Generator()
D = nn.Sequential(nn.Flatten(), nn.Linear(400, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
opt_g, opt_d = optim.Adam(G.parameters(), lr=1e-4), optim.Adam(D.parameters(), lr=1e-4)
loader = DataLoader(TensorDataset(torch.randn(256, 100, 4)), batch_size=32, shuffle=True)
for (real,) in loader:
    fake = G(torch.randn(len(real), 100, 16))
    opt_d.zero_grad()
    (F.softplus(D(fake.detach())) + F.softplus(-D(real))).mean().backward()
    opt_d.step()
    opt_g.zero_grad()
    F.softplus(-D(fake)).mean().backward()
    nn.utils.clip_grad_norm_(G.parameters(), 1.0)
    opt_g.step()
""",
        ("    nn.utils.clip_grad_norm_(G.parameters(), 1.0)\n", ""),
    ),
    Contrast(
        "missing-clipping",
        "PPO with a recurrent policy",
        """
class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.pi, self.v = nn.LSTM(8, 64), nn.Linear(64, 4), nn.Linear(64, 1)

    def forward(self, observed, state):
        hidden, state = self.lstm(observed, state)
        return self.pi(hidden), self.v(hidden).squeeze(-1)

policy = Policy()
optimizer = optim.Adam(policy.parameters(), lr=2.5e-4, eps=1e-5)
for observed, state, action, old, advantage, value in rollouts:
    logits, predicted = policy(observed, state)
    now = torch.distributions.Categorical(logits=logits).log_prob(action)
    ratio = (now - old).exp()
    surrogate = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    loss = -surrogate.mean() + 0.5 * F.mse_loss(predicted, value)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
    optimizer.step()
""",
        ("    nn.utils.clip_grad_norm_(policy.parameters(), 0.5)\n", ""),
    ),
    # initialisation
    Contrast(
        "kaiming-slope-ignored",
        "the slope of the rectifier",
        initialised(
            guarded("nn.init.kaiming_normal_(m.weight, a=0.2, nonlinearity='leaky_relu')"),
            "nn.LeakyReLU(0.2)",
        ),
        ("a=0.2, nonlinearity='leaky_relu'", "a=math.sqrt(5), nonlinearity='relu'"),
    ),
    Contrast(
        "kaiming-slope-ignored",
        "fan-out, for rectifiers",
        initialised(
            guarded("nn.init.kaiming_normal_(m.weight, mode='fan_out', nonlinearity='relu')"),
            "nn.ReLU()",
        ),
    ),
    Contrast(
        "gain-for-other-activation",
        "the gain of tanh",
        initialised(
            guarded("nn.init.xavier_uniform_(m.weight, gain=nn.init.calculate_gain('tanh'))"),
            "nn.Tanh()",
        ),
        ("calculate_gain('tanh')", "calculate_gain('relu')"),
    ),
    Contrast(
        "selu-without-lecun",
        "LeCun's initialisation",
        initialised(
            guarded("nn.init.normal_(m.weight, std=1 / math.sqrt(m.in_features))"), "nn.SELU()"
        ),
        (
            "nn.init.normal_(m.weight, std=1 / math.sqrt(m.in_features))",
            "nn.init.kaiming_normal_(m.weight)",
        ),
    ),
    Contrast(
        "kaiming-before-saturating",
        "smooth rectifiers",
        initialised(guarded("nn.init.kaiming_normal_(m.weight, nonlinearity='relu')"), "nn.SiLU()"),
        ("nn.SiLU()", "nn.Tanh()"),
    ),
    Contrast(
        "normal-init-too-wide",
        "as narrow as GPT-2",
        initialised(guarded("nn.init.normal_(m.weight, mean=0.0, std=0.02)"), "nn.GELU()"),
        ("mean=0.0, std=0.02", "mean=0.0, std=1.0"),
    ),
    Contrast(
        "normal-init-too-wide",
        "scaled by the depth",
        initialised(
            guarded("nn.init.trunc_normal_(m.weight, std=0.02 / math.sqrt(2 * 12))"), "nn.GELU()"
        ),
        (", std=0.02 / math.sqrt(2 * 12)", ""),
    ),
    Contrast(
        "deep-plain-default-init",
        "initialised for its rectifiers",
        initialised(guarded("nn.init.kaiming_normal_(m.weight)"), "nn.ReLU()", depth=12),
    ),
    Contrast(
        "constant-weight-init",
        "zero biases",
        initialised(guarded("nn.init.kaiming_normal_(m.weight)"), "nn.ReLU()"),
        ("nn.init.kaiming_normal_(m.weight)", "nn.init.constant_(m.weight, 0.1)"),
    ),
    Contrast(
        "uniform-init-nonneg",
        "symmetric bounds",
        initialised(guarded("nn.init.uniform_(m.weight, -0.1, 0.1)"), "nn.Tanh()"),
        ("-0.1, 0.1", "0, 0.1"),
    ),
    # normalisation
    Contrast(
        "unnormalized-input",
        "divided by 255 in the dataset",
        photos(f"{RAW} / 255", before="import cv2\n"),
        (f"{RAW} / 255", RAW),
    ),
    Contrast(
        "unnormalized-input",
        "albumentations",
        photos(
            'image = self.transform(image=cv2.imread(self.paths[i]))["image"]',
            ", A.Compose([A.Resize(64, 64), A.Normalize(), ToTensorV2()])",
            "import albumentations as A\nimport cv2\nfrom albumentations.pytorch import ToTensorV2\n",
        ),
        ('image = self.transform(image=cv2.imread(self.paths[i]))["image"]', RAW),
    ),
    Contrast(
        "unnormalized-input",
        "the second version of the transforms",
        photos(
            "image = self.transform(Image.open(self.paths[i]))",
            ", v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])",
            "from PIL import Image\nfrom torchvision.transforms import v2\n",
        ),
        (
            "image = self.transform(Image.open(self.paths[i]))",
            "image = torch.from_numpy(np.array(Image.open(self.paths[i]))).permute(2, 0, 1).float()",
        ),
    ),
    Contrast(
        "unnormalized-input",
        "the transform of a timm model",
        photos(
            "image = self.transform(Image.open(self.paths[i]))",
            ", create_transform(224, is_training=True)",
            "from PIL import Image\nfrom timm.data import create_transform\n",
        ),
    ),
    Contrast(
        "unnormalized-input",
        "an image processor of transformers",
        photos(
            'image = self.transform(Image.open(self.paths[i]), return_tensors="pt")["pixel_values"][0]',
            ', AutoImageProcessor.from_pretrained("microsoft/resnet-18")',
            "from PIL import Image\nfrom transformers import AutoImageProcessor\n",
        ),
    ),
    Contrast(
        "unnormalized-input",
        "read by torchvision, converted",
        photos(
            "image = convert_image_dtype(read_image(self.paths[i]))",
            "",
            "from torchvision.io import read_image\n"
            "from torchvision.transforms.functional import convert_image_dtype\n",
        ),
        ("convert_image_dtype(read_image(self.paths[i]))", "read_image(self.paths[i]).float()"),
    ),
    Contrast(
        "unnormalized-input",
        "mean and deviation by hand",
        photos(f"{RAW}\n        image = (image - 127.5) / 127.5", before="import cv2\n"),
        ("\n        image = (image - 127.5) / 127.5", ""),
    ),
    Contrast(
        "unnormalized-input",
        "batch statistics first",
        photos(RAW, before="import cv2\n").replace(
            "nn.Sequential(nn.Conv2d", "nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d"
        ),
        ("nn.BatchNorm2d(3), ", ""),
    ),
    Contrast(
        "unnormalized-input",
        "a method of the dataset divides",
        photos("image = self.read(self.paths[i])", before="import cv2\n").replace(
            "    def __len__",
            "    def read(self, path):\n"
            "        image = torch.from_numpy(cv2.imread(path)).permute(2, 0, 1).float()\n"
            "        return image.div(255)\n\n    def __len__",
        ),
        ("image.div(255)", "image"),
    ),
    Contrast(
        "unnormalized-input",
        "the training loop divides",
        photos(RAW, before="import cv2\n").replace("model(image)", "model(image / 255.0)"),
        ("image / 255.0", "image"),
    ),
]

SICK = sick(CASES)
HEALTHY = healthy(CASES)
