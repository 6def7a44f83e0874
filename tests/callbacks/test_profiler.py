"""Traces of the scheduled steps, the table of operations, and where a step's time goes."""

import json
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType

from torchbp.callbacks import LambdaCallback, Profiler
from torchbp.callbacks.profile_report import DATA, STEP, ProfileReport
from torchbp.errors import DataError
from torchbp.train import Trainer


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class MatMul(nn.Module):
    """A product of large squares beside a little layer."""

    def __init__(self):
        super().__init__()
        self.little, self.large = nn.Linear(3, 1), nn.Parameter(torch.zeros(500, 500))

    def forward(self, x):
        return self.little(x) + (self.large @ self.large).mean()


def train(profiler, *callbacks, model=None, batches=None, validation=None, epochs=1, steps=8):
    x, y = torch.zeros(2 * steps, 3), torch.zeros(2 * steps, 1)
    trainer = Trainer(model or nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam)
    data = (x, y) if batches is None else (batches,)
    settings = {"batch_size": 2} if batches is None else {"steps_per_epoch": steps}
    trainer.fit(
        *data,
        **settings,
        epochs=epochs,
        validation_data=validation,
        callbacks=[profiler, *callbacks],
        progress=False,
    )
    return trainer


def traces(folder):
    return [json.loads(path.read_text())["traceEvents"] for path in sorted(folder.iterdir())]


def named(events, start):
    return [event for event in events if event.get("name", "").startswith(start)]


def steps_in(events):
    """Ranges of steps on the CPU, not their marks on other rows."""
    return [event for event in named(events, STEP) if event.get("cat") == "user_annotation"]


def test_the_trace_holds_the_operations_with_their_shapes(tmp_path):
    train(Profiler(tmp_path, wait=1, warmup=1, active=2))
    (events,) = traces(tmp_path)
    linear = named(events, "aten::linear")
    assert [event["args"]["Input Dims"] for event in linear] == [[[2, 3], [1, 3], [1]]] * 2
    assert len(named(events, "Optimizer.step#Adam")) == 2


@pytest.mark.parametrize(
    ("schedule", "in_traces"),
    [
        ({"wait": 0, "warmup": 1, "active": 3}, [3]),
        ({"wait": 2, "warmup": 1, "active": 1, "repeat": 2}, [1, 1]),
        ({"wait": 1, "warmup": 1, "active": 2, "repeat": 9}, [2, 2]),
        ({"wait": 2, "warmup": 2, "active": 9}, [4]),  # the training ends before
        ({"wait": 2, "warmup": 2, "active": 4}, [4]),
    ],
)
def test_only_the_scheduled_steps_are_profiled(tmp_path, schedule, in_traces):
    profiler = Profiler(tmp_path, **schedule)
    train(profiler, steps=8)
    assert [len(steps_in(events)) for events in traces(tmp_path)] == in_traces
    assert profiler.report.num_steps == sum(in_traces)


def test_the_profiled_steps_are_those_after_wait_and_warmup(tmp_path):
    def mark(trainer):
        torch.zeros(100 + trainer.current.batch)

    train(Profiler(tmp_path, wait=3, warmup=1, active=2), LambdaCallback(on_batch_begin=mark))
    (events,) = traces(tmp_path)
    shapes = [event["args"]["Concrete Inputs"][0] for event in named(events, "aten::zeros")]
    assert [shape for shape in shapes if shape in [f"[{100 + i}]" for i in range(8)]] == [
        "[104]",
        "[105]",
    ]


def test_steps_go_on_over_epochs_and_validation_is_in_no_figure(tmp_path):
    validation = torch.zeros(4, 3), torch.zeros(4, 1)
    profiler = Profiler(tmp_path, wait=1, warmup=1, active=4)
    train(profiler, validation=validation, epochs=3, steps=2)
    (events,) = traces(tmp_path)
    linear = [op for op in profiler.report.operations if op[0] == "aten::linear"]
    assert len(named(events, "aten::linear")) > 4  # two epochs of validation as well
    assert linear == [("aten::linear", "(2, 3) (1, 3) (1)")]
    assert profiler.report.calls[linear[0]] == 4


def test_the_table_names_the_dominating_operation_with_its_shapes(tmp_path, capsys):
    profiler = Profiler(tmp_path, wait=1, warmup=1, active=2)
    train(profiler, model=MatMul())
    (name, shapes), _ = profiler.report.costliest()[0]
    assert (name, shapes) == ("aten::mm", "(500, 500) (500, 500)")
    assert len(profiler.report.costliest()) == 10
    table = capsys.readouterr().out
    first = next(line for line in table.splitlines() if "aten::" in line)
    assert "aten::mm" in first
    assert "(500, 500) (500, 500)" in first


def test_a_slow_source_is_found_in_the_data(tmp_path, capsys):
    def batches():
        while True:
            time.sleep(0.03)
            yield torch.zeros(2, 3), torch.zeros(2, 1)

    profiler = Profiler(tmp_path, wait=1, warmup=1, active=2)
    train(profiler, batches=batches(), steps=4)
    assert profiler.report.shares()["data"] > 0.5
    assert "Most of it goes into data." in capsys.readouterr().out


def test_a_heavy_model_is_found_in_forward_and_backward(tmp_path):
    profiler = Profiler(tmp_path, wait=1, warmup=1, active=2)
    train(profiler, model=MatMul(), steps=4)
    shares = profiler.report.shares()
    assert shares["forward"] > 0.1
    assert shares["backward"] > 0.1
    assert shares["forward"] + shares["backward"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("hook", ["on_batch_end", "on_gradients"])
def test_a_slow_callback_is_found_in_the_waiting(tmp_path, hook):
    slow = LambdaCallback(**{hook: lambda trainer: time.sleep(0.03)})
    profiler = Profiler(tmp_path, wait=1, warmup=1, active=2)
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), torch.optim.Adam, callbacks=[slow])
    x, y = torch.zeros(8, 3), torch.zeros(8, 1)
    trainer.fit(x, y, batch_size=2, callbacks=[profiler], progress=False)
    assert profiler.report.shares()["waiting"] > 0.5


@pytest.mark.parametrize("hook", ["on_evaluate_batch_begin", "on_epoch_end"])
def test_what_happens_between_epochs_is_no_part_of_a_step(tmp_path, hook):
    profiler = Profiler(tmp_path, wait=1, warmup=1, active=4)
    slow = LambdaCallback(**{hook: lambda trainer: time.sleep(0.15)})
    validation = torch.zeros(2, 3), torch.zeros(2, 1)
    train(profiler, slow, validation=validation, epochs=3, steps=2)
    assert sum(profiler.report.phases.values()) < 0.15e6  # microseconds


def test_steps_that_are_skipped_are_profiled(tmp_path):
    profiler = Profiler(tmp_path, wait=1, warmup=1, active=2)
    train(profiler, LambdaCallback(on_gradients=lambda trainer: trainer.skip_step()))
    assert profiler.report.num_steps == 2
    assert profiler.report.shares()["backward"] > 0


def test_an_exception_in_a_step_leaves_the_trace_of_the_steps_before(tmp_path):
    def fail(trainer):
        if trainer.current.batch == 4:
            raise KeyError("at the fifth step")

    with pytest.raises(KeyError):
        train(Profiler(tmp_path, wait=1, warmup=1, active=9), LambdaCallback(on_gradients=fail))
    (events,) = traces(tmp_path)
    assert len(steps_in(events)) == 3  # the third of them cut off


def test_a_training_too_short_for_a_trace_says_so(tmp_path):
    with pytest.warns(UserWarning, match=r"ended after 2 steps, .* number 5: there is no trace"):
        train(Profiler(tmp_path, wait=2, warmup=2, active=2), steps=2)
    assert list(tmp_path.iterdir()) == []


def test_a_second_training_is_profiled_anew(tmp_path):
    profiler = Profiler(tmp_path, wait=1, warmup=1, active=2)
    train(profiler)
    train(profiler)
    assert len(traces(tmp_path)) == 2
    assert profiler.report.num_steps == 2


def test_evaluation_and_prediction_alone_are_not_profiled(tmp_path):
    profiler, x = Profiler(tmp_path), torch.zeros(4, 3)
    trainer = Trainer(nn.Linear(3, 1), nn.MSELoss(), callbacks=[profiler])
    trainer.evaluate(x, torch.zeros(4, 1), progress=False)
    trainer.predict(x, progress=False)
    assert profiler.report is None


def test_a_process_that_is_not_the_main_one_profiles_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "is_main", False)
    train(Profiler(tmp_path, wait=1, warmup=1, active=2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"active": 0}, {"wait": -1}, {"warmup": 0.5}, {"repeat": 0}])
def test_numbers_that_profile_nothing_are_refused(tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=f"Profiler: expected {name} as an int of at least"):
        Profiler(tmp_path, **wrong)


@pytest.mark.filterwarnings("ignore")  # the plugin's own
def test_the_plugin_of_tensorboard_reads_the_folder(tmp_path):
    from torch_tb_profiler.io import Cache
    from torch_tb_profiler.profiler import RunLoader

    train(Profiler(tmp_path, wait=1, warmup=1, active=3), model=MatMul())
    loaded = RunLoader("run", str(tmp_path), Cache()).load()
    (profile,) = loaded.profiles.values()
    assert [row[0] for row in profile.overview["steps"]["rows"]] == ["2", "3", "4"]
    assert "aten::mm" in {row["name"] for row in profile.operation_table_by_name["data"]}


# Events as torch gives them, with the kernels that an operation has launched on a CUDA device


def event(name, start, end, kernel_us=0.0, shapes=()):
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start, end=end, elapsed_us=lambda: end - start),
        device_type=DeviceType.CPU,
        is_user_annotation=name.startswith(("torchbp", "Optimizer")),
        kernels=[SimpleNamespace(duration=kernel_us)] if kernel_us else [],
        input_shapes=shapes,
        self_cpu_time_total=1.0,
    )


def made_step(data_us, forward_us):
    """A step in which Python needs 100 microseconds, whatever the kernels need."""
    return [
        event(DATA, 0, data_us),
        event(STEP, data_us, data_us + 100),
        event("aten::mm", data_us + 5, data_us + 10, forward_us, [[8, 8], [8, 8]]),
        event("autograd::engine::evaluate_function: Mm", data_us + 20, data_us + 60),
        event("aten::mm", data_us + 30, data_us + 40, 60.0, [[8, 8], [8, 8]]),
        event("Optimizer.step#SGD.step", data_us + 70, data_us + 90),
        event("aten::add_", data_us + 75, data_us + 80, 10.0, [[8]]),
        event("aten::sum", data_us + 95, data_us + 99, 1.0),
    ]


@pytest.mark.parametrize(
    ("data_us", "forward_us", "phases"),
    [
        # kernels keep the device busy longer than Python needs: it waits for nothing
        (20, 200.0, {"data": 0, "forward": 200, "backward": 60, "optimizer": 10, "waiting": 1}),
        # 60 of 120 microseconds without a kernel, the data took 20 of them
        (20, 0.0, {"data": 20, "forward": 0, "backward": 60, "optimizer": 10, "waiting": 30}),
        (500, 0.0, {"data": 500, "forward": 0, "backward": 60, "optimizer": 10, "waiting": 30}),
    ],
)
def test_on_cuda_the_times_are_those_of_the_kernels(data_us, forward_us, phases):
    report = ProfileReport.of(made_step(data_us, forward_us), with_cuda=True)
    assert report.phases == pytest.approx(phases)
    assert report.operations["aten::mm", "(8, 8) (8, 8)"] == forward_us + 60


@pytest.mark.parametrize("reset_at", [2, 15])
def test_gradients_may_be_reset_before_the_forward_pass_or_after_it(reset_at):
    reset = event("Optimizer.zero_grad#SGD.zero_grad", reset_at, reset_at + 3)
    report = ProfileReport.of([*made_step(0, 0.0), reset], with_cuda=False)
    assert report.phases == pytest.approx(
        {"data": 0, "forward": 20 - 3, "backward": 40, "optimizer": 20 + 3, "waiting": 20}
    )


def test_a_step_without_a_backward_pass_is_forward_until_the_update():
    events = [each for each in made_step(0, 0.0) if "autograd" not in each.name]
    report = ProfileReport.of(events, with_cuda=False)
    assert report.phases == pytest.approx(
        {"data": 0, "forward": 70, "backward": 0, "optimizer": 20, "waiting": 10}
    )
