"""Write down the gradients of each parameter, epoch by epoch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchbp.callbacks.inspection import whole_gradient
from torchbp.callbacks.npz import write_npz
from torchbp.train import Callback, Trainer
from torchbp.train.batches import check_positive


class RecordGradients(Callback):
    """Saves the gradient of every parameter, and its norm at each step of the epoch.

    Args:
        folder: where the files gradients_epoch_001.npz ... go; it is made if missing.
        every: epochs from one file to the next.

    Raises:
        DataError: `every` is not a positive int.

    Example:
        >>> import tempfile, numpy as np
        >>> from torchbp.train import Trainer
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recorder = RecordGradients(folder)
        ...     _ = trainer.fit(x, y, callbacks=[recorder], progress=False)
        ...     with np.load(folder + "/gradients_epoch_001.npz") as file:
        ...         print({name: file[name].shape for name in file})
        {'weight': (1, 4), 'weight.norm': (2,), 'bias': (1,), 'bias.norm': (2,)}

    Under a parameter's name stands its gradient in the last step of the epoch, under `name.norm`
    the Euclidean norm of its gradient in each step in which it had one. They are seen before the
    optimizer's step, as the callbacks before this one have left them: behind `ClipGradients` they
    are clipped. Norms are kept on the device and read at the end of the epoch. A run that is
    resumed between the last step and the end of an epoch has the norms of that epoch alone.

    Differences from Keras: it has none.
    """

    def __init__(self, folder: str | Path, every: int = 1) -> None:
        check_positive("RecordGradients: every", every)
        self.folder = Path(folder)
        self.every = every
        self._norms: dict[str, list[Tensor]] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        """Starts afresh."""
        self._norms = {}

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Forgets the epoch before."""
        self._norms = {}

    def on_gradients(self, trainer: Trainer) -> None:
        """Notes the norms."""
        if (trainer.epoch + 1) % self.every:
            return
        for name, parameter in trainer.model.named_parameters():
            gradient = whole_gradient(parameter)
            if gradient is not None:
                self._norms.setdefault(name, []).append(torch.linalg.vector_norm(gradient))

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Writes the file of the epoch."""
        epoch = trainer.epoch + 1
        if epoch % self.every:
            return
        found: dict[str, Tensor] = {}
        for name, parameter in trainer.model.named_parameters():
            gradient = whole_gradient(parameter)
            if gradient is not None:
                found[name] = gradient
            if name in self._norms:
                found[f"{name}.norm"] = torch.stack(self._norms[name])
        if trainer.is_main:
            write_npz(self.folder / f"gradients_epoch_{epoch:03d}.npz", found)

    def state_dict(self) -> dict[str, Any]:
        """The norms so far of an epoch that is not complete."""
        return {"norms": {name: torch.stack(norms) for name, norms in self._norms.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._norms = {name: list(norms) for name, norms in state["norms"].items()}
