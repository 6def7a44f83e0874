"""Write down what each layer makes of one sample, epoch by epoch."""

from pathlib import Path
from typing import Any

from torchbp.callbacks.inspection import Sample, activations_of
from torchbp.callbacks.npz import write_npz
from torchbp.train import Callback, Trainer
from torchbp.train.batches import check_positive


class RecordActivations(Callback):
    """Saves every layer's output for one sample at the end of each epoch.

    Args:
        folder: where the files activations_epoch_001.npz ... go; it is made if missing.
        sample: inputs of the model for a batch of one, in the form that `fit` takes them; None
            takes the first sample of the validation.
        every: epochs from one file to the next.

    Raises:
        DataError: there is neither a sample nor validation data; `every` is not a positive int.

    Example:
        >>> import tempfile, numpy as np
        >>> from torchbp.train import Trainer
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> trainer = Trainer(model, nn.MSELoss(), torch.optim.Adam)
        >>> x, y = torch.randn(8, 4), torch.randn(8, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recorder = RecordActivations(folder)
        ...     _ = trainer.fit(x, y, validation_data=(x, y), callbacks=[recorder], progress=False)
        ...     with np.load(folder + "/activations_epoch_001.npz") as file:
        ...         print({name: file[name].shape for name in file})
        {'0': (1, 3), '1': (1, 3), '2': (1, 1), 'output': (1, 1)}

    The names are those of the submodules, at any depth, and `output` for what the model gives. A
    tuple stands under `name.0`, `name.1` ..., the second call of a shared layer under
    `name.call_1`. Functions between the layers, as F.relu, are no layers. The sample goes through
    the model in evaluation mode and without gradients; modes and random states are not changed.

    Differences from Keras: it has none; the chapter's ActivationLogger stops with an error in
    Keras 3, whose callbacks have no validation data.
    Source: the chapter's ActivationLogger.
    """

    def __init__(self, folder: str | Path, sample: Any = None, every: int = 1) -> None:
        check_positive("RecordActivations: every", every)
        self.folder = Path(folder)
        self.every = every
        self._sample = Sample("RecordActivations", sample)

    def on_train_begin(self, trainer: Trainer) -> None:
        """Refuses a training without a sample."""
        self._sample.begin(trainer)
        self._sample.require(trainer)

    def on_evaluate_batch_end(self, trainer: Trainer) -> None:
        """Takes the first sample of the validation."""
        self._sample.see(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Writes the file of the epoch."""
        epoch = trainer.epoch + 1
        if epoch % self.every:
            return
        activations = activations_of(trainer.model, self._sample.inputs)
        if trainer.is_main:
            write_npz(self.folder / f"activations_epoch_{epoch:03d}.npz", activations)
