"""The scores of sets against cases with a known answer."""

import numpy as np
import pytest
import torch

from lab_ddpm.evaluation.classifiers import Features, build_classifier
from lab_ddpm.evaluation.distances import compare, covered, extract, frechet_distance, nearest
from lab_ddpm.tools.errors import UserError


def cloud(count: int, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> torch.Tensor:
    return mean + std * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_the_distances_of_a_set_from_itself_are_zero() -> None:
    scores = compare(cloud(200), cloud(200))
    assert scores["frechet"] == pytest.approx(0, abs=1e-3)
    assert scores["kernel"] == pytest.approx(0, abs=0.2)  # it is unbiased, so a little below 0
    assert scores["precision"] == scores["recall"] == 1


def test_the_frechet_distance_of_gaussians_is_that_of_the_formula() -> None:
    distance = frechet_distance(cloud(5000), cloud(5000, mean=2.0, std=3.0, seed=1))
    assert distance == pytest.approx(4 * 2.0**2 + 4 * (3.0 - 1) ** 2, rel=0.03)


def test_the_kernel_distance_of_shifted_gaussians_is_that_of_the_formula() -> None:
    # E (x.y / 4 + 1)^3 is 1.75 within standard normals in 4 dimensions, 2.5 between them and the shifted ones, 12.875
    # within those
    scores = compare(cloud(800), cloud(800, mean=1.0, seed=1))
    assert scores["kernel"] == pytest.approx(1.75 - 2 * 2.5 + 12.875, rel=0.15)


def test_precision_is_about_the_samples_and_recall_about_the_real_images() -> None:
    narrow = compare(cloud(400), cloud(400, std=0.2, seed=1))
    assert narrow["precision"] > 0.95
    assert narrow["recall"] < 0.5
    assert covered(cloud(50), cloud(20, mean=100.0)) == 0


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError):
        compare(cloud(3), cloud(50))


def test_the_nearest_training_image_is_the_nearest() -> None:
    random = np.random.default_rng(0)
    images, training = (random.integers(0, 256, (count, 5, 5, 1), dtype=np.uint8) for count in (7, 300))
    training[123] = images[3]
    distances, indices = nearest(images, training)
    difference = (images[:, None].astype(float) - training[None]).reshape(7, 300, -1) / 255
    expected = np.sqrt((difference**2).mean(axis=-1))
    np.testing.assert_allclose(distances, expected.min(axis=1), atol=1e-3)
    np.testing.assert_array_equal(indices, expected.argmin(axis=1))
    assert indices[3] == 123


@pytest.mark.parametrize(("name", "channels"), [("referee", 3), ("images", 1)])
def test_features_do_not_depend_on_the_batch(name: str, channels: int) -> None:
    torch.manual_seed(0)
    features = Features(build_classifier(name, 10, channels))
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, channels), dtype=np.uint8)
    whole = extract(features, images)
    assert whole.shape == (6, 256)
    torch.testing.assert_close(extract(features, images[2:3])[0], whole[2], atol=1e-5, rtol=1e-4)


def test_features_of_a_resnet_are_refused() -> None:
    with pytest.raises(UserError, match="resnet18"):
        Features(build_classifier("resnet18", 10))
