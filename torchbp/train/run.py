"""One training: its data, its callbacks, and how far it has come."""

from collections.abc import Mapping
from typing import Any

from torchbp.errors import DataError
from torchbp.train.callback import Callback
from torchbp.train.feed import Feed
from torchbp.train.gradients import Gradients
from torchbp.train.history import History
from torchbp.train.passes import Pass
from torchbp.train.processes import gather, num_processes, rank
from torchbp.train.random_states import random_states, restore_random_states


class Run:
    """What one call of `fit` works with, and where it stands after its last whole step.

    Args:
        feed: the training data.
        gradients: makes the steps.
        callbacks: hear of it.
        epoch: the index of the first epoch.

    Attributes:
        history: the epochs that are done.
        epoch: the epoch that the next batch belongs to.
        batch: the index of the next batch in it, 0 before its first step.
        epoch_pass: what was measured in it so far.
        is_stepping: whether the optimizer is at work on the weights.
    """

    def __init__(
        self, feed: Feed, gradients: Gradients, callbacks: tuple[Callback, ...], epoch: int
    ) -> None:
        self.feed = feed
        self.gradients = gradients
        self.history = History()
        self.epoch = epoch
        self.batch = 0
        self.epoch_pass = Pass(num_batches=0)
        self.is_stepping = False
        self._stateful = [
            item for item in callbacks if type(item).state_dict is not Callback.state_dict
        ]

    def settle(self, batch: int) -> None:
        """Says that the batches up to this one have done their work."""
        self.feed.settle()
        self.batch = batch + 1
        self.is_stepping = False

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """Says that the epoch has done its work."""
        self.history.append(self.epoch, logs)
        self.epoch, self.batch, self.epoch_pass = self.epoch + 1, 0, Pass(num_batches=0)

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain values; of several processes, all must call it."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "history": self.history.state_dict(),
            "callbacks": [[type(item).__name__, item.state_dict()] for item in self._stateful],
            "processes": gather(
                {
                    "random": random_states(self.feed.source.generators),
                    "feed": self.feed.state_dict(),
                    "pass": self.epoch_pass.state_dict(),
                }
            ),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where `state_dict` was, perhaps with another number of processes.

        Raises:
            DataError: other callbacks, or other data.
        """
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.history.load_state_dict(state["history"])
        self._load_callbacks(state["callbacks"])
        processes = state["processes"]
        own = processes[rank() % len(processes)]
        of_feed = own if len(processes) == num_processes() else processes[0]
        self.feed.load_state_dict(of_feed["feed"], within_epoch=self.batch > 0)
        restore_random_states(own["random"], self.feed.source.generators)

    def _load_callbacks(self, states: list[list[Any]]) -> None:
        then = [name for name, _ in states]
        now = [type(callback).__name__ for callback in self._stateful]
        if now != then:
            raise DataError(
                f"callbacks: expected those of the checkpoint, {then}, got {now}.\n"
                "  To mend it: give the same callbacks in the same order, or start anew."
            )
        for callback, (_, state) in zip(self._stateful, states, strict=True):
            callback.load_state_dict(state)
