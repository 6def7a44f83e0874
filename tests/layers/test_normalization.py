"""Batch normalisation that stays as it is in training."""

import pytest
import torch

from torchbp.layers import BatchNorm1d, BatchNorm2d


@pytest.mark.parametrize("biased", [False, True])
def test_frozen_normalises_in_training_as_in_evaluation_and_keeps_its_statistics(biased):
    norm = BatchNorm1d(3, frozen=True, biased_running_var=biased)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    expected = norm.eval()(x)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    torch.testing.assert_close(norm.train()(x), expected)
    torch.testing.assert_close(expected, (x - 2.0) / (4.0 + norm.eps) ** 0.5)
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer, before[name])
    norm.frozen = False
    assert not torch.allclose(norm(x), expected)


def test_frozen_trains_weight_and_bias_unless_told_otherwise():
    norm = BatchNorm2d(3, frozen=True)
    norm(torch.randn(2, 3, 4, 4)).sum().backward()
    assert norm.weight.grad is not None
    assert "frozen=True" in repr(norm)


def test_frozen_takes_a_single_value_in_training_and_checks_its_input():
    assert BatchNorm1d(3, frozen=True).train()(torch.zeros(1, 3)).shape == (1, 3)
    with pytest.raises(ValueError, match="2D or 3D"):
        BatchNorm1d(3, frozen=True)(torch.zeros(1, 3, 4, 4))
