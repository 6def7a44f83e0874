"""A worker of a study in a file, to be killed: python worker.py STORAGE TRIALS SECONDS.

Each trial takes SECONDS and appends a line to FOLDER/begun and, at its end, one to FOLDER/done.
"""

import os
import sys
import time
from pathlib import Path

import torch

from tests.tune.search import make_study, search
from torchbp.callbacks import LambdaCallback
from torchbp.tune import Plan


def main():
    storage, trials, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    torch.set_num_threads(1)
    folder = Path(storage).parent

    def note(name, trial):
        with (folder / name).open("a") as file:
            file.write(f"{trial.number} {os.getpid()} {trial.params['lr']}\n")

    def slow(trial):
        plan = search(trial)
        note("begun", trial)
        wait = LambdaCallback(
            on_train_begin=lambda _: time.sleep(seconds), on_train_end=lambda _: note("done", trial)
        )
        return Plan(plan.model, plan.optimizer, plan.batch_size, callbacks=[wait])

    make_study(folder / "weights", slow, storage=storage, name="killed").run(trials, progress=False)


if __name__ == "__main__":
    main()
