"""The best practices that Keras made popular, as native PyTorch, proved equal to Keras."""

from torchbp.graph import Input, Model, Sequential, call

__version__ = "0.1.0"
