"""Ratios of speeds as they are printed."""

from lab_ddpm.studies.ratios import as_ratio


def test_a_ratio_is_the_median_of_its_rounds_with_their_range() -> None:
    assert as_ratio([1.5, 0.9, 1.1]) == "1.10 [0.90, 1.50]"
    assert as_ratio([2.0]) == "2.00 [2.00, 2.00]"
