"""Datasets that draw from NumPy in projects that ask for one version of torch or another."""

from contrasts import Contrast, healthy, sick

HEAD = ""


def noisy(asked: str, draw: str = "np.random.normal()", options: str = "num_workers=4") -> str:
    """A script with metadata (PEP 723) whose dataset draws so."""
    return f"""# /// script
# dependencies = [{asked}]
# ///
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

class Noisy(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def noise(self):
        return {draw}

    def __getitem__(self, index):
        return self.data[index] + self.noise()

def reseed(worker):
    np.random.seed(torch.initial_seed() % 2**32)

loader = DataLoader(Noisy(torch.randn(512, 8)), batch_size=64, shuffle=True, {options})
"""


SLUG = "np-random-in-getitem"
OLD = '"torch~=1.8.1", "numpy"'

CASES = [
    Contrast(
        SLUG,
        "may be the first that reseeds",
        noisy('"torch<=1.9"'),
        ('"torch<=1.9"', '"torch<1.9"'),
    ),
    Contrast(SLUG, "any version", noisy('"torch", "numpy"'), ('"torch"', '"torch>=1.5,<=1.8.2"')),
    Contrast(SLUG, "any of the first generation", noisy('"torch==1.*"'), ("1.*", "1.7.*")),
    Contrast(SLUG, "no version known", noisy('"numpy"'), ('"numpy"', OLD)),
    Contrast(
        SLUG,
        "a version for one platform",
        noisy("\"torch==1.8.1; sys_platform == 'linux'\""),
        ("; sys_platform == 'linux'", ""),
    ),
    Contrast(SLUG, "no workers", noisy(OLD, options="num_workers=0"), ("=0", "=2")),
    Contrast(
        SLUG,
        "workers that reseed NumPy",
        noisy(OLD, options="num_workers=2, worker_init_fn=reseed"),
        (", worker_init_fn=reseed", ""),
    ),
    Contrast(
        SLUG,
        "numbers from torch",
        noisy(OLD, "torch.randn(()).item()"),
        ("torch.randn(()).item()", "np.random.randn()"),
    ),
]

SICK = sick(CASES)
HEALTHY = healthy(CASES)
