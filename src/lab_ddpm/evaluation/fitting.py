"""Fit a network that judges images: AdamW and one cycle of the learning rate.

Sources: "Decoupled Weight Decay Regularization", 2019, arXiv:1711.05101; "Super-Convergence", 2017, arXiv:1708.07120.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from tqdm import tqdm

_WEIGHT_DECAY = 0.05


def fit(
    network: nn.Module,
    name: str,
    epochs: int,
    steps_per_epoch: int,
    learning_rate: float,
    draw_epoch: Callable[[], Sequence[torch.Tensor]],
    loss_of: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Train `network` in place.

    Args:
        network: What is trained.
        name: Shown beside the progress bar.
        epochs: The number of epochs.
        steps_per_epoch: The number of batches that `draw_epoch` returns.
        learning_rate: The peak of the cycle.
        draw_epoch: The batches of the next epoch: positions of images.
        loss_of: The loss of the network for the images at such positions.
    """
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=epochs * steps_per_epoch
    )
    network.train()
    for epoch in range(1, epochs + 1):
        progress = tqdm(draw_epoch(), f"{name} {epoch}/{epochs}", unit="batch")
        for chosen in progress:
            loss = loss_of(chosen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
