"""Work is split between machines without a gap or an overlap."""

from argparse import ArgumentTypeError

import pytest

from lab_ddpm.tools.parts import WHOLE, Part, parse_part


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_parts_together_are_the_whole(count: int) -> None:
    parts = [parse_part(f"{number}/{count}") for number in range(1, count + 1)]
    items = [item for part in parts for item in part.of(range(10))]
    assert sorted(items) == list(WHOLE.of(range(10)))
    assert parts[-1] == Part(count, count)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "1/4/2", "-1/4", "a/b", "", "1/9999999"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="K/N"):
        parse_part(text)
