"""Data and replicated training in the styles of real scripts: one fault each, and what only looks like
one."""

HEAD = """\
import argparse
import random
import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch import optim
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP, fully_shard
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, Subset, TensorDataset, WeightedRandomSampler, random_split
from torchvision import datasets, transforms as T
"""

TRAIN = """
        def train(model, batches, epochs=10):
            optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            for epoch in range(epochs):
                for x, y in batches:
                    optimizer.zero_grad()
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
"""

NET = "nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))"


def images(
    steps: str, model: str = NET, loader: str = "batch_size=64, shuffle=True", more: str = ""
) -> str:
    """The training of a model on images that these steps prepare."""
    return f"""{TRAIN}
        transform = T.Compose([{steps}])
        train_set = datasets.CIFAR10("data", train=True, transform=transform)
        test_set = datasets.CIFAR10("data", train=False, transform=transform)
        train_loader = DataLoader(train_set, {loader})
        {more}
        train({model}, train_loader)
"""


def replicas(
    wrap: str = "model = DDP(model)",
    model: str = NET,
    batch: int = 32,
    transform: str = "T.ToTensor()",
    seed: str = "",
    inner: str = "optimizer.step()",
    loss: str = "F.cross_entropy(model(x), y)",
    optimizer: str = "optim.SGD(model.parameters(), lr=0.1)",
    begin: str = "sampler.set_epoch(epoch)",
) -> str:
    """A trainer, one of whose processes runs on every device."""
    return f"""
        def main(rank, world):
            dist.init_process_group("nccl", rank=rank)
            {seed}
            data = datasets.CIFAR10("data", train=True, transform=T.Compose([{transform}]))
            sampler = DistributedSampler(data)
            train_loader = DataLoader(data, batch_size={batch}, sampler=sampler)
            model = {model}
            {wrap}
            optimizer = {optimizer}
            for epoch in range(10):
                {begin}
                for step, (x, y) in enumerate(train_loader):
                    optimizer.zero_grad()
                    loss = {loss}
                    loss.backward()
                    {inner}

        if __name__ == "__main__":
            torch.multiprocessing.spawn(main, args=(4,), nprocs=4)
"""


ACCUMULATED = """
        def main(rank):
            dist.init_process_group("nccl", rank=rank)
            model = {wrap}
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            for i, (x, y) in enumerate(loader):
                {context}
                    loss = F.cross_entropy(model(x), y) / 4
                    loss.backward()
                if (i + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()

        main(0)
"""

SICK = {
    ("pretrained-without-normalize", "timm's features under a head"): """
        import timm
        transform = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor()])
        train_set = datasets.ImageFolder("data/train", transform)
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        model = timm.create_model("resnet50", pretrained=True, num_classes=10)
        optimizer = optim.AdamW(model.parameters(), lr=1e-4)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("image-no-normalize", "augmented and left in [0, 1]"): images(
        "T.RandomCrop(32, 4), T.RandomHorizontalFlip(), T.ToTensor()"
    ),
    ("batch-one", "the loader's own default"): images(
        "T.ToTensor(), T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))", loader="shuffle=True"
    ),
    ("bn-small-per-gpu", "two images per process"): replicas(
        model="nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(7200, 10))",
        batch=2,
    ),
    ("same-seed-all-ranks", "one constant in every process"): replicas(
        transform="T.RandomCrop(32, 4), T.ToTensor()", seed="torch.manual_seed(1234)"
    ),
    ("lr-not-scaled-with-world", "in a function that is spawned"): replicas(),
    ("accumulate-without-no-sync", "counted from one"): ACCUMULATED.format(
        wrap="DDP(nn.Linear(20, 4))", context="if True:"
    ),
    ("gradient-clip-by-local-norm", "in a trainer"): """
        class Trainer:
            def __init__(self, model, batches):
                self.model = FSDP(model)
                self.batches = batches
                self.optimizer = optim.AdamW(self.model.parameters(), lr=1e-4)

            def fit(self):
                for x, y in self.batches:
                    self.optimizer.zero_grad()
                    F.cross_entropy(self.model(x), y).backward()
                    nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                    self.optimizer.step()

        Trainer(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4)), loader).fit()
    """,
    ("fp16-allreduce-overflow", "a functional loss"): replicas(
        wrap="model = DDP(model); model.register_comm_hook(None, default_hooks.fp16_compress_hook)",
        loss="F.cross_entropy(model(x), y, reduction='sum')",
    ),
}

HEALTHY = {
    ("pretrained-without-normalize", "the transforms of the weights"): """
        weights = torchvision.models.ResNet50_Weights.DEFAULT
        train_set = datasets.ImageFolder("data/train", weights.transforms())
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        model = torchvision.models.resnet50(weights=weights)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("pretrained-without-normalize", "inside the model"): """
        class Classifier(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
                self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
                self.backbone = torchvision.models.resnet18(pretrained=True)

            def forward(self, x):
                return self.backbone((x - self.mean) / self.std)
        """
    + images("T.Resize(224), T.ToTensor()", "Classifier()"),
    ("image-no-normalize", "a normalisation layer first"): images(
        "T.ToTensor()",
        "nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(7200, 10))",
    ),
    ("image-no-normalize", "pixels are what is predicted"): """
        data = datasets.MNIST("data", train=True, transform=T.ToTensor())
        train_loader = DataLoader(data, batch_size=64, shuffle=True)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 784))
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, _ in train_loader:
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(x), x.flatten(1)).backward()
            optimizer.step()
    """,
    ("unnormalized-input", "pixels divided by 255"): """
        images = datasets.MNIST("data").data.float().div(255).view(-1, 784)
        targets = datasets.MNIST("data").targets
        model = nn.Linear(784, 10)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in DataLoader(TensorDataset(images, targets), batch_size=64, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("unnormalized-input", "columns scaled by hand"): """
        from sklearn.datasets import load_wine
        features, labels = load_wine(return_X_y=True)
        features = (features - features.mean(axis=0)) / features.std(axis=0)
        x, y = torch.tensor(features).float(), torch.tensor(labels)
        model = nn.Linear(13, 3)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("train-not-shuffled", "one batch drawn to look at"): """
        train_set = datasets.FashionMNIST(".", train=True, transform=transforms.ToTensor())
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

        def show_gradients(model):
            small_loader = DataLoader(train_set, batch_size=256)
            x, y = next(iter(small_loader))
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            print([p.grad.norm() for p in model.parameters()])

        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        show_gradients(model)
    """,
    ("train-not-shuffled", "a stream"): """
        class Stream(IterableDataset):
            def __iter__(self):
                yield from read_lines("train.txt")

        train_loader = DataLoader(Stream(), batch_size=64)
        model = nn.Linear(20, 4)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("train-not-shuffled", "arguments from elsewhere"): """
        def build(dataset, **options):
            return DataLoader(dataset, batch_size=64, **options)

        train_loader = build(datasets.CIFAR10("data", train=True), **config["loader"])
    """,
    ("train-not-shuffled", "a sampler chosen by the run"): """
        train_set = datasets.CIFAR10("data", train=True, transform=T.ToTensor())
        sampler = DistributedSampler(train_set) if dist.is_initialized() else None
        train_loader = DataLoader(train_set, batch_size=64, sampler=sampler, shuffle=sampler is None)
    """,
    ("augment-on-eval", "a transform each"): """
        train_transform = T.Compose([T.RandomCrop(32, 4), T.ToTensor()])
        test_transform = T.Compose([T.ToTensor()])
        train_set = datasets.CIFAR10("data", train=True, transform=train_transform)
        test_set = datasets.CIFAR10("data", train=False, transform=test_transform)
    """,
    ("val-is-train", "two parts of one set"): """
        data = datasets.CIFAR10("data", train=True, transform=T.ToTensor())
        train_set, val_set = random_split(data, [45000, 5000])
        train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
        val_loader = DataLoader(val_set, batch_size=64)
    """,
    ("dataset-local-rng", "seeded by the worker"): """
        class Noisy(Dataset):
            def __init__(self, data):
                self.data, self.rng = data, np.random.default_rng(0)

            def __getitem__(self, i):
                return self.data[i] + self.rng.normal()

            def __len__(self):
                return len(self.data)

        def seed(worker):
            info = torch.utils.data.get_worker_info()
            info.dataset.rng = np.random.default_rng(info.seed)

        train_loader = DataLoader(Noisy(torch.randn(64)), num_workers=4, worker_init_fn=seed)
    """,
    ("augment-after-normalize", "erasing is meant to come last"): images(
        "T.ToTensor(), T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), T.RandomErasing()"
    ),
    ("eval-shuffled", "in order"): """
        test_set = datasets.CIFAR10("data", train=False, transform=T.ToTensor())
        test_loader = DataLoader(test_set, batch_size=64, shuffle=False)
    """,
    ("weighted-sampler-noop", "drawn with replacement"): """
        weights = 1.0 / counts[targets]
        sampler = WeightedRandomSampler(weights, num_samples=len(weights), replacement=True)
        train_loader = DataLoader(train_set, batch_size=64, sampler=sampler)
    """,
    ("labels-shuffled-apart", "one permutation for both"): """
        order = np.random.permutation(len(features))
        features, labels = features[order], labels[order]
    """,
    ("normalize-wrong-units", "the statistics of CIFAR-10"): images(
        "T.ToTensor(), T.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))"
    ),
    ("normalize-wrong-channels", "grey images repeated"): """
        transform = T.Compose([T.Grayscale(3), T.ToTensor(), T.Normalize((0.5,) * 3, (0.5,) * 3)])
        train_set = datasets.MNIST("data", train=True, transform=transform)
    """,
    ("batch-one", "one graph at a time"): images(
        "T.ToTensor(), T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))", loader="batch_size=32"
    ),
    ("set-epoch-missing", "called by a helper"): replicas(
        begin="reshuffle(sampler, epoch)"
    ).replace(
        "        def main(",
        "        def reshuffle(sampler, epoch):\n"
        "            sampler.set_epoch(epoch)\n\n"
        "        def main(",
        1,
    ),
    ("ddp-full-data", "a stream that each process reads its part of"): """
        class Shard(IterableDataset):
            def __init__(self, rank, world):
                self.rank, self.world = rank, world

            def __iter__(self):
                for i, line in enumerate(open("train.txt")):
                    if i % self.world == self.rank:
                        yield encode(line)

        dist.init_process_group("nccl")
        model = DDP(nn.Linear(20, 4))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        train_loader = DataLoader(Shard(dist.get_rank(), dist.get_world_size()), batch_size=32)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("ddp-mutated", "wrapped once"): replicas(),
    ("optimizer-before-fsdp", "the second generation"): """
        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
        fully_shard(model)
        optimizer = optim.AdamW(model.parameters(), lr=1e-4)
    """,
    ("bn-small-per-gpu", "statistics of all processes"): replicas(
        wrap="model = DDP(nn.SyncBatchNorm.convert_sync_batchnorm(model))",
        model="nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(7200, 10))",
        batch=2,
    ),
    ("same-seed-all-ranks", "a seed that holds the rank"): replicas(
        transform="T.RandomCrop(32, 4), T.ToTensor()", seed="torch.manual_seed(1234 + rank)"
    ),
    ("same-seed-all-ranks", "only the initialisation is random"): replicas(
        seed="torch.manual_seed(1234)"
    ),
    ("lr-not-scaled-with-world", "scaled by the processes"): replicas(
        optimizer="optim.SGD(model.parameters(), lr=0.1 * dist.get_world_size())"
    ),
    ("lr-not-scaled-with-world", "a rate from the configuration"): replicas(
        optimizer="optim.SGD(model.parameters(), lr=config['lr'])"
    ),
    ("accumulate-without-no-sync", "synchronised at the end"): ACCUMULATED.format(
        wrap="DDP(nn.Linear(20, 4))", context="with model.no_sync():"
    ),
    ("accumulate-without-no-sync", "one process"): ACCUMULATED.format(
        wrap="nn.Linear(20, 4)", context="if True:"
    ),
    ("gradient-clip-by-local-norm", "the wrapper's own"): """
        model = FSDP(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4)))
        optimizer = optim.AdamW(model.parameters(), lr=1e-4)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            model.clip_grad_norm_(1.0)
            optimizer.step()
    """,
    ("gradient-clip-by-local-norm", "tensors that know the whole norm"): """
        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
        fully_shard(model)
        optimizer = optim.AdamW(model.parameters(), lr=1e-4)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    """,
    ("fp16-allreduce-overflow", "a mean"): replicas(
        wrap="model = DDP(model); model.register_comm_hook(None, default_hooks.fp16_compress_hook)"
    ),
    ("fp16-allreduce-overflow", "the range of float32"): replicas(
        wrap="model = DDP(model); model.register_comm_hook(None, default_hooks.bf16_compress_hook)",
        loss="F.cross_entropy(model(x), y, reduction='sum')",
    ),
    ("compression-without-error-feedback", "feedback by default"): replicas(
        wrap="model = DDP(model); model.register_comm_hook("
        "powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=1000), powerSGD_hook.powerSGD_hook)"
    ),
    ("rank-dependent-parameters", "only saved by the first"): replicas(
        inner="optimizer.step()\n                if rank == 0:\n"
        "                    torch.save(model.state_dict(), 'last.pt')"
    ),
    ("train-not-shuffled", "time runs forward"): """
        series = torch.randn(1000, 8)
        train_loader = DataLoader(TimeSeriesWindows(series, length=32), batch_size=64, shuffle=False)
    """,
    ("eval-shuffled", "images to look at"): """
        sample_loader = DataLoader(datasets.CIFAR10("data", train=False), batch_size=16, shuffle=True)
        images, _ = next(iter(sample_loader))
        torchvision.utils.save_image(images, "samples.png")
    """,
    ("dataset-local-rng", "a generator per index"): """
        class Noisy(Dataset):
            def __init__(self, data):
                self.data = data

            def __getitem__(self, i):
                rng = np.random.default_rng(i)
                return self.data[i] + rng.normal()

            def __len__(self):
                return len(self.data)

        train_loader = DataLoader(Noisy(torch.randn(64)), num_workers=4, shuffle=True)
    """,
    ("weighted-sampler-noop", "fewer than there are"): """
        weights = torch.ones(1000)
        sampler = WeightedRandomSampler(weights, num_samples=100, replacement=False)
        train_loader = DataLoader(train_set, batch_size=64, sampler=sampler)
    """,
    ("labels-shuffled-apart", "the same seed before each"): """
        np.random.seed(0)
        np.random.shuffle(features)
        np.random.seed(0)
        np.random.shuffle(labels)
    """,
    ("augment-on-eval", "a wrapper with a transform of its own"): """
        class Transformed(Dataset):
            def __init__(self, subset, transform):
                self.subset, self.transform = subset, transform

            def __getitem__(self, i):
                x, y = self.subset[i]
                return self.transform(x), y

            def __len__(self):
                return len(self.subset)

        train_part, val_part = random_split(datasets.CIFAR10("data"), [45000, 5000])
        train_set = Transformed(train_part, T.Compose([T.RandomCrop(32, 4), T.ToTensor()]))
        val_set = Transformed(val_part, T.ToTensor())
    """,
    ("normalize-wrong-units", "values from 0 to 255"): """
        from torchvision.transforms import v2
        transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize((123.7, 116.3, 103.5), (58.4, 57.1, 57.4))])
        train_set = datasets.CIFAR10("data", train=True, transform=transform)
    """,
    ("unnormalized-input", "words enter an embedding"): """
        class Words(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.out = nn.Embedding(1000, 16), nn.Linear(16, 2)

            def forward(self, x):
                return self.out(self.embed(x).mean(1))

        tokens, labels = torch.from_numpy(np.load("tokens.npy")), torch.from_numpy(np.load("labels.npy"))
        model = Words()
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        for x, y in DataLoader(TensorDataset(tokens, labels), batch_size=64, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("unnormalized-input", "a normalisation layer first"): """
        from sklearn.datasets import load_wine
        features, labels = load_wine(return_X_y=True)
        x, y = torch.tensor(features).float(), torch.tensor(labels)
        model = nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("set-epoch-missing", "prepared by accelerate"): """
        from accelerate import Accelerator
        accelerator = Accelerator()
        data = datasets.CIFAR10("data", train=True, transform=T.ToTensor())
        loader = DataLoader(data, batch_size=64, sampler=DistributedSampler(data))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                accelerator.backward(F.cross_entropy(model(x), y))
                optimizer.step()
    """,
    ("optimizer-before-fsdp", "the original parameters kept"): """
        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
        optimizer = optim.AdamW(model.parameters(), lr=1e-4)
        model = FSDP(model, use_orig_params=True)
    """,
    ("ddp-full-data", "split by node"): """
        from datasets.distributed import split_dataset_by_node
        dist.init_process_group("nccl")
        data = split_dataset_by_node(source, rank=dist.get_rank(), world_size=dist.get_world_size())
        train_loader = DataLoader(data, batch_size=32)
        model = DDP(nn.Linear(20, 4))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("unbounded-staleness", "a barrier every few steps"): """
        import torch.multiprocessing as mp

        def work(model, barrier):
            optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            for step, (x, y) in enumerate(loader):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                if step % 8 == 0:
                    barrier.wait()

        model = nn.Linear(20, 4)
        model.share_memory()
        barrier = mp.Barrier(4)
        workers = [mp.Process(target=work, args=(model, barrier)) for _ in range(4)]
    """,
    ("train-not-shuffled", "transitions sampled from a buffer"): """
        class Replay(Dataset):
            def __init__(self, buffer):
                self.buffer = buffer

            def __getitem__(self, i):
                return random.choice(self.buffer)

            def __len__(self):
                return 1000

        train_loader = DataLoader(Replay(buffer), batch_size=64)
        model = nn.Linear(20, 4)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    ("eval-drop-last", "the whole of it"): """
        test_set = datasets.CIFAR10("data", train=False, transform=T.ToTensor())
        test_loader = DataLoader(test_set, batch_size=64, drop_last=False)
    """,
    ("accumulate-without-no-sync", "accelerate's own switch"): """
        from accelerate import Accelerator
        accelerator = Accelerator(gradient_accumulation_steps=4)
        model, optimizer, batches = accelerator.prepare(model, optimizer, loader)
        for x, y in batches:
            with accelerator.accumulate(model):
                accelerator.backward(F.cross_entropy(model(x), y))
                optimizer.step()
                optimizer.zero_grad()
    """,
    ("unbounded-staleness", "a rate divided by the lag"): """
        import torch.multiprocessing as mp

        def work(model, clock):
            optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            for x, y in loader:
                optimizer.zero_grad()
                before = clock.value
                F.cross_entropy(model(x), y).backward()
                for group in optimizer.param_groups:
                    group["lr"] = 0.01 / (1 + clock.value - before)
                optimizer.step()
                clock.value += 1

        model = nn.Linear(20, 4)
        model.share_memory()
        clock = mp.Value("i", 0)
        workers = [mp.Process(target=work, args=(model, clock)) for _ in range(4)]
        for worker in workers:
            worker.start()
    """,
    ("unbounded-staleness", "a rate divided among the processes"): """
        import torch.multiprocessing as mp

        WORKERS = 4

        def work(model):
            optimizer = optim.SGD(model.parameters(), lr=0.1 / WORKERS, momentum=0.9)
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()

        model = nn.Linear(20, 4)
        model.share_memory()
        workers = [mp.Process(target=work, args=(model,)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
    """,
    ("unbounded-staleness", "a queue of bounded length"): """
        import torch.multiprocessing as mp

        def work(model, queue):
            optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            for x, y in loader:
                queue.get()
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()

        model = nn.Linear(20, 4)
        model.share_memory()
        queue = mp.Queue(maxsize=4)
        workers = [mp.Process(target=work, args=(model, queue)) for _ in range(4)]
        for worker in workers:
            worker.start()
    """,
    ("ddp-mutated", "moved before it is wrapped"): replicas(
        wrap="model = model.to(rank); model = DDP(model, device_ids=[rank])"
    ),
    ("ddp-full-data", "shards of a web dataset"): """
        import webdataset as wds
        dist.init_process_group("nccl")
        data = wds.WebDataset("train-{000..127}.tar", nodesplitter=wds.split_by_node)
        train_loader = DataLoader(data, batch_size=32)
        model = DDP(nn.Linear(20, 4))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
}
