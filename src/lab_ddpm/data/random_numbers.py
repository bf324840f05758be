"""Random numbers that are a function of a seed, a position and an index, computed on any device.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): ten rounds of two products of 32
bits mix a counter of four words with a key of two. A generator with a state would need one state for each position, and
torch's generators of a CPU and of a GPU give different numbers.

Words of 32 bits are held in int64: torch has no operators for unsigned ones. A product of two words may overflow; it
wraps around, and its 64 bits are the right ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

# the second argument of `hashed`: what a number decides about an image, so that it has nothing to do with its noise
FOR_OUTLINES, FOR_CLUSTER, FOR_PLACES = 1, 2, 3

_ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF  # the low 32 bits


def hashed(seed: int, index: int) -> int:
    """A seed of 32 bits that has nothing to do with those of other seeds and indices."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def image_uniforms(seeds: Sequence[int], purpose: int, count: int) -> torch.Tensor:
    """(B, count) numbers in [0, 1) for images with these seeds, on the CPU. `purpose` is FOR_OUTLINES and so on."""
    generators = [torch.Generator().manual_seed(hashed(seed, purpose)) for seed in seeds]
    return torch.stack([torch.rand(count, generator=generator) for generator in generators])


def philox(counter: Sequence[torch.Tensor], key: tuple[int, int]) -> list[torch.Tensor]:
    """Four random words for each counter.

    Args:
        counter: Four int64 tensors of words, which broadcast.
        key: Two words.

    Returns:
        Four int64 tensors of words.
    """
    a, b, c, d = torch.broadcast_tensors(*counter)
    for turn in range(_ROUNDS):
        low, high = ((step * turn + word) & _WORD for step, word in zip(_KEY_STEPS, key, strict=True))
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, c = second >> 32, first >> 32
        a ^= b  # in place, which takes half the time on a CPU
        c ^= d
        a ^= low
        c ^= high
        a &= _WORD  # the shift has filled with the sign, and b and d have upper halves
        c &= _WORD
        b, d = second, first
    return [a, b & _WORD, c, d & _WORD]


def random_words(seed: int, positions: torch.Tensor, count: int) -> torch.Tensor:
    """(B, count) int64 words of 32 bits for (B,) int64 `positions`, on their device; `seed` < 2^32."""
    blocks = torch.arange(-(-count // 4), device=positions.device)
    rows = positions[:, None]
    words = philox([blocks, torch.zeros_like(blocks), rows & _WORD, rows >> 32], (seed, 0))
    return torch.stack(words, dim=2).flatten(1)[:, :count]


def to_uniform(words: torch.Tensor) -> torch.Tensor:
    """Words as float32 numbers in [0, 1): multiples of 2^-24."""
    return (words >> 8).float() * 2**-24


def to_normal(words: torch.Tensor) -> torch.Tensor:
    """(B, 2 n) words as (B, 2 n) float32 standard normal numbers (Box and Muller, 1958)."""
    radii, angles = words.float().mul_(2**-32).add_(2**-33).chunk(2, dim=1)  # in (0, 1]
    radii, angles = radii.log().mul_(-2).sqrt_(), angles.mul_(2 * math.pi)
    return torch.cat([radii * angles.cos(), radii * angles.sin()], dim=1)
