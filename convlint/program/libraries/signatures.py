"""Parameter names and the defaults rules need, of library callables.

Written as ``name: "first second=default ..."``; from the documentation of torch 2.13,
torchvision 0.29 and scikit-learn 1.9.
"""

from __future__ import annotations

import functools

from convlint.program.facts import Scalar

_ADAM = "params lr=0.001 betas eps=1e-08 weight_decay=0 amsgrad=False"
_CONV = (
    "in_channels out_channels kernel_size stride=1 padding=0 dilation=1 groups=1 bias=True "
    "padding_mode=zeros"
)
_CONV_TRANSPOSE = (
    "in_channels out_channels kernel_size stride=1 padding=0 output_padding=0 groups=1 bias=True "
    "dilation=1"
)
_RNN = (
    "input_size hidden_size num_layers=1 bias=True batch_first=False dropout=0.0 "
    "bidirectional=False"
)
_BATCH_NORM = "num_features eps=1e-05 momentum=0.1 affine=True track_running_stats=True"

_SIGNATURES = {
    "torch.optim.SGD": "params lr=0.001 momentum=0 dampening=0 weight_decay=0 nesterov=False",
    "torch.optim.Adam": _ADAM,
    "torch.optim.AdamW": "params lr=0.001 betas eps=1e-08 weight_decay=0.01 amsgrad=False",
    "torch.optim.NAdam": "params lr=0.002 betas eps=1e-08 weight_decay=0 momentum_decay=0.004",
    "torch.optim.RAdam": "params lr=0.001 betas eps=1e-08 weight_decay=0",
    "torch.optim.Adamax": "params lr=0.002 betas eps=1e-08 weight_decay=0",
    "torch.optim.RMSprop": (
        "params lr=0.01 alpha=0.99 eps=1e-08 weight_decay=0 momentum=0 centered=False"
    ),
    "torch.optim.Adagrad": "params lr=0.01 lr_decay=0 weight_decay=0 initial_accumulator_value=0",
    "torch.optim.Adadelta": "params lr=1.0 rho=0.9 eps=1e-06 weight_decay=0",
    "torch.optim.Rprop": "params lr=0.01 etas step_sizes",
    "torch.optim.LBFGS": "params lr=1 max_iter=20 max_eval tolerance_grad tolerance_change",
    "torch.optim.SparseAdam": "params lr=0.001 betas eps=1e-08",
    "torch.optim.ASGD": "params lr=0.01 lambd=0.0001 alpha=0.75 t0 weight_decay=0",
    "torch.optim.Adafactor": "params lr=0.01 beta2_decay=-0.8 eps d=1.0 weight_decay=0.0",
    "torch.optim.lr_scheduler.StepLR": "optimizer step_size gamma=0.1 last_epoch=-1",
    "torch.optim.lr_scheduler.MultiStepLR": "optimizer milestones gamma=0.1 last_epoch=-1",
    "torch.optim.lr_scheduler.ExponentialLR": "optimizer gamma last_epoch=-1",
    "torch.optim.lr_scheduler.ConstantLR": "optimizer factor=0.3333333333333333 total_iters=5",
    "torch.optim.lr_scheduler.LinearLR": (
        "optimizer start_factor=0.3333333333333333 end_factor=1.0 total_iters=5 last_epoch=-1"
    ),
    "torch.optim.lr_scheduler.PolynomialLR": "optimizer total_iters=5 power=1.0 last_epoch=-1",
    "torch.optim.lr_scheduler.CosineAnnealingLR": "optimizer T_max eta_min=0.0 last_epoch=-1",
    "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts": "optimizer T_0 T_mult=1 eta_min=0.0",
    "torch.optim.lr_scheduler.OneCycleLR": (
        "optimizer max_lr total_steps epochs steps_per_epoch pct_start=0.3 anneal_strategy=cos "
        "cycle_momentum=True base_momentum=0.85 max_momentum=0.95 div_factor=25.0 "
        "final_div_factor=10000.0 three_phase=False"
    ),
    "torch.optim.lr_scheduler.CyclicLR": (
        "optimizer base_lr max_lr step_size_up=2000 step_size_down mode=triangular gamma=1.0"
    ),
    "torch.optim.lr_scheduler.LambdaLR": "optimizer lr_lambda last_epoch=-1",
    "torch.optim.lr_scheduler.MultiplicativeLR": "optimizer lr_lambda last_epoch=-1",
    "torch.optim.lr_scheduler.SequentialLR": "optimizer schedulers milestones last_epoch=-1",
    "torch.optim.lr_scheduler.ChainedScheduler": "schedulers optimizer",
    "torch.optim.lr_scheduler.ReduceLROnPlateau": (
        "optimizer mode=min factor=0.1 patience=10 threshold=0.0001 threshold_mode=rel cooldown=0 "
        "min_lr=0 eps=1e-08"
    ),
    "transformers.get_scheduler": "name optimizer num_warmup_steps num_training_steps",
    "transformers.get_constant_schedule": "optimizer last_epoch=-1",
    "transformers.get_constant_schedule_with_warmup": "optimizer num_warmup_steps last_epoch=-1",
    "transformers.get_linear_schedule_with_warmup": (
        "optimizer num_warmup_steps num_training_steps last_epoch=-1"
    ),
    "transformers.get_cosine_schedule_with_warmup": (
        "optimizer num_warmup_steps num_training_steps num_cycles=0.5 last_epoch=-1"
    ),
    "transformers.get_cosine_with_hard_restarts_schedule_with_warmup": (
        "optimizer num_warmup_steps num_training_steps num_cycles=1 last_epoch=-1"
    ),
    "transformers.get_polynomial_decay_schedule_with_warmup": (
        "optimizer num_warmup_steps num_training_steps lr_end=1e-07 power=1.0 last_epoch=-1"
    ),
    "transformers.get_inverse_sqrt_schedule": "optimizer num_warmup_steps timescale last_epoch=-1",
    "timm.scheduler.CosineLRScheduler": (
        "optimizer t_initial lr_min=0.0 cycle_mul=1.0 cycle_decay=1.0 cycle_limit=1 warmup_t=0 "
        "warmup_lr_init=0 warmup_prefix=False t_in_epochs=True"
    ),
    "timm.scheduler.StepLRScheduler": (
        "optimizer decay_t decay_rate=1.0 warmup_t=0 warmup_lr_init=0 warmup_prefix=True"
    ),
    "timm.scheduler.MultiStepLRScheduler": (
        "optimizer decay_t decay_rate=1.0 warmup_t=0 warmup_lr_init=0 warmup_prefix=True"
    ),
    "torch.utils.data.DataLoader": (
        "dataset batch_size=1 shuffle sampler batch_sampler num_workers=0 collate_fn "
        "pin_memory=False drop_last=False timeout=0 worker_init_fn"
    ),
    "torch.utils.data.Subset": "dataset indices",
    "torch.utils.data.ConcatDataset": "datasets",
    "torch.utils.data.random_split": "dataset lengths generator",
    "torch.utils.data.WeightedRandomSampler": "weights num_samples replacement=True",
    "torch.utils.data.RandomSampler": "data_source replacement=False num_samples",
    "torch.utils.data.DistributedSampler": "dataset num_replicas rank shuffle=True seed=0",
    "torch.nn.Linear": "in_features out_features bias=True",
    "torch.nn.Bilinear": "in1_features in2_features out_features bias=True",
    "torch.nn.Conv1d": _CONV,
    "torch.nn.Conv2d": _CONV,
    "torch.nn.Conv3d": _CONV,
    "torch.nn.ConvTranspose1d": _CONV_TRANSPOSE,
    "torch.nn.ConvTranspose2d": _CONV_TRANSPOSE,
    "torch.nn.ConvTranspose3d": _CONV_TRANSPOSE,
    "torch.nn.RNN": "input_size hidden_size num_layers=1 nonlinearity=tanh bias=True",
    "torch.nn.LSTM": _RNN,
    "torch.nn.GRU": _RNN,
    "torch.nn.RNNCell": "input_size hidden_size bias=True nonlinearity=tanh",
    "torch.nn.LSTMCell": "input_size hidden_size bias=True",
    "torch.nn.GRUCell": "input_size hidden_size bias=True",
    "torch.nn.BatchNorm1d": _BATCH_NORM,
    "torch.nn.BatchNorm2d": _BATCH_NORM,
    "torch.nn.BatchNorm3d": _BATCH_NORM,
    "torch.nn.LayerNorm": "normalized_shape eps=1e-05 elementwise_affine=True bias=True",
    "torch.nn.GroupNorm": "num_groups num_channels eps=1e-05 affine=True",
    "torch.nn.Embedding": "num_embeddings embedding_dim padding_idx",
    "torch.nn.Dropout": "p=0.5 inplace=False",
    "torch.nn.Dropout2d": "p=0.5 inplace=False",
    "torch.nn.Softmax": "dim",
    "torch.nn.LogSoftmax": "dim",
    "torch.nn.LeakyReLU": "negative_slope=0.01 inplace=False",
    "torch.nn.MultiheadAttention": (
        "embed_dim num_heads dropout=0.0 bias=True add_bias_kv=False add_zero_attn=False kdim vdim "
        "batch_first=False"
    ),
    "torch.nn.TransformerEncoderLayer": (
        "d_model nhead dim_feedforward=2048 dropout=0.1 activation=relu layer_norm_eps=1e-05 "
        "batch_first=False norm_first=False bias=True"
    ),
    "torch.nn.TransformerEncoder": "encoder_layer num_layers norm",
    "torch.nn.TransformerDecoder": "decoder_layer num_layers norm",
    "torch.nn.CrossEntropyLoss": (
        "weight size_average ignore_index=-100 reduce reduction=mean label_smoothing=0.0"
    ),
    "torch.nn.NLLLoss": "weight size_average ignore_index=-100 reduce reduction=mean",
    "torch.nn.BCELoss": "weight size_average reduce reduction=mean",
    "torch.nn.BCEWithLogitsLoss": "weight size_average reduce reduction=mean pos_weight",
    "torch.nn.MSELoss": "size_average reduce reduction=mean",
    "torch.nn.L1Loss": "size_average reduce reduction=mean",
    "torch.nn.KLDivLoss": "size_average reduce reduction=mean log_target=False",
    "torch.nn.functional.cross_entropy": (
        "input target weight size_average ignore_index=-100 reduce reduction=mean "
        "label_smoothing=0.0"
    ),
    "torch.nn.functional.nll_loss": (
        "input target weight size_average ignore_index=-100 reduce reduction=mean"
    ),
    "torch.nn.functional.binary_cross_entropy": "input target weight size_average reduce reduction=mean",
    "torch.nn.functional.binary_cross_entropy_with_logits": (
        "input target weight size_average reduce reduction=mean pos_weight"
    ),
    "torch.nn.functional.mse_loss": "input target size_average reduce reduction=mean",
    "torch.nn.functional.l1_loss": "input target size_average reduce reduction=mean",
    "torch.nn.functional.smooth_l1_loss": "input target size_average reduce reduction=mean beta=1.0",
    "torch.nn.functional.kl_div": "input target size_average reduce reduction=mean log_target=False",
    "torch.nn.functional.softmax": "input dim _stacklevel dtype",
    "torch.nn.functional.log_softmax": "input dim _stacklevel dtype",
    **dict.fromkeys(
        (
            f"torch.nn.functional.{kind}"
            for kind in ("dropout", "dropout1d", "dropout2d", "dropout3d")
        ),
        "input p=0.5 training=True inplace=False",
    ),
    "torch.nn.functional.alpha_dropout": "input p=0.5 training=False inplace=False",
    "torch.nn.functional.feature_alpha_dropout": "input p=0.5 training=False inplace=False",
    "torch.nn.functional.scaled_dot_product_attention": (
        "query key value attn_mask dropout_p=0.0 is_causal=False scale enable_gqa"
    ),
    "torch.nn.Module.apply": "fn",
    "torch.nn.Module.load_state_dict": "state_dict strict=True assign=False",
    "torch.nn.Module.register_comm_hook": "state hook",
    "torch.nn.parallel.DistributedDataParallel": "module device_ids output_device",
    "torch.distributed.fsdp.FullyShardedDataParallel": (
        "module process_group sharding_strategy cpu_offload"
    ),
    "torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook.PowerSGDState": (
        "process_group matrix_approximation_rank=1 start_powerSGD_iter=1000 "
        "min_compression_rate=2 use_error_feedback=True warm_start=True orthogonalization_epsilon=0"
    ),
    "flash_attn.flash_attn_func": "q k v dropout_p=0.0 softmax_scale causal=False",
    "flash_attn.flash_attn_qkvpacked_func": "qkv dropout_p=0.0 softmax_scale causal=False",
    "flash_attn.flash_attn_varlen_func": (
        "q k v cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k dropout_p=0.0"
    ),
    "flash_attn.flash_attn_interface.flash_attn_func": "q k v dropout_p=0.0 softmax_scale",
    "xformers.ops.memory_efficient_attention": "query key value attn_bias p=0.0 scale",
    "torch.nn.functional.leaky_relu": "input negative_slope=0.01 inplace=False",
    "torch.softmax": "input dim dtype",
    "torch.log_softmax": "input dim dtype",
    "torch.nn.utils.clip_grad_norm_": "parameters max_norm norm_type=2.0 error_if_nonfinite=False",
    "torch.nn.utils.clip_grad_norm": "parameters max_norm norm_type=2.0",
    "torch.nn.utils.clip_grad_value_": "parameters clip_value",
    "torch.nn.init.xavier_uniform_": "tensor gain=1.0 generator",
    "torch.nn.init.xavier_normal_": "tensor gain=1.0 generator",
    "torch.nn.init.kaiming_uniform_": "tensor a=0 mode=fan_in nonlinearity=leaky_relu generator",
    "torch.nn.init.kaiming_normal_": "tensor a=0 mode=fan_in nonlinearity=leaky_relu generator",
    "torch.nn.init.normal_": "tensor mean=0.0 std=1.0 generator",
    "torch.nn.init.trunc_normal_": "tensor mean=0.0 std=1.0 a=-2.0 b=2.0 generator",
    "torch.nn.init.uniform_": "tensor a=0.0 b=1.0 generator",
    "torch.nn.init.constant_": "tensor val",
    "torch.nn.init.zeros_": "tensor",
    "torch.nn.init.ones_": "tensor",
    "torch.nn.init.orthogonal_": "tensor gain=1 generator",
    "torch.nn.init.eye_": "tensor",
    "torch.nn.init.calculate_gain": "nonlinearity param",
    "torch.amp.autocast": "device_type dtype enabled=True cache_enabled",
    "torchvision.transforms.Normalize": "mean std inplace=False",
    "torchvision.transforms.Compose": "transforms",
    "torchvision.transforms.ToDtype": "dtype scale=False",
    "torchvision.datasets.MNIST": "root train=True transform target_transform download=False",
    "torchvision.datasets.FashionMNIST": "root train=True transform target_transform download=False",
    "torchvision.datasets.KMNIST": "root train=True transform target_transform download=False",
    "torchvision.datasets.CIFAR10": "root train=True transform target_transform download=False",
    "torchvision.datasets.CIFAR100": "root train=True transform target_transform download=False",
    "torchvision.datasets.SVHN": "root split=train transform target_transform download=False",
    "torchvision.datasets.STL10": "root split=train folds transform target_transform",
    "torchvision.datasets.ImageFolder": "root transform target_transform loader is_valid_file",
    "torchvision.datasets.ImageNet": "root split=train transform",
    "torchvision.datasets.FakeData": "size=1000 image_size num_classes=10 transform",
    "timm.create_model": "model_name pretrained=False pretrained_cfg",
    "torch.hub.load": "repo_or_dir model",
    "sklearn.model_selection.train_test_split": "*arrays",
}


def _default(text: str) -> Scalar:
    constants: dict[str, Scalar] = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


@functools.lru_cache(maxsize=512)
def signature(name: str) -> tuple[tuple[str, ...], dict[str, Scalar]]:
    """Parameter names in positional order, and known defaults, of a library callable.

    Both empty when the callable is not in the table.
    """
    names: list[str] = []
    defaults: dict[str, Scalar] = {}
    text = _SIGNATURES.get(name)
    if text is None and name.startswith("torchvision.models."):
        text = "weights progress=True"
    for part in (text or "").split():
        parameter, equals, default = part.partition("=")
        names.append(parameter)
        if equals:
            defaults[parameter] = _default(default)
    return tuple(names), defaults
