"""The same networks in Keras, in a process of its own: a backend can be loaded once in a process.

Reads lines of JSON from standard input, {"network", "mode", "size", "batch_size", "steps"}, and
answers each with the seconds of one step.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


class KerasWorker:
    """A process with Keras on one backend that times what it is asked to; `module` is run in it."""

    def __init__(self, backend: str, module: str = "benchmarks.keras_worker") -> None:
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def seconds(self, **request: Any) -> float:
        """Seconds of one step; the first call for a network builds and compiles it as well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the Keras process ended with {self._process.wait()}")
        return float(answer)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def main(timed_call: Callable[..., Any]) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    made: dict[tuple[Any, ...], Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        steps = request.pop("steps")
        key = tuple(request.values())
        if key not in made:
            made.clear()  # one network in memory
            made[key] = timed_call(**request)
            made[key](1)  # compiles
        answers.write(f"{made[key](steps)}\n")
        answers.flush()


def timed_call(network: str, mode: str, size: int, batch_size: int) -> Any:
    import keras
    import numpy as np

    from keras_ref import applications, separable_convnet

    build = {
        "Xception": applications.xception,
        "ResNet50": applications.resnet50,
        "SeparableConvnet": separable_convnet.build,
    }[network]
    model = build(size=size)
    num_classes = model.output.shape[-1]
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "categorical_crossentropy")
    rng = np.random.default_rng(0)

    def call(steps: int) -> float:
        rows = steps * batch_size
        images = rng.normal(size=(rows, size, size, 3)).astype("float32")
        classes = np.eye(num_classes, dtype="float32")[rng.integers(num_classes, size=rows)]
        start = time.perf_counter()
        if mode == "training":
            model.fit(images, classes, batch_size=batch_size, shuffle=False, verbose=0)
        else:
            model.predict(images, batch_size=batch_size, verbose=0)
        return (time.perf_counter() - start) / steps

    return call


if __name__ == "__main__":
    main(timed_call)
