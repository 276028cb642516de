"""Which library names mean what: canonical spellings and the kind of object a call makes."""

from __future__ import annotations

import functools
import re

from convlint.program.facts import ObjectKind

_RENAMED_PREFIXES = (
    ("pytorch_lightning.", "lightning.pytorch."),
    ("lightning.Trainer", "lightning.pytorch.Trainer"),
    ("lightning.LightningModule", "lightning.pytorch.LightningModule"),
    ("lightning.LightningDataModule", "lightning.pytorch.LightningDataModule"),
    ("torch.cuda.amp.GradScaler", "torch.amp.GradScaler"),
    ("torch.cuda.amp.autocast", "torch.amp.autocast"),
    ("torch.cpu.amp.autocast", "torch.amp.autocast"),
    ("torch.autocast", "torch.amp.autocast"),
    ("torch.nn.utils.clip_grad.", "torch.nn.utils."),
    ("torch.nn.utils.rnn.", "torch.nn.utils.rnn."),
    ("torch.utils.data.dataloader.", "torch.utils.data."),
    ("torch.utils.data.dataset.", "torch.utils.data."),
    ("torch.utils.data.distributed.", "torch.utils.data."),
    ("torch.utils.data.sampler.", "torch.utils.data."),
    ("torchvision.transforms.v2.", "torchvision.transforms."),
    ("torchvision.transforms.transforms.", "torchvision.transforms."),
    ("tensorflow.keras.", "keras."),
    ("transformers.optimization.get_", "transformers.get_"),
    ("timm.scheduler.cosine_lr.", "timm.scheduler."),
    ("timm.scheduler.step_lr.", "timm.scheduler."),
    ("timm.scheduler.multistep_lr.", "timm.scheduler."),
)

_TRANSPARENT_SUBMODULES = ("torch.optim.", "torch.nn.modules.", "torchvision.models.")

ML_ROOTS = frozenset(
    {
        "torch", "torchvision", "torchaudio", "torchtext", "torchmetrics", "torch_geometric",
        "pytorch_lightning", "lightning", "lightning_fabric", "transformers", "accelerate",
        "datasets", "timm", "sklearn", "keras", "tensorflow", "jax", "flax", "optax", "numpy",
        "pandas", "scipy", "ignite", "fastai", "skorch", "deepspeed", "apex", "bitsandbytes",
        "albumentations", "PIL", "cv2", "trl", "peft", "diffusers", "monai", "kornia", "wandb",
        "matplotlib", "tqdm", "ray", "horovod", "mlflow", "skimage", "imageio", "gymnasium", "gym",
        "einops", "torch_optimizer", "lion_pytorch", "xformers", "flash_attn", "composer",
        "hydra", "omegaconf", "absl", "click", "typer", "fire",
    }
)  # fmt: skip
"""Top-level packages whose names are never looked for among the project's own files."""


@functools.lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """One spelling per thing: ``torch.optim.adam.Adam`` and ``torch.optim.Adam`` are the same."""
    for old, new in _RENAMED_PREFIXES:
        if name.startswith(old):
            name = new + name[len(old) :]
            break
    for prefix in _TRANSPARENT_SUBMODULES:
        if name.startswith(prefix):
            rest = name[len(prefix) :].split(".")
            if prefix == "torch.nn.modules.":
                return "torch.nn." + rest[-1] if rest[-1][:1].isupper() else name
            if len(rest) == 2 and rest[0] != "lr_scheduler" and rest[0].islower():
                return prefix + rest[1]
    return name


_KIND_BY_NAME = {
    "torch.optim.AveragedModel": ObjectKind.LIBRARY,
    "torch.optim.SWALR": ObjectKind.SCHEDULER,
    "torch.amp.GradScaler": ObjectKind.SCALER,
    "torch.distributed.fsdp.sharded_grad_scaler.ShardedGradScaler": ObjectKind.SCALER,
    "torch.utils.data.DataLoader": ObjectKind.LOADER,
    "torch.utils.data.TensorDataset": ObjectKind.DATASET,
    "torch.utils.data.Subset": ObjectKind.DATASET,
    "torch.utils.data.ConcatDataset": ObjectKind.DATASET,
    "torch.utils.tensorboard.SummaryWriter": ObjectKind.WRITER,
    "tensorboardX.SummaryWriter": ObjectKind.WRITER,
    "accelerate.Accelerator": ObjectKind.ACCELERATOR,
    "lightning.fabric.Fabric": ObjectKind.ACCELERATOR,
    "lightning.Fabric": ObjectKind.ACCELERATOR,
    "lightning_fabric.Fabric": ObjectKind.ACCELERATOR,
    "lightning.pytorch.Trainer": ObjectKind.TRAINER,
    "transformers.Trainer": ObjectKind.TRAINER,
    "transformers.Seq2SeqTrainer": ObjectKind.TRAINER,
    "trl.SFTTrainer": ObjectKind.TRAINER,
    "skorch.NeuralNetClassifier": ObjectKind.TRAINER,
    "skorch.NeuralNetRegressor": ObjectKind.TRAINER,
    "fastai.learner.Learner": ObjectKind.TRAINER,
    "composer.Trainer": ObjectKind.TRAINER,
    "ignite.engine.Engine": ObjectKind.TRAINER,
    "torch.hub.load": ObjectKind.LAYER,
    "timm.create_model": ObjectKind.LAYER,
    "timm.models.create_model": ObjectKind.LAYER,
    "transformers.get_scheduler": ObjectKind.SCHEDULER,
    "transformers.Adafactor": ObjectKind.OPTIMIZER,
    "transformers.AdamW": ObjectKind.OPTIMIZER,
}

_OPTIMIZER_PACKAGES = (
    "torch.optim.", "torch_optimizer.", "apex.optimizers.", "bitsandbytes.optim.",
    "timm.optim.", "lion_pytorch.", "deepspeed.ops.adam.", "torch.distributed.optim.",
    "transformers.optimization.Ada",
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def library_kind(name: str) -> ObjectKind | None:
    """The kind of object that calling the library name ``name`` (canonical) makes, or None when
    the call makes no object worth tracking."""
    known = _KIND_BY_NAME.get(name)
    if known is not None:
        return known
    prefix, _, last = name.rpartition(".")
    is_class = last[:1].isupper()
    if name.startswith("torch.optim.lr_scheduler."):
        return ObjectKind.SCHEDULER if is_class else None
    if name.startswith("timm.scheduler.") and is_class:
        return ObjectKind.SCHEDULER
    if prefix in ("transformers", "transformers.optimization") and "schedule" in last:
        return ObjectKind.SCHEDULER
    if is_class and name.startswith(_OPTIMIZER_PACKAGES) and last != "Optimizer":
        return ObjectKind.OPTIMIZER
    if prefix == "torch.nn" and is_class:
        if last.endswith("Loss"):
            return ObjectKind.LOSS
        if last in ("Parameter", "ParameterList", "ParameterDict", "Module", "DataParallel"):
            return None
        return ObjectKind.LAYER
    if name.startswith("torchvision.models.") and not is_class and not last.startswith("get_"):
        return ObjectKind.LAYER
    if name.startswith("torchvision.datasets.") and is_class:
        return ObjectKind.DATASET
    if name.startswith(("torchvision.transforms.", "albumentations.")) and is_class:
        return ObjectKind.TRANSFORM
    if name.startswith("torch.utils.data.") and last.endswith("Sampler"):
        return ObjectKind.SAMPLER
    if name.startswith("sklearn.") and is_class:
        return ObjectKind.ESTIMATOR
    if name.startswith("transformers.") and last in ("from_pretrained", "from_config"):
        owner = prefix.rpartition(".")[2]
        named = "Model" in owner or re.search(r"For[A-Z]", owner)
        return ObjectKind.LAYER if named else None
    if name.startswith(("torch_geometric.nn.", "torchvision.ops.", "timm.models.")) and is_class:
        return ObjectKind.LAYER
    if name.startswith(("torch_geometric.loader.", "torch_geometric.data.DataLoader")) and is_class:
        return ObjectKind.LOADER
    if name.startswith("torch_geometric.datasets.") and is_class:
        return ObjectKind.DATASET
    return None


MODULE_BASES = (
    "torch.nn.",
    "lightning.pytorch.LightningModule",
    "lightning.pytorch.core.LightningModule",
    "transformers.PreTrainedModel",
    "torch_geometric.nn.",
)


def is_module_base(name: str) -> bool:
    """Whether deriving from this library class makes a class a torch.nn.Module."""
    return name.startswith(MODULE_BASES) or (
        name.startswith("transformers.") and name.endswith(("PreTrainedModel", "Model"))
    )


DATASET_BASES = frozenset(
    {
        "torch.utils.data.Dataset",
        "torch.utils.data.IterableDataset",
        "torch_geometric.data.Dataset",
        "torch_geometric.data.InMemoryDataset",
    }
)

MANAGED_BASES = {
    "lightning.pytorch.LightningModule": "lightning",
    "lightning.pytorch.core.LightningModule": "lightning",
    "transformers.Trainer": "transformers.Trainer",
    "transformers.Seq2SeqTrainer": "transformers.Trainer",
}

MANAGED_CALLS = {
    "deepspeed.initialize": "deepspeed",
    "torch.distributed.autograd.context": "dist_autograd",
}

RETURNS_ITS_MODULE = frozenset(
    {
        "torch.nn.DataParallel",
        "torch.nn.parallel.DistributedDataParallel",
        "torch.nn.parallel.distributed.DistributedDataParallel",
        "torch.compile",
        "torch.jit.script",
        "torch.jit.trace",
        "torch.nn.SyncBatchNorm.convert_sync_batchnorm",
        "torch.distributed.fsdp.FullyShardedDataParallel",
        "torch.distributed.fsdp.fully_shard",
        "torch.distributed._composable.fsdp.fully_shard",
        "torch.distributed.tensor.parallel.parallelize_module",
        "torch.nn.utils.weight_norm",
        "torch.nn.utils.spectral_norm",
        "torch.nn.utils.parametrizations.weight_norm",
        "torch.nn.utils.parametrizations.spectral_norm",
        "torch.nn.utils.parametrizations.orthogonal",
        "apex.parallel.DistributedDataParallel",
        "apex.parallel.convert_syncbn_model",
        "horovod.torch.DistributedOptimizer",
    }
)
"""Calls that hand back their first argument in a wrapping that changes nothing we look at."""

HARMLESS_PREFIXES = (
    "torch.", "torchvision.", "torchaudio.", "numpy.", "math.", "os.", "sys.", "time.", "json.",
    "logging.", "random.", "copy.", "pickle.", "matplotlib.", "wandb.", "tqdm.", "torchinfo.",
    "torchsummary.", "thop.", "ptflops.", "fvcore.", "pathlib.", "shutil.", "itertools.",
    "functools.", "collections.", "datetime.", "warnings.", "re.", "argparse.", "sklearn.metrics.",
    "torchmetrics.", "pandas.", "seaborn.", "rich.", "csv.", "einops.", "subprocess.", "string.",
    "plotly.", "mlflow.", "PIL.", "gc.", "inspect.", "contextlib.", "typing.", "dataclasses.",
    "statistics.", "tensorboardX.", "scipy.", "gymnasium.", "gym.",
)  # fmt: skip
"""Library calls that neither step, clear nor clip anything they are handed."""
