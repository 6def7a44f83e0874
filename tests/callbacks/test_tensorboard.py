"""What TensorBoard is given to show, read back from the event files."""

import functools
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from torch import nn

from torchbp import Input, Model, Trainer, layers, models
from torchbp.callbacks import TensorBoard
from torchbp.callbacks.tensorboard import images, tracing
from torchbp.callbacks.tensorboard.graph import model_graph
from torchbp.callbacks.tensorboard.pr_curves import PrecisionRecall
from torchbp.errors import DataError, MissingExtraError

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
X = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
Y = (X.sum(1, keepdim=True) > 0).float()


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 1))


def fit(board, model=None, loss=None, **settings):
    model = model or make_model()
    trainer = Trainer(model, loss or nn.BCEWithLogitsLoss(), make_sgd, callbacks=[board])
    data = settings.pop("data", (X, Y))
    settings = {"batch_size": 4, "progress": False, "validation_data": data, **settings}
    return trainer.fit(*data, **settings)


def read(folder):
    run = EventAccumulator(str(folder), size_guidance=dict.fromkeys(["scalars", "images"], 0))
    return run.Reload()


def scalars(folder, tag):
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def edges(graph):
    return {node.name: list(node.input) for node in graph.node}


class TestScalars:
    def test_of_training_and_validation_have_one_tag_in_two_runs(self, tmp_path):
        history = fit(TensorBoard(tmp_path), epochs=3)
        for run, name in {"train": "loss", "validation": "val_loss"}.items():
            # event files hold float32
            expected = [(i + 1, pytest.approx(v, rel=1e-6)) for i, v in enumerate(history[name])]
            assert scalars(tmp_path / run, "epoch/loss") == expected

    def test_tell_the_learning_rate_without_a_callback_that_logs_it(self, tmp_path):
        fit(TensorBoard(tmp_path))
        assert scalars(tmp_path / "train", "epoch/lr") == [(1, pytest.approx(0.1))]

    def test_of_every_other_batch_are_a_run_of_their_own(self, tmp_path):
        fit(TensorBoard(tmp_path, batches_every=2), epochs=3)
        found = scalars(tmp_path / "batches", "batch/loss")
        assert [step for step, _ in found] == [2, 4, 6, 8]
        assert all(value > 0 for _, value in found)

    def test_alone_are_written_with_a_frequency_of_zero(self, tmp_path):
        fit(TensorBoard(tmp_path, every=0))
        tags = read(tmp_path / "train").Tags()
        assert tags["scalars"] == ["epoch/lr", "epoch/loss"]
        assert not tags["histograms"]
        assert not tags["images"]
        assert tags["graph"]
        assert not read(tmp_path / "validation").Tags()["tensors"]


class TestRuns:
    def test_that_begin_anew_replace_what_was_there(self, tmp_path):
        fit(TensorBoard(tmp_path), epochs=3)
        fit(TensorBoard(tmp_path), epochs=1)
        assert [step for step, _ in scalars(tmp_path / "train", "epoch/loss")] == [1]

    def test_that_go_on_do_not_step_back(self, tmp_path):
        """Epochs 3 and 4 were written, but not saved: the run goes on from epoch 3."""
        first = fit(TensorBoard(tmp_path, batches_every=1), epochs=4)
        second = fit(TensorBoard(tmp_path, batches_every=1), epochs=5, initial_epoch=2)
        found = scalars(tmp_path / "train", "epoch/loss")
        assert [step for step, _ in found] == [1, 2, 3, 4, 5]
        expected = first["loss"][:2] + second["loss"]
        assert [value for _, value in found] == pytest.approx(expected, rel=1e-6)

    def test_are_trained_as_if_nobody_watched(self, tmp_path):
        alone, watched = make_model(), make_model()
        for model, callbacks in ((alone, []), (watched, [TensorBoard(tmp_path)])):
            torch.manual_seed(1)
            trainer = Trainer(model, nn.BCEWithLogitsLoss(), make_sgd, callbacks=callbacks)
            trainer.fit(X, Y, epochs=3, validation_fraction=0.25, progress=False)
        states = zip(alone.state_dict().values(), watched.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in states)

    def test_load_no_tensorflow(self, tmp_path):
        """TensorBoard would load it, where it is installed, to open a file."""
        script = f"""
import sys, torch, tensorboard.compat
from torch import nn
from torchbp import Trainer
from torchbp.callbacks import TensorBoard

lazy = tensorboard.compat.tf
model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 1))
board = TensorBoard({str(tmp_path)!r}, 1, 1, {{"0": "abcde"}}, {{"lr": 1.0}})
x, y = torch.zeros(8, 2, dtype=torch.long), torch.ones(8, 1)
trainer = Trainer(model, nn.BCEWithLogitsLoss(), torch.optim.Adam, callbacks=[board])
trainer.fit(x, y, validation_data=(x, y), progress=False)
assert tensorboard.compat.tf is lazy
assert "tensorflow" not in sys.modules
"""
        done = subprocess.run([sys.executable, "-W", "error", "-c", script], check=False)
        assert done.returncode == 0

    def test_without_tensorboard_are_refused_with_the_extra_to_install(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        with pytest.raises(MissingExtraError, match=r'pip install "torchbp\[tensorboard\]"'):
            TensorBoard(tmp_path)

    @pytest.mark.parametrize("name", ["every", "batches_every"])
    def test_refuse_a_frequency_that_is_none(self, name, tmp_path):
        with pytest.raises(DataError, match=rf"TensorBoard: {name}: expected .*, got -1"):
            TensorBoard(tmp_path, **{name: -1})


class TestHistograms:
    def test_show_weights_gradients_and_activations_every_so_many_epochs(self, tmp_path):
        model = make_model()
        fit(TensorBoard(tmp_path, every=2), model, epochs=3)
        run = read(tmp_path / "train")
        tags = run.Tags()["histograms"]
        parameters = [name for name, _ in model.named_parameters()]
        activations = ["0", "1", "2", "3", "output"]
        assert set(tags) == {
            *(f"{kind}/{name}" for kind in ("weights", "gradients") for name in parameters),
            *(f"activations/{name}" for name in activations),
        }
        assert all([event.step for event in run.Histograms(tag)] == [2] for tag in tags)

    def test_hold_the_values(self, tmp_path):
        model = make_model()
        fit(TensorBoard(tmp_path), model)
        run, weight = read(tmp_path / "train"), model[0].weight
        for tag, values in {"weights": weight, "gradients": weight.grad}.items():
            (event,) = run.Histograms(f"{tag}/0.weight")
            found = event.histogram_value
            assert (found.num, found.min, found.max) == (
                *(12, pytest.approx(values.min().item()), pytest.approx(values.max().item())),
            )

    def test_leave_out_what_is_not_finite(self, tmp_path):
        model = nn.Linear(4, 1)
        with torch.no_grad():
            model.weight[0, 0], model.bias[0] = float("inf"), float("nan")
        with pytest.warns(UserWarning, match="not finite|NaN|nan"):
            fit(TensorBoard(tmp_path), model)
        tags = read(tmp_path / "train").Tags()["histograms"]
        assert "weights/bias" not in tags


class TestGraph:
    def test_of_a_model_with_two_inputs_has_its_layers_and_edges(self, tmp_path):
        model = models.shared_lstm(4, 3)
        x = [torch.randn(4, 5, 4), torch.randn(4, 6, 4)]
        fit(TensorBoard(tmp_path), model, nn.BCELoss(), data=(x, torch.ones(4, 1)))
        graph = read(tmp_path / "train").Graph()
        assert edges(graph) == {
            "left": [],
            "right": [],
            "lstm": ["left"],
            "lstm_1": ["right"],
            "both": ["lstm", "lstm_1"],
            "similarity_score": ["both"],
            "similarity": ["similarity_score"],
        }
        nodes = {node.name: node for node in graph.node}
        assert nodes["lstm_1"].op == "LSTM"
        shape = nodes["left"].attr["_output_shapes"].list.shape[0]
        assert [dim.size for dim in shape.dim] == [-1, -1, 4]
        assert nodes["similarity_score"].attr["weight"].s == b"(1, 6)"

    def test_has_nested_models_as_name_scopes(self):
        x = Input((4,), name="x")
        inner = Model(x, [layers.Linear(4, 3, name="a")(x), layers.Linear(4, 2, name="b")(x)])
        y = Input((4,), name="y")
        first, second = inner(y)
        again, _ = inner(y)
        model = Model(y, layers.Concat(name="join")(second, first, again))
        nested = next(node.name for node in model.nodes if node.kind == "module")
        found = edges(model_graph(model))
        assert found[f"{nested}/x"] == ["y"]
        assert found[f"{nested}/a"] == [f"{nested}/x"]
        assert found["join"] == [f"{nested}/b", f"{nested}/a", f"{nested}_1/a"]

    def test_numbers_the_outputs_of_a_layer_that_has_several(self):
        x = Input((5, 4), name="x")
        y, (h, c) = layers.LSTM(4, 3, batch_first=True, name="lstm")(x)
        model = Model(x, layers.Concat(name="join")(c, h))
        assert edges(model_graph(model))["join"] == ["lstm:2", "lstm:1"]
        assert y.shape == (None, 5, 3)

    def test_of_any_module_is_that_of_a_call(self):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(4, 4)

            def forward(self, x):
                return torch.relu(self.linear(x)) + x

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.block = Block()
                self.rnn = nn.LSTM(4, 2)

            def forward(self, left, right):
                x = self.block(self.block(left)) * right
                return self.rnn(x[None])[1][0]

        graph = tracing.traced_graph(Net(), {"left": X[:1], "right": X[:1]})
        assert edges(graph) == {
            "left": [],
            "right": [],
            "block/linear": ["left"],
            "block/relu": ["block/linear"],
            "block/add": ["block/relu", "left"],
            "block/linear_1": ["block/add"],
            "block/relu_1": ["block/linear_1"],
            "block/add_1": ["block/relu_1", "block/add"],
            "mul": ["block/add_1", "right"],
            "getitem": ["mul"],
            "rnn": ["getitem"],
        }
        assert [node.op for node in graph.node][-1] == "LSTM"

    def test_of_one_layer_is_that_layer(self, tmp_path):
        fit(TensorBoard(tmp_path), nn.Linear(4, 1), validation_data=None)
        found = edges(read(tmp_path / "train").Graph())
        assert found == {"input": [], "Linear": ["input"]}

    def test_leaves_no_hooks_and_the_mode_behind(self):
        model = make_model()
        tracing.traced_graph(model, X[:1])
        modules = list(model.modules())
        assert all(
            m.training and not m._forward_hooks and not m._forward_pre_hooks for m in modules
        )

    def test_stands_beside_the_table_of_the_model(self, tmp_path):
        model = models.sentiment_convnet(20)
        data = (torch.randint(0, 20, (4, 50)), torch.ones(4, 1))
        fit(TensorBoard(tmp_path), model, nn.BCELoss(), data=data)
        (event,) = read(tmp_path / "train").Tensors("model/text_summary")
        (text,) = event.tensor_proto.string_val
        assert text.decode() == f"```\n{model.summary()}\n```"


class TestProjector:
    def model(self):
        return nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(2, 1))

    def fit(self, folder, labels, **settings):
        model, data = self.model(), (torch.tensor([[0], [2]]), torch.ones(2, 1))
        fit(TensorBoard(folder, embeddings={"0": labels}, **settings), model, data=data)
        return model

    def test_has_a_point_and_a_label_for_each_row(self, tmp_path):
        model = self.fit(tmp_path, ["good", "b\ta\nd", ""])
        folder = tmp_path / "train"
        config = (folder / "projector_config.pbtxt").read_text()
        assert 'tensor_path: "projector/0.tsv"' in config
        points = torch.from_numpy(np.loadtxt(folder / "projector" / "0.tsv")).float()
        torch.testing.assert_close(points, model[0].weight.detach())  # six digits are written
        assert (folder / "projector" / "0.txt").read_text() == "good\nb a d\n(empty)\n"

    def test_is_not_written_with_a_frequency_of_zero(self, tmp_path):
        self.fit(tmp_path, "abc", every=0)
        assert not (tmp_path / "train" / "projector_config.pbtxt").exists()

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ({"0": "ab"}, r"expected 3 labels for '0', one for each row, got 2"),
            ({"1": "abc"}, r"expected names of embedding layers, got '1'; the model has \['0'\]"),
            ({"embed": "abc"}, r"got 'embed'"),
        ],
    )
    def test_refuses_labels_that_do_not_fit(self, labels, message, tmp_path):
        data = (torch.tensor([[0], [2]]), torch.ones(2, 1))
        with pytest.raises(DataError, match=message):
            fit(TensorBoard(tmp_path, embeddings=labels), self.model(), data=data)


class TestPictures:
    def test_show_filters_and_feature_maps(self, tmp_path):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 1))
        data = (torch.randn(4, 3, 6, 6), torch.ones(4, 1))
        fit(TensorBoard(tmp_path), model, data=data)
        run = read(tmp_path / "train")
        assert run.Tags()["images"] == ["filters/0", "feature_maps/0", "feature_maps/1"]
        (event,) = run.Images("filters/0")
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        # 3 x 3 tiles of 3 x 3 pixels, lines between them, each pixel 58 x 58
        assert picture.size == (11 * 58, 11 * 58)

    @pytest.mark.parametrize(
        ("make", "across", "down"),
        [
            (lambda: nn.Conv1d(5, 8, 3), 6, 2),  # tiles of 5 x 3, 6 in a row
            (lambda: nn.Conv2d(1, 9, 4), 3, 3),
            (lambda: nn.Conv2d(3, 9, 4), 3, 3),
            (lambda: nn.Conv2d(2, 5, 4), 2, 5),  # a row for each filter
            (lambda: nn.Conv2d(40, 40, 4), 16, 16),
        ],
    )
    def test_of_filters_are_tiles(self, make, across, down):
        model = nn.Sequential(make())
        _, height, width = images.filters(model)["0"].shape
        kernel = (5, 3) if model[0].weight.ndim == 3 else (4, 4)
        factor = width // (across * (kernel[1] + 1) - 1)
        assert width == factor * (across * (kernel[1] + 1) - 1)
        assert height == factor * (down * (kernel[0] + 1) - 1)

    def test_are_blue_below_zero_and_red_above(self):
        picture = images.feature_map(torch.tensor([[[-1.0, 0.0, 1.0]]]))
        left, middle, right = picture[:, 0, [0, picture.shape[2] // 2, -1]].T
        assert left[2] > left[0] + 0.4
        assert right[0] > right[2] + 0.4
        assert (middle > 0.9).all()

    @pytest.mark.parametrize(
        "activation", [torch.zeros(1, 4), torch.zeros(1, 2, 3).long(), torch.zeros(1, 0, 3)]
    )
    def test_are_not_made_of_what_is_no_map(self, activation):
        assert images.feature_map(activation) is None

    def test_of_large_maps_are_small(self):
        assert images.feature_map(torch.randn(1, 100, 200, 200)).shape[1:] <= (800, 800)
        assert images.feature_map(torch.randn(1, 2000, 3000)).shape[1:] <= (640, 640)


class TestPrecisionRecall:
    def counted(self, output, target, batch_size=5):
        curves = PrecisionRecall()
        parts = zip(output.split(batch_size), target.split(batch_size), strict=True)
        for one, other in parts:
            curves.add({"y": one}, {"y": other})
        return curves.curves()

    def expected(self, positive, chance):
        from torch.utils.tensorboard.summary import compute_curve

        return compute_curve(positive.double().numpy(), chance.numpy(), num_thresholds=127)

    def check(self, curve, positive, chance):
        names = ("true_positive_counts", "false_positive_counts", "true_negative_counts")
        names += ("false_negative_counts", "precision", "recall")
        for name, expected in zip(names, self.expected(positive, chance), strict=True):
            np.testing.assert_allclose(curve[name], expected, rtol=1e-12, err_msg=name)

    @pytest.mark.parametrize("shape", [(17,), (17, 1)])
    @pytest.mark.parametrize("gives_scores", [False, True])
    def test_of_a_yes_or_no(self, shape, gives_scores):
        scores, target = 3 * torch.randn(shape), torch.randint(0, 2, shape).float()
        output = scores if gives_scores else scores.sigmoid()
        curves = self.counted(output, target)
        assert list(curves) == ["pr/y"]
        self.check(curves["pr/y"], target.flatten(), scores.sigmoid().flatten())

    @pytest.mark.parametrize("gives_scores", [False, True])
    @pytest.mark.parametrize("is_one_hot", [False, True])
    def test_of_classes_there_is_one_each(self, gives_scores, is_one_hot):
        scores, target = 3 * torch.randn(17, 12), torch.randint(0, 12, (17,))
        output = scores if gives_scores else scores.softmax(1)
        one_hot = nn.functional.one_hot(target, 12)
        curves = self.counted(output, one_hot.float() if is_one_hot else target)
        assert list(curves) == [f"pr/y/class_{i}" for i in range(10)]
        for i in range(10):
            self.check(curves[f"pr/y/class_{i}"], one_hot[:, i], scores.softmax(1)[:, i])

    @pytest.mark.parametrize(
        ("output", "target"),
        [
            (torch.randn(6, 1), torch.randn(6, 1)),
            (torch.randn(6, 3, 4), torch.randint(0, 3, (6, 4))),
            (torch.randn(6, 2), torch.rand(6, 2)),
        ],
    )
    def test_of_a_regression_there_is_none(self, output, target):
        assert self.counted(output, target) == {}

    def test_are_those_of_the_validation_every_so_many_epochs(self, tmp_path):
        fit(TensorBoard(tmp_path, every=2), epochs=2)
        (event,) = read(tmp_path / "validation").Tensors("pr/output")
        assert event.step == 2
        rows = np.array(event.tensor_proto.float_val).reshape(6, 127)
        assert rows[0, 0] + rows[1, 0] == len(X)  # at threshold 0 all count as positive

    def test_do_not_count_an_evaluation_outside_of_training(self, tmp_path):
        board = TensorBoard(tmp_path)
        trainer = Trainer(make_model(), nn.BCEWithLogitsLoss(), make_sgd, callbacks=[board])
        trainer.evaluate(X, Y, progress=False)
        assert not list(tmp_path.iterdir())


class TestHyperparameters:
    def read(self, folder):
        content = read(folder).SummaryMetadata
        parse = {
            metadata.EXPERIMENT_TAG: metadata.parse_experiment_plugin_data,
            metadata.SESSION_START_INFO_TAG: metadata.parse_session_start_info_plugin_data,
            metadata.SESSION_END_INFO_TAG: metadata.parse_session_end_info_plugin_data,
        }
        return [f(content(tag).plugin_data.content) for tag, f in parse.items()]

    def test_stand_beside_the_metrics_of_the_validation(self, tmp_path):
        given = {"lr": 0.1, "depth": 2, "shuffle": True, "optimizer": "SGD"}
        fit(TensorBoard(tmp_path, hyperparameters=given), epochs=2)
        table, start, end = self.read(tmp_path / "validation")
        values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
        assert values == given
        assert [info.name for info in table.hparam_infos] == list(given)
        assert [info.name.tag for info in table.metric_infos] == ["epoch/loss"]
        assert end.status == 1  # success

    def test_of_a_run_that_fails_say_so(self, tmp_path):
        def fail(trainer):
            raise RuntimeError("enough")

        board = TensorBoard(tmp_path, hyperparameters={"lr": 0.1})
        callbacks = [fail]
        with pytest.raises(RuntimeError, match="enough"):
            fit(board, callbacks=callbacks, validation_data=None)
        *_, end = self.read(tmp_path / "train")
        assert end.status == 2  # failure

    def test_refuse_what_the_table_cannot_show(self, tmp_path):
        with pytest.raises(DataError, match=r"got sizes=\[1, 2\], a list"):
            TensorBoard(tmp_path, hyperparameters={"sizes": [1, 2]})
