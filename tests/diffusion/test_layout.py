"""The layout of a mask says at every patch how much of which label is in it, and is read back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from lab_ddpm.diffusion.layout import label_codes, make_layout, num_layout_channels, read_layout


@given(st.integers(1, 200))
def test_no_two_labels_have_the_same_code_and_no_channel_is_wasted(num_labels: int) -> None:
    codes = label_codes(num_labels)
    assert codes.shape == (num_labels, num_layout_channels(num_labels) - 1)
    assert codes.abs().eq(1).all()
    assert len({tuple(code.tolist()) for code in codes}) == num_labels
    assert 2 ** (codes.shape[1] - 1) < num_labels or num_labels == 1


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_a_mask_of_whole_patches_is_read_back(num_labels: int, seed: int) -> None:
    coarse = torch.randint(num_labels + 1, (2, 1, 3, 5), generator=torch.Generator().manual_seed(seed))
    masks = coarse.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    layout = make_layout(masks.to(torch.uint8), num_labels, patch_size=4)
    assert layout.shape == (2, num_layout_channels(num_labels), 3, 5)
    assert read_layout(layout, num_labels).equal(coarse)


def test_a_patch_is_the_mean_of_its_pixels() -> None:
    masks = torch.tensor([[0, 0, 3, 3], [0, 2, 3, 1]]).reshape(1, 1, 2, 4)
    (left, right) = make_layout(masks, num_labels=4, patch_size=2)[0, :, 0].T
    # places 1 (01), 2 (10) and 0 (00), lowest bit first; presence
    assert left.tolist() == [0.25, -0.25, -0.5]
    assert right.tolist() == [-1.0, 0.5, 1.0]
