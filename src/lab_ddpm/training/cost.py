"""What a training needs: parameters, floating-point operations and memory. Nothing is computed.

One step runs on tensors that have a shape and no values (PyTorch's `FakeTensorMode`). This counts

    operations   of convolutions, matrix products and attention: forward, backward, and Muon's (`FlopCounterMode`)
    memory       weights + gradients + state of the optimizer + average of the weights
                 + what the forward pass keeps for the backward pass, each piece once

Not counted are the images, the copies of the gradients that several processes exchange, what an operation needs only
while it runs, and about half a GiB that CUDA takes for itself. `torch.compile` keeps less than is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lab_ddpm.data.augmentation import NUM_AUGMENT_LABELS
from lab_ddpm.data.batches import NUM_BATCH_UNIFORMS, Batch
from lab_ddpm.data.images import mask_size
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.model import build_denoiser
from lab_ddpm.training.optimizer import make_optimizer


@dataclass(frozen=True)
class Cost:
    """What a training needs.

    Attributes:
        parameters: Of all networks.
        flops: Floating-point operations of an optimizer step; a multiplication and an addition are two.
        memory: Bytes.
    """

    parameters: int
    flops: int
    memory: int


def training_cost(
    config: TrainConfig, labels: Sequence[str], in_channels: int, shares: int, precision: str, on_gpu: bool
) -> Cost:
    """What a training needs; the memory is that of one process.

    Args:
        config: Its settings.
        labels, in_channels: Those of the images.
        shares: In how many a batch is split: micro-batches times processes.
        precision: "no", "bf16" or "fp16".
        on_gpu: Whether normalisations compute in float32, as on a GPU; on a CPU they compute in the precision.
    """
    with FakeTensorMode():
        denoiser = build_denoiser(config, labels, in_channels)
        optimizer = make_optimizer(denoiser, config.optimizer)
        if precision != "no":
            _compute_in(denoiser, torch.float16 if precision == "fp16" else torch.bfloat16, on_gpu)
        kept: dict[int, torch.UntypedStorage] = {}
        with FlopCounterMode(display=False) as of_share:
            with _keeping(kept):
                terms = DenoisingLoss(**config.loss)(denoiser, _batch(denoiser, config.batch_size // shares))
            torch.stack(list(terms.values())).sum().backward()
        with FlopCounterMode(display=False) as of_optimizer:
            optimizer.step()
        flops = shares * of_share.get_total_flops() + of_optimizer.get_total_flops()
        parameters = list(denoiser.parameters())
        for parameter in parameters:
            kept.pop(parameter.untyped_storage()._cdata, None)
        state = [value for values in optimizer.state.values() for value in values.values()]
        copies = 3 if config.optimizer.ema_decay else 2  # weights, gradients, average
        memory = copies * _bytes(parameters) + _bytes(state) + sum(storage.nbytes() for storage in kept.values())
        return Cost(sum(parameter.numel() for parameter in parameters), flops, memory)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _compute_in(denoiser: Denoiser, dtype: torch.dtype, on_gpu: bool) -> None:
    """Let a denoiser compute in half precision, as accelerate does."""
    denoiser.forward = torch.autocast("cpu", dtype)(denoiser.forward)
    for module in denoiser.modules():
        if on_gpu and isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))


def _keeping(kept: dict[int, torch.UntypedStorage]) -> AbstractContextManager[None]:
    """Collect what the forward pass in the block keeps for the backward pass."""

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)


def _batch(denoiser: Denoiser, count: int) -> Batch:
    """A batch of zeros."""
    space = denoiser.space
    return Batch(
        positions=torch.zeros(count, dtype=torch.long),
        clean_images=torch.zeros(count, space.in_channels, *space.sample_size),
        masks=torch.zeros(count, 1, *mask_size(space.sample_size), dtype=torch.uint8),
        class_labels=torch.zeros(count, space.num_labels),
        augment_labels=torch.zeros(count, NUM_AUGMENT_LABELS if denoiser.config["augmentation"] else 0),
        most_labels=min(space.num_labels, 3),
        noise=torch.zeros(count, *space.shape),
        uniforms=torch.zeros(count, NUM_BATCH_UNIFORMS),
        place_uniforms=torch.zeros(count, space.num_labels + 1),
    )
