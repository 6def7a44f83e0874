"""The data sets of the training scripts, one a module: read from a file, or made up from a seed.

Each module has the same verbs: `read` takes the file that a user brings, `generate` makes up a
task of the same kind that can be learned offline, and both go through the same encoding into
tensors. Nothing here downloads, and no file is able to run code. What a Trainer does with data
(batches, devices) is in `torchbp.train`.

Images come from torchvision, which `import_torchvision` imports also beside a torch without CUDA.
"""

from . import babi, posts, reviews, similarity, stereo, text
from .torchvision import import_torchvision

__all__ = ["babi", "import_torchvision", "posts", "reviews", "similarity", "stereo", "text"]
