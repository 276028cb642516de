"""What keeps data and replicas healthy, and the same scripts without it."""

import textwrap

from contrasts import Contrast, healthy, sick
from examples_data import HEAD as DATA_HEAD
from examples_data import TRAIN

HEAD = DATA_HEAD

FIT = textwrap.dedent(TRAIN)
NET = "nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))"


def images(transform: str, model: str = NET, batches: str = "train_loader") -> str:
    """The training of a model on images that this transform prepares."""
    return f"""{FIT}
transform = {transform}
train_set = datasets.CIFAR10("data", train=True, transform=transform)
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
train({model}, {batches})
"""


def arrays(prepare: str, model: str = "nn.Linear(13, 3)") -> str:
    """The training of a model on the columns of a table that these lines prepare."""
    return f"""
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
{FIT}
X, y = load_wine(return_X_y=True)
{textwrap.dedent(prepare).strip()}
data = TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(y))
train({model}, DataLoader(data, batch_size=32, shuffle=True))
"""


def ranks(
    data: str = 'datasets.CIFAR10("data", train=True, transform=T.ToTensor())',
    loader: str = "DataLoader(data, batch_size=32, sampler=sampler)",
    sampler: str = "sampler = DistributedSampler(data)",
    wrap: str = "model = DDP(model)",
    optimizer: str = "optim.SGD(model.parameters(), lr=0.1)",
    begin: str = "sampler.set_epoch(epoch)",
    before: str = "",
    step: str = "optimizer.step()",
    define: str = "",
) -> str:
    """A trainer, one of whose processes runs on every device."""
    return f"""{textwrap.dedent(define)}
def main(rank, world):
    dist.init_process_group("nccl", rank=rank)
    {before}
    data = {data}
    {sampler}
    train_loader = {loader}
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    {wrap}
    optimizer = {optimizer}
    for epoch in range(10):
        {begin}
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            {step}

main(0, 2)
"""


CASES = [
    Contrast(
        "pretrained-without-normalize",
        "normalised inside of the model, by hand",
        """
class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.body = torchvision.models.resnet18(weights="DEFAULT")

    def forward(self, x):
        x = (x - self.mean) / self.std
        return self.body(x)
"""
        + images("T.Compose([T.Resize(224), T.ToTensor()])", "Classifier()"),
        ("        x = (x - self.mean) / self.std\n", ""),
    ),
    Contrast(
        "pretrained-without-normalize",
        "the transforms that belong to the weights",
        """
weights = torchvision.models.ResNet18_Weights.DEFAULT
model = torchvision.models.resnet18(weights=weights)
"""
        + images("weights.transforms()", "model"),
        (
            "transform = weights.transforms()",
            "transform = T.Compose([T.Resize(224), T.ToTensor()])",
        ),
    ),
    Contrast(
        "image-no-normalize",
        "normalised by the first layer",
        images(
            "T.Compose([T.ToTensor()])",
            "nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))",
        ),
        ("nn.BatchNorm2d(3), ", ""),
    ),
    Contrast(
        "image-no-normalize",
        "images to be drawn again",
        """
transform = T.Compose([T.ToTensor()])
train_loader = DataLoader(datasets.MNIST("data", train=True, transform=transform), batch_size=64, shuffle=True)
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 784), nn.Sigmoid())
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for x, _ in train_loader:
    optimizer.zero_grad()
    F.binary_cross_entropy(model(x), x.flatten(1)).backward()
    optimizer.step()
""",
    ),
    Contrast(
        "image-no-normalize",
        "a generator whose output ends in tanh",
        """
transform = T.Compose([T.ToTensor()])
train_loader = DataLoader(datasets.MNIST("data", train=True, transform=transform), batch_size=64, shuffle=True)
G = nn.Sequential(nn.Linear(64, 784), nn.Tanh())
D = nn.Sequential(nn.Linear(784, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
opt_g, opt_d = optim.Adam(G.parameters(), lr=2e-4), optim.Adam(D.parameters(), lr=2e-4)
for real, _ in train_loader:
    fake = G(torch.randn(len(real), 64))
    opt_d.zero_grad()
    (F.softplus(D(fake.detach())) + F.softplus(-D(real.flatten(1)))).mean().backward()
    opt_d.step()
    opt_g.zero_grad()
    F.softplus(-D(fake)).mean().backward()
    opt_g.step()
""",
    ),
    Contrast(
        "image-no-normalize",
        "divided by the loop",
        """
transform = T.Compose([T.PILToTensor()])
train_set = datasets.CIFAR10("data", train=True, transform=transform)
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
optimizer = optim.SGD(model.parameters(), lr=0.01)
for x, y in train_loader:
    x = x.float().div(255).sub(0.5).div(0.25)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
""",
    ),
    *(
        Contrast("unnormalized-input", name, arrays(line), (line, ""))
        for name, line in (
            ("a scaler of scikit-learn", "X = StandardScaler().fit_transform(X)"),
            ("z-scores by hand", "X = (X - X.mean(0)) / X.std(0)"),
            ("between zero and one", "X = (X - X.min(0)) / (X.max(0) - X.min(0))"),
        )
    ),
    *(
        Contrast(
            "unnormalized-input",
            name,
            arrays("", f"nn.Sequential({first}, nn.Linear(13, 3))"),
            (f"{first}, ", ""),
        )
        for name, first in (
            ("batch statistics first", "nn.BatchNorm1d(13)"),
            ("statistics of each row first", "nn.LayerNorm(13)"),
        )
    ),
    Contrast(
        "unnormalized-input",
        "pixels read with OpenCV, divided",
        """
import cv2

class Photos(Dataset):
    def __init__(self, paths, labels):
        self.paths, self.labels = paths, labels

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = cv2.imread(self.paths[i])
        image = image.astype(np.float32) / 255.0
        return torch.from_numpy(image).permute(2, 0, 1), self.labels[i]
"""
        + FIT
        + """
photos = Photos(["a.png", "b.png"], [0, 1])
train(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), DataLoader(photos, batch_size=2, shuffle=True))
""",
        (" / 255.0", ""),
    ),
    Contrast(
        "unnormalized-input",
        "pixels through ToTensor",
        """
from PIL import Image

class Photos(Dataset):
    def __init__(self, paths, labels):
        self.paths, self.labels = paths, labels
        self.to_tensor = T.ToTensor()

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = Image.open(self.paths[i]).convert("RGB")
        return self.to_tensor(image), self.labels[i]
"""
        + FIT
        + """
photos = Photos(["a.png", "b.png"], [0, 1])
train(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), DataLoader(photos, batch_size=2, shuffle=True))
""",
        (
            "self.to_tensor(image)",
            "torch.from_numpy(np.asarray(image)).float()",
        ),
    ),
    *(
        Contrast(
            "train-not-shuffled",
            name,
            FIT + setup + f"train({NET}, train_loader)\n",
            without,
        )
        for name, setup, without in (
            (
                "a stream of MosaicML",
                """
from streaming import StreamingDataset
train_set = StreamingDataset(local="shards", shuffle=True)
train_loader = DataLoader(train_set, batch_size=64)
""",
                None,
            ),
            (
                "a stream of the hub",
                """
from datasets import load_dataset
train_set = load_dataset("c4", "en", split="train", streaming=True)
train_loader = DataLoader(train_set, batch_size=64)
""",
                None,
            ),
            (
                "time series",
                """
class TimeSeriesDataset(Dataset):
    def __init__(self, series, window):
        self.series, self.window = series, window

    def __len__(self):
        return len(self.series) - self.window

    def __getitem__(self, i):
        return self.series[i : i + self.window], self.series[i + self.window]

train_set = TimeSeriesDataset(torch.randn(1000), 64)
train_loader = DataLoader(train_set, batch_size=64)
""",
                None,
            ),
            (
                "batches chosen by a sampler",
                """
from samplers import LengthBatchSampler
train_set = datasets.CIFAR10("data", train=True, transform=T.ToTensor())
train_loader = DataLoader(train_set, batch_sampler=LengthBatchSampler(train_set, 64))
""",
                ("batch_sampler=LengthBatchSampler(train_set, 64)", "batch_size=64"),
            ),
            (
                "a random sampler",
                """
from torch.utils.data import RandomSampler
train_set = datasets.CIFAR10("data", train=True, transform=T.ToTensor())
train_loader = DataLoader(train_set, batch_size=64, shuffle=False, sampler=RandomSampler(train_set))
""",
                (", sampler=RandomSampler(train_set)", ""),
            ),
            (
                "arguments that are not known",
                """
from settings import loader_arguments
train_set = datasets.CIFAR10("data", train=True, transform=T.ToTensor())
train_loader = DataLoader(train_set, batch_size=64, **loader_arguments)
""",
                (", **loader_arguments", ""),
            ),
        )
    ),
    Contrast(
        "train-not-shuffled",
        "one graph is the data set",
        """
from torch_geometric.datasets import Planetoid
from torch_geometric.loader import DataLoader as GraphLoader
train_set = Planetoid("data", "Cora")
train_loader = GraphLoader(train_set, batch_size=1)
model = nn.Linear(1433, 7)
optimizer = optim.Adam(model.parameters(), lr=1e-2)
for graph in train_loader:
    optimizer.zero_grad()
    F.cross_entropy(model(graph.x)[graph.train_mask], graph.y[graph.train_mask]).backward()
    optimizer.step()
""",
    ),
    Contrast(
        "eval-drop-last",
        "pairs within a batch",
        """
val_set = datasets.CIFAR10("data", train=False, transform=T.ToTensor())
val_loader = DataLoader(val_set, batch_size=64, drop_last=True)
model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 64))

def contrastive_loss(a, b):
    scores = a @ b.t() / 0.1
    return F.cross_entropy(scores, torch.arange(len(a)))

with torch.no_grad():
    for x, _ in val_loader:
        print(contrastive_loss(model(x), model(x.flip(-1))).item())
""",
    ),
    Contrast(
        "eval-drop-last",
        "equal batches for every process",
        """
val_set = datasets.CIFAR10("data", train=False, transform=T.ToTensor())
val_sampler = DistributedSampler(val_set, shuffle=False)
val_loader = DataLoader(val_set, batch_size=64, sampler=val_sampler, drop_last=True)
""",
        (", sampler=val_sampler", ""),
    ),
    Contrast(
        "normalize-wrong-channels",
        "made three channels first",
        images(
            "T.Compose([T.Grayscale(3), T.ToTensor(), T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])"
        ).replace("CIFAR10", "MNIST"),
        ("T.Grayscale(3), ", ""),
    ),
    Contrast(
        "normalize-wrong-units",
        "images that keep values up to 255",
        """
from torchvision.transforms import v2
"""
        + images(
            "v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize((123.7, 116.3, 103.5), (58.4, 57.1, 57.4))])"
        ),
        ("v2.ToDtype(torch.float32)", "v2.ToDtype(torch.float32, scale=True)"),
    ),
    Contrast(
        "augment-after-normalize",
        "erasing comes last",
        images(
            "T.Compose([T.ToTensor(), T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), T.RandomErasing()])"
        ),
        ("T.RandomErasing()", "T.ColorJitter(0.4, 0.4, 0.4)"),
    ),
    Contrast(
        "weighted-sampler-noop",
        "fewer draws than there are",
        f"""{FIT}
data = TensorDataset(torch.randn(1000, 3072), torch.randint(0, 10, (1000,)))
sampler = WeightedRandomSampler(torch.ones(1000), num_samples=100, replacement=False)
train({NET}, DataLoader(data, batch_size=10, sampler=sampler))
""",
        ("torch.ones(1000), num_samples=100", "torch.ones(1000), num_samples=1000"),
    ),
    Contrast(
        "labels-shuffled-apart",
        "the same permutation",
        """
X, y = np.random.randn(100, 3), np.arange(100) % 3
order = np.random.permutation(100)
X, y = X[order], y[order]
""",
    ),
    Contrast(
        "labels-shuffled-apart",
        "seeded alike before each",
        """
X, y = np.random.randn(100, 3), np.arange(100) % 3
np.random.seed(7)
np.random.shuffle(X)
np.random.seed(7)
np.random.shuffle(y)
""",
    ),
    *(
        Contrast(
            "dataset-local-rng",
            name,
            f"""
class Noisy(Dataset):
    def __init__(self, x):
        self.x, self.rng = x, np.random.default_rng(0)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        {draw}
{FIT}
def reseed(worker):
    torch.utils.data.get_worker_info().dataset.rng = np.random.default_rng([torch.initial_seed(), worker])

train_loader = DataLoader(Noisy(torch.randn(64, 3072)), batch_size=8, shuffle=True, num_workers=4{more})
train({NET}, train_loader)
""",
            without,
        )
        for name, draw, more, without in (
            (
                "each worker seeds its own",
                "return self.x[i] + self.rng.normal(), i % 10",
                ", worker_init_fn=reseed",
                (", worker_init_fn=reseed", ""),
            ),
            (
                "a seed for each item",
                "return self.x[i] + np.random.default_rng(i).normal(), i % 10",
                "",
                ("np.random.default_rng(i).normal()", "self.rng.normal()"),
            ),
        )
    ),
    Contrast(
        "batch-one",
        "detection",
        """
from torchvision.models.detection import fasterrcnn_resnet50_fpn
train_set = datasets.CocoDetection("images", "instances.json")
train_loader = DataLoader(train_set, batch_size=1, shuffle=True)
model = fasterrcnn_resnet50_fpn(weights="DEFAULT")
optimizer = optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
for images, targets in train_loader:
    optimizer.zero_grad()
    sum(model(images, targets).values()).backward()
    optimizer.step()
""",
    ),
    Contrast(
        "batch-one",
        "one episode at a time",
        """
import gymnasium as gym
env = gym.make("CartPole-v1")
train_loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,))), batch_size=1, shuffle=True)
policy = nn.Linear(4, 2)
optimizer = optim.Adam(policy.parameters(), lr=1e-2)
for state, action in train_loader:
    optimizer.zero_grad()
    F.cross_entropy(policy(state), action).backward()
    optimizer.step()
""",
    ),
    # replicas
    Contrast(
        "set-epoch-missing",
        "set by the loop",
        ranks(),
        ("sampler.set_epoch(epoch)", "print(epoch)"),
    ),
    Contrast(
        "set-epoch-missing",
        "the sampler is handed on",
        ranks(define="from engine import begin_epoch", begin="begin_epoch(sampler, epoch)"),
        ("begin_epoch(sampler, epoch)", "print(epoch)"),
    ),
    Contrast(
        "set-epoch-missing",
        "Lightning does it",
        """
import lightning as L

class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

    def training_step(self, batch, i):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        data = datasets.CIFAR10("data", train=True, transform=T.ToTensor())
        return DataLoader(data, batch_size=32, sampler=DistributedSampler(data))

L.Trainer(devices=2, strategy="ddp").fit(Classifier())
""",
    ),
    Contrast(
        "ddp-full-data",
        "a stream that knows its rank",
        ranks(
            define="""
            class Shard(IterableDataset):
                def __init__(self, rank, world):
                    self.rank, self.world = rank, world

                def __iter__(self):
                    for i in range(self.rank, 10_000, self.world):
                        yield torch.randn(3072), i % 10
            """,
            data="Shard(rank, world)",
            loader="DataLoader(data, batch_size=32)",
            sampler="",
            begin="print(epoch)",
        ),
    ),
    Contrast(
        "ddp-full-data",
        "split by a sampler",
        ranks(),
        (
            "DataLoader(data, batch_size=32, sampler=sampler)",
            "DataLoader(data, batch_size=32, shuffle=True)",
        ),
    ),
    Contrast(
        "optimizer-before-fsdp",
        "the original parameters",
        """
model = nn.Linear(8, 2)
optimizer = optim.Adam(model.parameters(), lr=1e-3)
model = FSDP(model, use_orig_params=True)
""",
        (", use_orig_params=True", ""),
    ),
    Contrast(
        "optimizer-before-fsdp",
        "sharded in place",
        """
model = nn.Linear(8, 2)
optimizer = optim.Adam(model.parameters(), lr=1e-3)
fully_shard(model)
""",
        ("fully_shard(model)", "model = FSDP(model)"),
    ),
    Contrast(
        "lr-not-scaled-with-world",
        "adaptive steps",
        ranks(optimizer="optim.Adam(model.parameters(), lr=1e-3)"),
        ("optim.Adam(model.parameters(), lr=1e-3)", "optim.SGD(model.parameters(), lr=0.1)"),
    ),
    Contrast(
        "gradient-clip-by-local-norm",
        "tensors that know the whole norm",
        """
model = nn.Linear(8, 2)
fully_shard(model)
optimizer = optim.Adam(model.parameters(), lr=1e-3)
for x, y in batches:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
""",
        ("fully_shard(model)", "model = FSDP(model)"),
    ),
    Contrast(
        "accumulate-without-no-sync",
        "sharded in place has its own switch",
        """
def main(rank, world):
    dist.init_process_group("nccl", rank=rank)
    model = nn.Linear(8, 2)
    fully_shard(model)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for i, (x, y) in enumerate(batches):
        model.set_requires_gradient_sync((i + 1) % 4 == 0)
        (F.cross_entropy(model(x), y) / 4).backward()
        if (i + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()

main(0, 2)
""",
        (
            "    fully_shard(model)\n    optimizer",
            "    model = DDP(model)\n    optimizer",
        ),
    ),
    Contrast(
        "rank-dependent-parameters",
        "only told by the first",
        ranks(
            wrap="if rank == 0:\n        print(sum(p.numel() for p in model.parameters()))\n    model = DDP(model)"
        ),
        ("print(sum(p.numel() for p in model.parameters()))", "model[1] = nn.Linear(3072, 10)"),
    ),
    Contrast(
        "same-seed-all-ranks",
        "only the initialisation is seeded alike",
        ranks(before="torch.manual_seed(0)"),
    ),
    Contrast(
        "same-seed-all-ranks",
        "the rank is part of the seed",
        ranks(
            before="torch.manual_seed(7 + rank)",
            data='datasets.CIFAR10("data", train=True, transform=T.Compose([T.RandomHorizontalFlip(), T.ToTensor()]))',
        ),
        ("7 + rank", "7"),
    ),
    Contrast(
        "compression-without-error-feedback",
        "random elements, scaled up",
        """
def exchange(model, share=0.01):
    for p in model.parameters():
        mask = torch.rand_like(p.grad) < share
        sparse = p.grad * mask / share
        dist.all_reduce(sparse)
        p.grad.copy_(sparse / dist.get_world_size())

model = nn.Linear(8, 2)
optimizer = optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    exchange(model)
    optimizer.step()
""",
    ),
]

SICK = sick(CASES)
HEALTHY = healthy(CASES)
