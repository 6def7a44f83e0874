"""What a training shows in TensorBoard.

Here belongs all that makes event files: which numbers, pictures and graphs, and in what form.
That TensorFlow is not loaded for it is decided in `writers.py`.
"""

from torchbp.callbacks.tensorboard.callback import TensorBoard

__all__ = ["TensorBoard"]
