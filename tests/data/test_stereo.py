"""Pairs of images: what tells near from far, and what does not."""

import torch

from torchbp.data import stereo


def places(images):
    """Where the object stands, in widths: the centre of what is brighter than the noise."""
    light = images.mean(1).clamp(min=0.2) - 0.2  # (N, side, side)
    columns = torch.linspace(0, 1, light.shape[-1])
    return (light.sum(1) * columns).sum(-1) / light.sum((1, 2))


def test_near_objects_stand_further_apart_in_the_two_images():
    images, near = stereo.generate(300, side=64)
    apart = places(images["left"]) - places(images["right"])
    near = near.flatten().bool()
    # the centre of what is brighter than noise is found to about two hundredths of a width
    assert (apart[near] - sum(stereo.NEAR) / 2).abs().max() < 0.06
    assert (apart[~near] - sum(stereo.FAR) / 2).abs().max() < 0.05
    assert apart[near].min() > apart[~near].max()


def test_half_of_the_objects_are_near_and_one_place_tells_little():
    images, near = stereo.generate(2000, side=32, seed=1)
    assert 0.45 < near.mean() < 0.55
    correlation = torch.corrcoef(torch.stack([places(images["left"]), near.flatten()]))[0, 1]
    assert correlation.abs() < 0.4


def test_a_seed_is_a_data_set():
    first, again, other = (stereo.generate(5, seed=seed) for seed in (3, 3, 4))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first[0]["left"], other[0]["left"])
