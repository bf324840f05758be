"""The generator gives the published numbers, and its numbers have their distributions."""

import pytest
import torch

from lab_ddpm.data.random_numbers import philox, random_words, to_normal, to_uniform


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_words_are_the_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    """From kat_vectors of Random123, the library of the paper's authors."""
    low, high = (int(word, 16) for word in key.split())
    words = philox([torch.tensor([int(word, 16)] * 40) for word in counter.split()], (low, high))
    for word, known in zip(words, expected.split(), strict=True):
        assert word.tolist() == [int(known, 16)] * 40  # all lanes of a vector, and what is left of it


def test_a_number_depends_on_its_seed_position_and_index_alone() -> None:
    positions = torch.tensor([0, 1, 2**32, 2**40 + 1])
    words = random_words(3, positions, 10)
    assert len(set(words.flatten().tolist())) == 40
    assert random_words(3, positions[2:], 7).equal(words[2:, :7])
    assert not torch.isin(random_words(4, positions, 10), words).any()


def test_numbers_have_their_distributions() -> None:
    words = random_words(0, torch.arange(500), 400)
    uniforms, normals = to_uniform(words), to_normal(words)
    assert ((uniforms >= 0) & (uniforms < 1)).all()
    for numbers in (uniforms, torch.special.ndtr(normals)):
        assert (torch.histc(numbers, bins=10, min=0, max=1) - 20_000).abs().max() < 600  # over 4 deviations
        assert torch.corrcoef(numbers[:, [0, 1, 2, 200, 201]].T).fill_diagonal_(0).abs().max() < 0.2


def test_the_ends_of_the_range_are_in_it() -> None:
    ends = torch.tensor([[0, 2**32 - 1, 0, 2**32 - 1]])
    assert to_uniform(ends).tolist()[0][:2] == [0, 1 - 2**-24]
    assert to_normal(ends).isfinite().all()
