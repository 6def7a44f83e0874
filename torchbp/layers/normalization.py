"""Layers that bring values to zero mean and unit variance, or to unit mean square."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm as TorchBatchNorm

from torchbp.graph.layer import Layer


class _BatchNorm(Layer, TorchBatchNorm):
    """torch's batch normalisation; weight, bias and the kind of running variance can be chosen."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *args: Any,
        scale: bool = True,
        shift: bool = True,
        biased_running_var: bool = False,
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        self.frozen = frozen
        super().__init__(num_features, eps, momentum, affine, *args, **kwargs)
        self.biased_running_var = biased_running_var
        if not scale:
            self.register_parameter("weight", None)
        if not shift:
            self.register_parameter("bias", None)

    def reset_parameters(self) -> None:
        """Ones, zeros, and running statistics as if no batch had come."""
        self.reset_running_stats()
        for parameter, start in ((self.weight, 1.0), (self.bias, 0.0)):
            if parameter is not None:
                nn.init.constant_(parameter, start)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised values."""
        if self.frozen:
            self._check_input_dim(input)  # type: ignore[no-untyped-call]
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        if not (self.biased_running_var and self.training and self.track_running_stats):
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        assert self.running_mean is not None  # statistics are tracked
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / self.num_batches_tracked.item()
        # The kernel mixes in n / (n - 1) times the biased variance. Scaled so before and back
        # after, the average is that of biased ones. It is a tensor of its own, as autograd keeps
        # what the kernel gets, and the buffer changes again with the next batch.
        num_values = input.numel() // input.shape[1]
        correction = num_values / max(num_values - 1, 1)
        running_var = self.running_var * correction
        output = F.batch_norm(
            input, self.running_mean, running_var, self.weight, self.bias, True, momentum, self.eps
        )
        with torch.no_grad():
            self.running_var.copy_(running_var / correction)
        return output

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        chosen = {
            "scale": (self.weight is not None or not self.affine, True),
            "shift": (self.bias is not None or not self.affine, True),
            "biased_running_var": (self.biased_running_var, False),
            "frozen": (self.frozen, False),
        }
        told = [f"{name}={value}" for name, (value, usual) in chosen.items() if value is not usual]
        return ", ".join([str(super().extra_repr()), *told])  # type: ignore[no-untyped-call]


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """Normalisation of each channel by the mean and variance of the batch.

    Arguments are those of `torch.nn.BatchNorm1d`, and four by name. In training the running
    statistics follow those of the batch; in evaluation they take their place.

    Args:
        scale: whether there is a weight, if `affine`.
        shift: whether there is a bias, if `affine`.
        biased_running_var: let running_var follow the variance of the batch itself, sum / n, and
            not torch's estimate from it, sum / (n - 1), for n values of a channel in the batch.
        frozen: take the running statistics in training, too, and leave them as they are, as one
            wants it in a network that is fine-tuned on small batches. The weight and the bias are
            trained all the same, unless they do not require grad. May be set at any time.

    Shape:
        input (N, C) or (N, C, T) -> output of the same shape.

    Example:
        >>> from torchbp.layers import BatchNorm1d
        >>> BatchNorm1d(8, eps=1e-3, momentum=0.01)(torch.randn(16, 8)).shape
        torch.Size([16, 8])

    Differences from Keras: eps is 1e-5 (Keras 1e-3); momentum is the weight of the new value,
    0.1 (Keras's 0.99, the weight of the old one, is 0.01 here); Keras has biased_running_var;
    Keras's `trainable = False` is `frozen=True` and `requires_grad_(False)`. A single value of a
    channel is refused in training; Keras takes it for its mean.
    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167
    """


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Normalisation of each channel of images by the mean and variance of the batch.

    Arguments are those of `torch.nn.BatchNorm2d`, and `scale`, `shift`, `biased_running_var` and
    `frozen`, by name, as for BatchNorm1d.

    Shape:
        input (N, C, H, W) -> output of the same shape.

    Example:
        >>> from torchbp.layers import BatchNorm2d
        >>> BatchNorm2d(8, eps=1e-3, momentum=0.01)(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])

    Differences from Keras: as for BatchNorm1d.
    """


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """Normalisation of each channel of volumes by the mean and variance of the batch.

    Arguments are those of `torch.nn.BatchNorm3d`, and `scale`, `shift`, `biased_running_var` and
    `frozen`, by name, as for BatchNorm1d.

    Shape:
        input (N, C, D, H, W) -> output of the same shape.

    Example:
        >>> from torchbp.layers import BatchNorm3d
        >>> BatchNorm3d(8, eps=1e-3, momentum=0.01)(torch.randn(2, 8, 3, 3, 3)).shape
        torch.Size([2, 8, 3, 3, 3])

    Differences from Keras: as for BatchNorm1d.
    """


class LayerNorm(Layer, nn.LayerNorm):
    """Normalisation of each sample over its last dimensions.

    Arguments are those of `torch.nn.LayerNorm`, and one by name.

    Args:
        scale: whether there is a weight, if `elementwise_affine`.

    Shape:
        input (..., *normalized_shape) -> output of the same shape.

    Example:
        >>> from torchbp.layers import LayerNorm
        >>> LayerNorm(8, eps=1e-3)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Differences from Keras: eps is 1e-5 (Keras 1e-3).
    Source: Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """

    def __init__(self, *args: Any, scale: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not scale:
            self.register_parameter("weight", None)

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        _reset(self)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return _with_missing(self, str(super().extra_repr()), self.elementwise_affine)


class GroupNorm(Layer, nn.GroupNorm):
    """Normalisation of each sample over groups of consecutive channels.

    Arguments are those of `torch.nn.GroupNorm`, and two by name.

    Args:
        scale: whether there is a weight, if `affine`.
        shift: whether there is a bias, if `affine`.

    Shape:
        input (N, C, ...) -> output of the same shape.

    Example:
        >>> from torchbp.layers import GroupNorm
        >>> GroupNorm(2, 8, eps=1e-3)(torch.randn(2, 8, 5)).shape
        torch.Size([2, 8, 5])

    Differences from Keras: eps is 1e-5 (Keras 1e-3); the channels are dimension 1.
    Source: Wu and He 2018, https://arxiv.org/abs/1803.08494
    """

    def __init__(self, *args: Any, scale: bool = True, shift: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, is_there in (("weight", scale), ("bias", shift)):
            if not is_there:
                self.register_parameter(name, None)

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        _reset(self)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised values."""
        if (self.weight is None) == (self.bias is None):
            return super().forward(input)
        normed = F.group_norm(input, self.num_groups, eps=self.eps)  # which wants both or none
        view = (-1, *(1,) * (input.ndim - 2))
        if self.bias is None:
            return normed * self.weight.reshape(view)
        return normed + self.bias.reshape(view)

    def extra_repr(self) -> str:
        """What printing the layer shows of it."""
        return _with_missing(self, str(super().extra_repr()), self.affine)


class RMSNorm(Layer, nn.RMSNorm):
    """Division of each sample by the root of its mean square over the last dimensions.

    Arguments are those of `torch.nn.RMSNorm`.

    Shape:
        input (..., *normalized_shape) -> output of the same shape.

    Example:
        >>> from torchbp.layers import RMSNorm
        >>> RMSNorm(8, eps=1e-6)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Differences from Keras: eps is by default the smallest step of the dtype (Keras 1e-6).
    Source: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467
    """


def _reset(layer: nn.LayerNorm | nn.GroupNorm) -> None:
    for parameter, start in ((layer.weight, 1.0), (layer.bias, 0.0)):
        if parameter is not None:
            nn.init.constant_(parameter, start)


def _with_missing(layer: nn.LayerNorm | nn.GroupNorm, text: str, is_affine: bool) -> str:
    """What torch shows of a layer, and what is left out of it."""
    if is_affine and layer.weight is None:
        text += ", scale=False"
    if is_affine and isinstance(layer, nn.GroupNorm) and layer.bias is None:
        text += ", shift=False"
    return text
