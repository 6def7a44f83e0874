"""What training can do without: callbacks of the Trainer, one idea a file.

Here belong early stopping, learning-rate plans, checkpoints, logs and guards: whatever hears the
hooks of `torchbp.train.Callback` and needs no place in the loop. Those that Keras has decide as
Keras's do, epoch by epoch; where one differs, its docstring says how and why.

Callbacks run in the order of their list. One that changes weights or gradients
(`WeightAveraging`, `ClipGradients`) stands before those that are to see the change.
"""

from torchbp.callbacks.backup_and_restore import BackupAndRestore
from torchbp.callbacks.clip_gradients import ClipGradients
from torchbp.callbacks.csv_logger import CSVLogger
from torchbp.callbacks.early_stopping import EarlyStopping
from torchbp.callbacks.lambda_callback import LambdaCallback
from torchbp.callbacks.learning_rate import LearningRateScheduler, TorchScheduler
from torchbp.callbacks.model_checkpoint import ModelCheckpoint
from torchbp.callbacks.profiler import Profiler
from torchbp.callbacks.record_activations import RecordActivations
from torchbp.callbacks.record_gradients import RecordGradients
from torchbp.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
from torchbp.callbacks.tensorboard import TensorBoard
from torchbp.callbacks.terminate_on_nan import TerminateOnNaN
from torchbp.callbacks.weight_averaging import WeightAveraging

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "ClipGradients",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "Profiler",
    "RecordActivations",
    "RecordGradients",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "TorchScheduler",
    "WeightAveraging",
]
