"""Keras's initialisers of one weight, in place.

They know torch's layouts: (out, in), (out, in / groups, *kernel), and (in, out / groups, *kernel)
of a transposed convolution. A call draws new numbers; an initialiser object of Keras gives the
same values each time.

Sources: Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html; He et al. 2015,
https://arxiv.org/abs/1502.01852; LeCun et al. 1998, Efficient BackProp; Saxe et al. 2014,
https://arxiv.org/abs/1312.6120 (orthogonal); Jozefowicz et al. 2015,
https://proceedings.mlr.press/v37/jozefowicz15.html (the forget gate's bias).
"""

from math import sqrt

import torch
from torch import Generator, Tensor, nn

from torchbp.errors import ShapeError

Fans = tuple[int, int]
"""How many values an output sums over, and how many outputs an input goes to."""

# Standard deviation of a standard normal variable that is cut at -2 and 2.
TRUNCATED_STD = 0.87962566103423978


def glorot_uniform_(
    weight: Tensor, fans: Fans | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw from U(+-sqrt(6 / (fan_in + fan_out))).

    Args:
        weight: two dimensions or more, in one of torch's layouts.
        fans: (fan_in, fan_out) where they are not those of the layout.
        generator: source of the random numbers.

    Returns:
        The weight.

    Raises:
        ShapeError: the weight has less than two dimensions.

    Example:
        >>> from torchbp.layers import init
        >>> init.glorot_uniform_(torch.empty(2, 4)).abs().max() <= 1
        tensor(True)
    """
    fan_in, fan_out = fans or fans_of(weight)
    return _uniform_(weight, 2 / (fan_in + fan_out), generator)


def glorot_normal_(
    weight: Tensor, fans: Fans | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw from a normal distribution of variance 2 / (fan_in + fan_out), cut at 2 sigma.

    As in Keras the variance is that of the cut distribution: it is cut at 2.27 times its standard
    deviation. Arguments, result and error are those of `glorot_uniform_`.

    Example:
        >>> from torchbp.layers import init
        >>> init.glorot_normal_(torch.empty(2, 4)).abs().max() <= 2.274 * 3**-0.5
        tensor(True)
    """
    fan_in, fan_out = fans or fans_of(weight)
    return _truncated_normal_(weight, 2 / (fan_in + fan_out), generator)


def he_uniform_(
    weight: Tensor, fans: Fans | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw from U(+-sqrt(6 / fan_in)).

    Arguments, result and error are those of `glorot_uniform_`.

    Example:
        >>> from torchbp.layers import init
        >>> init.he_uniform_(torch.empty(4, 6)).abs().max() <= 1
        tensor(True)
    """
    return _uniform_(weight, 2 / (fans or fans_of(weight))[0], generator)


def he_normal_(
    weight: Tensor, fans: Fans | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw from a normal distribution of variance 2 / fan_in, cut as in `glorot_normal_`.

    Arguments, result and error are those of `glorot_uniform_`.

    Example:
        >>> from torchbp.layers import init
        >>> init.he_normal_(torch.empty(4, 2)).abs().max() <= 2.274
        tensor(True)
    """
    return _truncated_normal_(weight, 2 / (fans or fans_of(weight))[0], generator)


def lecun_uniform_(
    weight: Tensor, fans: Fans | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw from U(+-sqrt(3 / fan_in)).

    Arguments, result and error are those of `glorot_uniform_`.

    Example:
        >>> from torchbp.layers import init
        >>> init.lecun_uniform_(torch.empty(4, 3)).abs().max() <= 1
        tensor(True)
    """
    return _uniform_(weight, 1 / (fans or fans_of(weight))[0], generator)


def lecun_normal_(
    weight: Tensor, fans: Fans | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw from a normal distribution of variance 1 / fan_in, cut as in `glorot_normal_`.

    Arguments, result and error are those of `glorot_uniform_`.

    Example:
        >>> from torchbp.layers import init
        >>> init.lecun_normal_(torch.empty(4, 1)).abs().max() <= 2.274
        tensor(True)
    """
    return _truncated_normal_(weight, 1 / (fans or fans_of(weight))[0], generator)


def orthogonal_(weight: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw a matrix with orthonormal rows or columns, evenly among all there are.

    The matrix is the transpose of Keras's, (in * kernel, out), made as there: the Q of a Gaussian
    matrix's QR decomposition, times the signs of R's diagonal. All gates of a recurrent weight
    (gates * H, H) are one matrix.

    Args:
        weight: two dimensions or more, the outputs first.
        gain: factor.
        generator: source of the random numbers.

    Returns:
        The weight.

    Raises:
        ShapeError: the weight has less than two dimensions.

    Example:
        >>> from torchbp.layers import init
        >>> weight = init.orthogonal_(torch.empty(8, 2))
        >>> torch.allclose(weight.T @ weight, torch.eye(2), atol=1e-6)
        True
    """
    fans_of(weight)
    dtype = torch.promote_types(weight.dtype, torch.float32)  # there is no QR in half precision
    kernel = torch.empty(weight[0].numel(), len(weight), dtype=dtype, device=weight.device)
    nn.init.orthogonal_(kernel, gain, generator)
    with torch.no_grad():
        return weight.copy_(kernel.T.reshape(weight.shape))


def embedding_uniform_(weight: Tensor, generator: Generator | None = None) -> Tensor:
    """Draw from U(+-0.05), as Keras's Embedding.

    Args:
        weight: of any shape.
        generator: source of the random numbers.

    Returns:
        The weight.

    Example:
        >>> from torchbp.layers import init
        >>> init.embedding_uniform_(torch.empty(10, 4)).abs().max() <= 0.05
        tensor(True)
    """
    return nn.init.uniform_(weight, -0.05, 0.05, generator)


def unit_forget_bias_(bias: Tensor) -> Tensor:
    """Set an LSTM's bias to zero, and to one for the forget gate.

    Args:
        bias: (4H,), gates in torch's order, which is Keras's: input, forget, cell, output. Of
            torch's two biases only one may get it; they are summed.

    Returns:
        The bias.

    Example:
        >>> from torchbp.layers import init
        >>> init.unit_forget_bias_(torch.empty(8))
        tensor([0., 0., 1., 1., 0., 0., 0., 0.])
    """
    hidden_size = len(bias) // 4
    with torch.no_grad():
        bias.zero_()[hidden_size : 2 * hidden_size] = 1
    return bias


def fans_of(weight: Tensor) -> Fans:
    """The fans of a weight in one of torch's layouts, equal to Keras's for its layout.

    Args:
        weight: (out, in), (out, in / groups, *kernel), or (in, out / groups, *kernel) of a
            transposed convolution, where the fans are exchanged, as they are in Keras.

    Returns:
        (fan_in, fan_out).

    Raises:
        ShapeError: the weight has less than two dimensions.

    Example:
        >>> from torchbp.layers import init
        >>> init.fans_of(torch.empty(32, 3, 5, 5))
        (75, 800)
    """
    if weight.ndim < 2:
        raise ShapeError(
            f"init: expected a weight (out, in, ...), got {tuple(weight.shape)}.\n"
            "  To mend it: pass fans=(fan_in, fan_out), or set a bias to zero instead."
        )
    positions = weight[0, 0].numel()
    return weight.shape[1] * positions, weight.shape[0] * positions


def _uniform_(weight: Tensor, variance: float, generator: Generator | None) -> Tensor:
    limit = sqrt(3 * variance)
    return nn.init.uniform_(weight, -limit, limit, generator)


def _truncated_normal_(weight: Tensor, variance: float, generator: Generator | None) -> Tensor:
    std = sqrt(variance) / TRUNCATED_STD
    return nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator)
