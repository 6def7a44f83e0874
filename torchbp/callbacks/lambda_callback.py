"""A callback made of functions, on the spot."""

from torchbp.train import Callback
from torchbp.train.callback import Hook, check_hook_names


class LambdaCallback(Callback):
    """Calls the functions given for hooks.

    Args:
        hooks: function(trainer) by the name of its hook.

    Raises:
        DataError: a name that is no hook's; the message lists those there are.

    Example:
        >>> from torchbp import Trainer
        >>> x, y = torch.zeros(4, 2), torch.zeros(4, 1)
        >>> show = LambdaCallback(
        ...     on_epoch_begin=lambda trainer: print("epoch", trainer.epoch),
        ...     on_batch_end=lambda trainer: print("step", trainer.global_step),
        ... )
        >>> trainer = Trainer(nn.Linear(2, 1), nn.MSELoss(), torch.optim.Adam)
        >>> _ = trainer.fit(x, y, epochs=2, callbacks=[show], progress=False)
        epoch 0
        step 1
        epoch 1
        step 2

    Differences from Keras: functions receive the trainer, not an index and logs, and hooks are
    torchbp's. Keras takes any keyword, and never calls one that it does not know.
    """

    def __init__(self, **hooks: Hook) -> None:
        check_hook_names(type(self).__name__, hooks)
        for hook, function in hooks.items():
            setattr(self, hook, function)
