"""Activations: functions of each value, and the softmaxes, which are functions of a dimension."""

from torch import nn

from torchbp.graph.layer import Layer


class ReLU(Layer, nn.ReLU):
    """max(x, 0).

    Arguments are those of `torch.nn.ReLU`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import ReLU
        >>> ReLU()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])

    Differences from Keras: Keras's negative_slope is `LeakyReLU`, its max_value=6 `nn.ReLU6`, its
    threshold `nn.Threshold`.
    """


class LeakyReLU(Layer, nn.LeakyReLU):
    """x where it is positive, negative_slope * x where not.

    Arguments are those of `torch.nn.LeakyReLU`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import LeakyReLU
        >>> LeakyReLU(0.3)(torch.tensor([-1.0, 2.0]))
        tensor([-0.3000,  2.0000])

    Differences from Keras: the slope is 0.01 by default; Keras's layer has 0.3, its function 0.2.
    """


class PReLU(Layer, nn.PReLU):
    """LeakyReLU with a slope that is trained, one in all or one a channel.

    Arguments are those of `torch.nn.PReLU`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import PReLU
        >>> PReLU()(torch.tensor([-1.0, 2.0])).tolist()
        [-0.25, 2.0]

    Differences from Keras: slopes start at 0.25 (Keras 0). Keras has one slope a feature and
    position unless all axes but the channels are shared.
    Source: He et al. 2015, https://arxiv.org/abs/1502.01852
    """


class ELU(Layer, nn.ELU):
    """x where it is positive, alpha * (exp(x) - 1) where not.

    Arguments are those of `torch.nn.ELU`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import ELU
        >>> ELU()(torch.tensor([-1.0, 2.0]))
        tensor([-0.6321,  2.0000])

    Differences from Keras: none.
    Source: Clevert et al. 2015, https://arxiv.org/abs/1511.07289
    """


class SELU(Layer, nn.SELU):
    """ELU scaled so that depth keeps mean 0 and variance 1.

    Arguments are those of `torch.nn.SELU`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import SELU
        >>> SELU()(torch.tensor([-1.0, 2.0]))
        tensor([-1.1113,  2.1014])

    Differences from Keras: the gradient at exactly 0 is 1.7581 (TensorFlow 1.0507).
    Source: Klambauer et al. 2017, https://arxiv.org/abs/1706.02515
    """


class GELU(Layer, nn.GELU):
    """x times the normal distribution's probability of less than x.

    Arguments are those of `torch.nn.GELU`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import GELU
        >>> GELU()(torch.tensor([-1.0, 2.0]))
        tensor([-0.1587,  1.9545])

    Differences from Keras: approximate=True is `approximate="tanh"`.
    Source: Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415
    """


class SiLU(Layer, nn.SiLU):
    """x * sigmoid(x), also called swish.

    Arguments are those of `torch.nn.SiLU`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import SiLU
        >>> SiLU()(torch.tensor([-1.0, 2.0]))
        tensor([-0.2689,  1.7616])

    Differences from Keras: none.
    Source: Elfwing et al. 2017, https://arxiv.org/abs/1702.03118
    """


class Mish(Layer, nn.Mish):
    """x * tanh(softplus(x)).

    Arguments are those of `torch.nn.Mish`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import Mish
        >>> Mish()(torch.tensor([-1.0, 2.0]))
        tensor([-0.3034,  1.9440])

    Differences from Keras: none.
    Source: Misra 2019, https://arxiv.org/abs/1908.08681
    """


class Sigmoid(Layer, nn.Sigmoid):
    """1 / (1 + exp(-x)).

    Arguments are those of `torch.nn.Sigmoid`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import Sigmoid
        >>> Sigmoid()(torch.tensor([-1.0, 0.0]))
        tensor([0.2689, 0.5000])

    Differences from Keras: none.
    """


class Tanh(Layer, nn.Tanh):
    """Hyperbolic tangent.

    Arguments are those of `torch.nn.Tanh`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import Tanh
        >>> Tanh()(torch.tensor([-1.0, 0.0]))
        tensor([-0.7616,  0.0000])

    Differences from Keras: none.
    """


class Softplus(Layer, nn.Softplus):
    """log(1 + exp(beta * x)) / beta.

    Arguments are those of `torch.nn.Softplus`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import Softplus
        >>> Softplus()(torch.tensor([-1.0, 2.0]))
        tensor([0.3133, 2.1269])

    Differences from Keras: above threshold (20) it is x itself, which differs by at most 2.1e-9.
    """


class Softmax(Layer, nn.Softmax):
    """exp(x) over its sum along a dimension: probabilities.

    Arguments are those of `torch.nn.Softmax`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import Softmax
        >>> Softmax(dim=1)(torch.tensor([[0.0, 0.0]]))
        tensor([[0.5000, 0.5000]])

    Differences from Keras: dim has no default that could be relied on: name it. No mask.
    """


class LogSoftmax(Layer, nn.LogSoftmax):
    """Logarithm of the softmax along a dimension.

    Arguments are those of `torch.nn.LogSoftmax`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import LogSoftmax
        >>> LogSoftmax(dim=1)(torch.tensor([[0.0, 0.0]]))
        tensor([[-0.6931, -0.6931]])

    Differences from Keras: dim has no default that could be relied on: name it.
    """


class Hardsigmoid(Layer, nn.Hardsigmoid):
    """min(max(x + 3, 0), 6) / 6.

    Arguments are those of `torch.nn.Hardsigmoid`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import Hardsigmoid
        >>> Hardsigmoid()(torch.tensor([-4.0, 0.0]))
        tensor([0.0000, 0.5000])

    Differences from Keras: none in float32; the gradient in float64 has a float32 constant (3e-8).
    """


class Hardswish(Layer, nn.Hardswish):
    """x * hardsigmoid(x).

    Arguments are those of `torch.nn.Hardswish`.

    Shape:
        input and output have the same shape.

    Example:
        >>> from torchbp.layers import Hardswish
        >>> Hardswish()(torch.tensor([-1.0, 2.0]))
        tensor([-0.3333,  1.6667])

    Differences from Keras: none.
    Source: Howard et al. 2019, https://arxiv.org/abs/1905.02244
    """
