"""Kernels, tables and statistics: the order of axes.

Letters: C channels in, C' channels out, M channels out for each channel in, D features in, H
features out, and `*k` the sides of a kernel, `*1` as many ones.
"""

from torch import Tensor

from torchbp.port.weights.check import check_ndim, copied, wrong_shape


def dense_kernel_to_torch(kernel: Tensor) -> Tensor:
    """Reorder the kernel of a Dense layer for `Linear`.

    Args:
        kernel: (D, H).

    Returns:
        (H, D).

    Raises:
        ShapeError: the kernel has not two dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.dense_kernel_to_torch(torch.zeros(64, 10)).shape
        torch.Size([10, 64])
    """
    check_ndim("dense kernel", kernel, "(D, H)", 2)
    return copied(kernel.T)


def dense_kernel_to_keras(weight: Tensor) -> Tensor:
    """Reorder the weight of a `Linear` for a Dense layer.

    Args:
        weight: (H, D).

    Returns:
        (D, H).

    Raises:
        ShapeError: the weight has not two dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.dense_kernel_to_keras(torch.zeros(10, 64)).shape
        torch.Size([64, 10])
    """
    check_ndim("Linear weight", weight, "(H, D)", 2)
    return copied(weight.T)


def conv_kernel_to_torch(kernel: Tensor) -> Tensor:
    """Reorder the kernel of a Conv1D, Conv2D or Conv3D for `Conv1d`, `Conv2d`, `Conv3d`.

    Args:
        kernel: (*k, C / groups, C').

    Returns:
        (C', C / groups, *k).

    Raises:
        ShapeError: the kernel has not three to five dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.conv_kernel_to_torch(torch.zeros(5, 7, 3, 16)).shape
        torch.Size([16, 3, 5, 7])
    """
    check_ndim("convolution kernel", kernel, "(*k, C / groups, C')", 3, 5)
    return _last_two_first(kernel)


def conv_kernel_to_keras(weight: Tensor) -> Tensor:
    """Reorder the weight of a `Conv1d`, `Conv2d` or `Conv3d` for Conv1D, Conv2D, Conv3D.

    Args:
        weight: (C', C / groups, *k).

    Returns:
        (*k, C / groups, C').

    Raises:
        ShapeError: the weight has not three to five dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.conv_kernel_to_keras(torch.zeros(16, 3, 5, 7)).shape
        torch.Size([5, 7, 3, 16])
    """
    check_ndim("convolution weight", weight, "(C', C / groups, *k)", 3, 5)
    return _first_two_last(weight)


def conv_transpose_kernel_to_torch(kernel: Tensor) -> Tensor:
    """Reorder the kernel of a Conv1DTranspose, ... for `ConvTranspose1d`, ....

    Args:
        kernel: (*k, C', C), the channels out before those in.

    Returns:
        (C, C', *k).

    Raises:
        ShapeError: the kernel has not three to five dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.conv_transpose_kernel_to_torch(torch.zeros(5, 16, 3)).shape
        torch.Size([3, 16, 5])
    """
    check_ndim("transposed convolution kernel", kernel, "(*k, C', C)", 3, 5)
    return _last_two_first(kernel)


def conv_transpose_kernel_to_keras(weight: Tensor) -> Tensor:
    """Reorder the weight of a `ConvTranspose1d`, ... for Conv1DTranspose, ....

    Args:
        weight: (C, C', *k).

    Returns:
        (*k, C', C).

    Raises:
        ShapeError: the weight has not three to five dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.conv_transpose_kernel_to_keras(torch.zeros(3, 16, 5)).shape
        torch.Size([5, 16, 3])
    """
    check_ndim("transposed convolution weight", weight, "(C, C', *k)", 3, 5)
    return _first_two_last(weight)


def depthwise_kernel_to_torch(kernel: Tensor) -> Tensor:
    """Reorder the kernel of a DepthwiseConv for a convolution with groups=C.

    Args:
        kernel: (*k, C, M).

    Returns:
        (C * M, 1, *k); channel c * M + m is the m-th of channel c.

    Raises:
        ShapeError: the kernel has not three to five dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.depthwise_kernel_to_torch(torch.zeros(3, 3, 8, 2)).shape
        torch.Size([16, 1, 3, 3])
    """
    check_ndim("depthwise kernel", kernel, "(*k, C, M)", 3, 5)
    return copied(kernel.flatten(-2).movedim(-1, 0).unsqueeze(1))


def depthwise_kernel_to_keras(weight: Tensor, in_channels: int) -> Tensor:
    """Reorder the weight of a convolution with groups=C for a DepthwiseConv.

    Args:
        weight: (C * M, 1, *k).
        in_channels: C.

    Returns:
        (*k, C, M).

    Raises:
        ShapeError: the weight is not that of C groups.

    Example:
        >>> from torchbp.port import weights
        >>> weights.depthwise_kernel_to_keras(torch.zeros(16, 1, 3, 3), in_channels=8).shape
        torch.Size([3, 3, 8, 2])
    """
    check_ndim("depthwise weight", weight, "(C * M, 1, *k)", 3, 5)
    if weight.shape[1] != 1 or weight.shape[0] % in_channels:
        raise wrong_shape("depthwise weight", f"(C * M, 1, *k) with C={in_channels}", weight)
    return copied(weight.squeeze(1).movedim(0, -1).reshape(*weight.shape[2:], in_channels, -1))


def separable_kernels_to_torch(
    depthwise_kernel: Tensor, pointwise_kernel: Tensor
) -> tuple[Tensor, Tensor]:
    """Reorder the two kernels of a SeparableConv for a depthwise and a 1x1 convolution.

    Args:
        depthwise_kernel: (*k, C, M).
        pointwise_kernel: (*1, C * M, C').

    Returns:
        (C * M, 1, *k) and (C', C * M, *1).

    Raises:
        ShapeError: the channels of the two do not fit.

    Example:
        >>> from torchbp.port import weights
        >>> kernels = torch.zeros(3, 8, 2), torch.zeros(1, 16, 4)
        >>> [tuple(w.shape) for w in weights.separable_kernels_to_torch(*kernels)]
        [(16, 1, 3), (4, 16, 1)]
    """
    depthwise = depthwise_kernel_to_torch(depthwise_kernel)
    pointwise = conv_kernel_to_torch(pointwise_kernel)
    if pointwise.shape[1:] != (len(depthwise), *[1] * (depthwise.ndim - 2)):
        raise wrong_shape("pointwise kernel", f"(*1, {len(depthwise)}, C')", pointwise_kernel)
    return depthwise, pointwise


def separable_kernels_to_keras(
    depthwise: Tensor, pointwise: Tensor, in_channels: int
) -> tuple[Tensor, Tensor]:
    """Reorder the weights of a depthwise and a 1x1 convolution for a SeparableConv.

    Args:
        depthwise: (C * M, 1, *k).
        pointwise: (C', C * M, *1).
        in_channels: C.

    Returns:
        (*k, C, M) and (*1, C * M, C').

    Raises:
        ShapeError: the channels of the two do not fit.

    Example:
        >>> from torchbp.port import weights
        >>> kernels = torch.zeros(16, 1, 3), torch.zeros(4, 16, 1)
        >>> [tuple(w.shape) for w in weights.separable_kernels_to_keras(*kernels, in_channels=8)]
        [(3, 8, 2), (1, 16, 4)]
    """
    kernel = depthwise_kernel_to_keras(depthwise, in_channels)
    if pointwise.shape[1:] != (len(depthwise), *[1] * (depthwise.ndim - 2)):
        raise wrong_shape("pointwise weight", f"(C', {len(depthwise)}, *1)", pointwise)
    return kernel, conv_kernel_to_keras(pointwise)


def embedding_to_torch(embeddings: Tensor) -> Tensor:
    """The table of an Embedding, (num_embeddings, embedding_dim) on both sides.

    Args:
        embeddings: (num_embeddings, embedding_dim).

    Returns:
        The same values.

    Raises:
        ShapeError: the table has not two dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.embedding_to_torch(torch.zeros(1000, 64)).shape
        torch.Size([1000, 64])
    """
    check_ndim("embeddings", embeddings, "(num_embeddings, embedding_dim)", 2)
    return copied(embeddings)


def embedding_to_keras(weight: Tensor) -> Tensor:
    """The table of an `Embedding`, (num_embeddings, embedding_dim) on both sides.

    Args:
        weight: (num_embeddings, embedding_dim).

    Returns:
        The same values.

    Raises:
        ShapeError: the table has not two dimensions.

    Example:
        >>> from torchbp.port import weights
        >>> weights.embedding_to_keras(torch.zeros(1000, 64)).shape
        torch.Size([1000, 64])
    """
    return embedding_to_torch(weight)


def batch_norm_to_torch(
    gamma: Tensor | None, beta: Tensor | None, moving_mean: Tensor, moving_variance: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """The weights of a BatchNormalization for `BatchNorm1d`, ..., in the same order.

    Args:
        gamma: (C,), or None with scale=False.
        beta: (C,), or None with center=False.
        moving_mean: (C,).
        moving_variance: (C,).

    Returns:
        weight, bias, running_mean and running_var: the same values, None where None came.

    Raises:
        ShapeError: the four are not vectors of one length.

    Example:
        >>> from torchbp.port import weights
        >>> zeros, ones = torch.zeros(8), torch.ones(8)
        >>> weight, bias, mean, var = weights.batch_norm_to_torch(ones, zeros, zeros, ones)
        >>> weight.shape
        torch.Size([8])
    """
    for vector in (gamma, beta, moving_variance):
        if vector is not None and vector.shape != moving_mean.shape:
            raise wrong_shape("batch normalisation", f"{tuple(moving_mean.shape)} as mean", vector)
    check_ndim("batch normalisation", moving_mean, "(C,)", 1)
    weight, bias = (None if vector is None else copied(vector) for vector in (gamma, beta))
    return weight, bias, copied(moving_mean), copied(moving_variance)


def batch_norm_to_keras(
    weight: Tensor | None, bias: Tensor | None, running_mean: Tensor, running_var: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """The weights of a `BatchNorm1d`, ... for a BatchNormalization, in the same order.

    Args:
        weight: (C,), or None.
        bias: (C,), or None.
        running_mean: (C,).
        running_var: (C,).

    Returns:
        gamma, beta, moving_mean and moving_variance: the same values.

    Raises:
        ShapeError: the four are not vectors of one length.

    Example:
        >>> from torchbp.port import weights
        >>> gamma, beta, mean, variance = weights.batch_norm_to_keras(
        ...     None, None, torch.zeros(8), torch.ones(8)
        ... )
        >>> mean.shape
        torch.Size([8])
    """
    return batch_norm_to_torch(weight, bias, running_mean, running_var)


def _last_two_first(kernel: Tensor) -> Tensor:
    return copied(kernel.movedim((-1, -2), (0, 1)))


def _first_two_last(weight: Tensor) -> Tensor:
    return copied(weight.movedim((0, 1), (-1, -2)))
