"""The models of `loop.py` in Keras, in a process of its own, as `keras_worker.py` runs them."""

import os
import time
from typing import Any

from benchmarks.keras_worker import main


def timed_call(network: str) -> Any:
    """fit over a number of steps: the seconds of one, from the begin to the end of the epoch."""
    import keras
    import numpy as np

    from keras_ref import question_answering, three_outputs

    rng = np.random.default_rng(0)

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.began

    class Count(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps += 1

    if network.startswith("tiny"):
        batch_size, metrics = 32, ["accuracy"]
        layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)]
        model = keras.Sequential([keras.Input((20,)), *layers])
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    elif network.startswith("question"):
        batch_size, metrics = 32, ["accuracy"]
        model, loss = question_answering.build(), "sparse_categorical_crossentropy"
    else:
        batch_size, metrics = 8, [[], ["accuracy"], []]
        model = three_outputs.build()
        loss = ["mse", "sparse_categorical_crossentropy", "binary_crossentropy"]
    model.compile("adam", loss, metrics=metrics)

    def data(rows: int) -> tuple[Any, Any]:
        if network.startswith("tiny"):
            return rng.normal(size=(rows, 20)).astype("float32"), rng.integers(10, size=rows)
        if network.startswith("question"):
            words = [rng.integers(10_000, size=(rows, n), dtype="int32") for n in (50, 10)]
            return words, rng.integers(500, size=rows)
        ages, genders = rng.normal(size=(rows, 1)), rng.integers(2, size=(rows, 1))
        posts = rng.integers(5_000, size=(rows, 300), dtype="int32")
        return posts, [ages.astype("float32"), rng.integers(10, size=rows), genders]

    def call(steps: int) -> float:
        x, y = data(steps * batch_size)
        watch, count = Watch(), Count()
        settings = {"batch_size": batch_size, "shuffle": False, "verbose": 0}
        model.fit(x, y, callbacks=[watch, count], **settings)
        assert count.steps == steps
        return watch.seconds / steps

    return call


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):  # one core: XLA heeds no number of threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    main(timed_call)
