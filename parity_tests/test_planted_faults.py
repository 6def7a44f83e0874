"""A wrong model must be found out: at the right level, and at the right layer.

Each function below breaks one thing in a case that is right, and says the first level that must
fail and the layer that must be named there. The levels before it must still pass.
"""

import io
import json
from dataclasses import replace

import keras
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from parity_tests.planting import first_failure, records_of, with_fault
from parity_tests.small_cases import (
    ADAM,
    CASES,
    CONVNET,
    HEADS,
    NORMED,
    READER,
    RMSPROP,
    SGD,
    SIAMESE,
    STACK,
    Concat,
    Pad,
)
from torchbp import optim
from torchbp.layers import GRU, LSTM
from torchbp.parity.command import parity

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
FAULTS = []


def planted(case, level, layer):
    """The decorated function changes the torch model of `case`."""

    def register(change):
        fault = with_fault(case, change)
        FAULTS.append(pytest.param(fault, level, layer, id=change.__name__))
        return change

    return register


def optimizer(pair, layer, **changes):
    """The decorated function makes a wrong optimizer for a model of the stack."""

    def register(make):
        wrong = replace(pair, torch=lambda model, rounded: make(model))
        fault = replace(STACK, optimizers=(wrong,), **changes)
        FAULTS.append(pytest.param(fault, 6, layer, id=make.__name__))
        return make

    return register


class Function(nn.Module):
    """A function in the place of a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


class Changed(nn.Module):
    """A criterion with something done to its arguments or its value."""

    def __init__(self, criterion, change):
        super().__init__()
        self.criterion, self.change = criterion, change

    def forward(self, input, target):
        return self.change(self.criterion, input, target)


def criteria(case, level, layer, name):
    """The decorated function takes the place of the criterion of one head, or of all of them."""

    def register(change):
        heads = tuple(
            replace(head, criterion=Changed(head.criterion, change))
            if name in (head.name, "all")
            else head
            for head in case.heads
        )
        FAULTS.append(pytest.param(replace(case, heads=heads), level, layer, id=change.__name__))
        return change

    return register


# Level 1: counts


@planted(STACK, 1, "hidden_1")
def missing_bias(model):
    model.hidden_1 = nn.Linear(6, 8, bias=False)


@planted(STACK, 1, "hidden_2")
def frozen_layer(model):
    model.hidden_2.requires_grad_(False)


@planted(STACK, 1, "hidden_2")
def one_unit_too_many(model):
    model.hidden_2, model.classes = nn.Linear(8, 9), nn.Linear(9, 4)


@planted(CONVNET, 1, "conv_2")
def last_convolution_dropped(model):
    model.conv_2 = nn.Identity()


@planted(CONVNET, 1, "conv_1")
def kernel_too_long(model):
    model.pad, model.conv_1 = Pad(1, 1), nn.Conv1d(5, 8, 4, stride=2)


@planted(SIAMESE, 1, "lstm")
def second_bias_trained(model):
    model.lstm = LSTM(4, 5, batch_first=True, last_output=True)


@planted(SIAMESE, 1, "lstm")
def gru_for_lstm(model):
    model.lstm = GRU(4, 5, batch_first=True, last_output=True)


@planted(SIAMESE, 1, "lstm_right")
def layer_not_shared(model):
    model.lstm_right = LSTM(4, 5, batch_first=True, single_bias=True, last_output=True)
    left, right = model.lstm, model.lstm_right
    model.forward = lambda a, b: model.sigmoid(model.similarity(model.both(left(a), right(b))))


@planted(NORMED, 1, "norm")
def normalisation_without_scale_and_shift(model):
    model.norm = nn.BatchNorm1d(8, affine=False)


@planted(NORMED, 1, "norm")
def no_running_statistics(model):
    model.norm = nn.BatchNorm1d(8, track_running_stats=False)


# Level 2: shapes


@planted(STACK, 2, "hidden_1")
def kernel_stored_as_keras_does(model):
    model.hidden_1.weight = nn.Parameter(torch.zeros(6, 8))


@planted(CONVNET, 2, "pool_1")
def pool_too_large(model):
    model.pool_1 = nn.MaxPool1d(3)


@planted(CONVNET, 2, "conv_1")
def padding_forgotten(model):
    model.pad = nn.Identity()


@planted(CONVNET, 2, "pool_2")
def pooling_over_channels(model):
    model.pool_2 = Function(lambda x: x.amax(1))


@planted(READER, 2, "gru")
def every_output_instead_of_the_last(model):
    model.last = Function(lambda output_and_state: output_and_state[0])


@planted(HEADS, 2, "gender")
def one_output_flat(model):
    model.gender.register_forward_hook(lambda *call: call[-1].squeeze(-1))


# Level 3: outputs


@planted(STACK, 3, "hidden_2")
def relu_omitted(model):
    model.relu_2 = nn.Identity()


@planted(STACK, 3, "hidden_1")
def leaky_relu_for_relu(model):
    model.relu_1 = nn.LeakyReLU()


@planted(STACK, 3, "hidden_2")
def kernel_transposed(model):
    kernel = model.hidden_2
    model.hidden_2.forward = lambda x: x @ kernel.weight + kernel.bias


@planted(STACK, 3, "classes")
def softmax_over_the_batch(model):
    model.softmax = nn.Softmax(dim=0)


@planted(CONVNET, 3, "score")
def tanh_for_sigmoid(model):
    model.sigmoid = nn.Tanh()


@planted(CONVNET, 3, "score")
def sigmoid_omitted(model):
    model.sigmoid = nn.Identity()


@planted(CONVNET, 3, "conv_1")
def padding_on_the_wrong_side(model):
    model.pad = Pad(1, 0)


@planted(CONVNET, 3, "conv_2")
def kernel_flipped(model):
    conv = model.conv_2
    model.conv_2.forward = lambda x: F.conv1d(x, conv.weight.flip(-1), conv.bias)


@planted(CONVNET, 3, "pool_1")
def mean_pooling_for_max(model):
    model.pool_1 = nn.AvgPool1d(2)


@planted(CONVNET, 3, "pool_2")
def global_mean_for_max(model):
    model.pool_2 = Function(lambda x: x.mean(-1))


@planted(CONVNET, 3, "conv_1")
def reshaped_instead_of_transposed(model):
    model.channels_first = Function(lambda x: x.reshape(len(x), 5, -1))


@planted(SIAMESE, 3, "lstm")
def gates_swapped(model):
    rnn, swap = model.lstm, torch.arange(20).view(4, 5)[[1, 0, 2, 3]].flatten()

    def forward(x):
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
        own = {name: getattr(rnn, name)[swap] for name in names}
        return torch.func.functional_call(LSTM_BY_ITSELF.to(x), own, (x,))

    model.lstm.forward = forward


LSTM_BY_ITSELF = LSTM(4, 5, batch_first=True, single_bias=True, last_output=True)


@planted(SIAMESE, 3, "lstm")
def forget_bias_forgotten(model):
    rnn = model.lstm
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0]).repeat_interleave(5)

    def forward(x):
        own = dict(rnn.named_parameters())
        own["bias_ih_l0"] = own["bias_ih_l0"] * keep.to(x)
        return torch.func.functional_call(LSTM_BY_ITSELF.to(x), own, (x,))

    model.lstm.forward = forward


@planted(SIAMESE, 3, "lstm")
def batch_taken_for_time(model):
    model.lstm.batch_first = False
    model.lstm.last_output = False
    model.lstm.register_forward_hook(lambda *call: call[-1][0][:, -1])


@planted(SIAMESE, 3, "lstm")
def left_read_twice(model):
    lstm = model.lstm
    model.forward = lambda a, b: model.sigmoid(model.similarity(model.both(lstm(a), lstm(a))))


@planted(SIAMESE, 3, "both")
def joined_in_the_wrong_order(model):
    model.both = Function(lambda a, b: Concat()(b, a))


@planted(READER, 3, "gru")
def first_output_instead_of_the_last(model):
    model.last = Function(lambda output_and_state: output_and_state[0][:, 0])


@planted(READER, 3, "gru")
def read_backwards(model):
    gru = model.gru
    model.forward = lambda x: model.mark(model.last(gru(x.flip(1))))


@planted(HEADS, 3, "age")
def outputs_exchanged(model):
    forward = model.forward
    model.forward = lambda x: forward(x)[::-1]


@planted(NORMED, 3, "norm")
def torchs_epsilon_in_batch_norm(model):
    model.norm.eps = 1e-5


# Level 4: training mode


@planted(STACK, 4, "hidden_1")
def dropout_active(model):
    model.relu_1 = Function(lambda x: F.dropout(F.relu(x), 0.5, model.training))


@planted(NORMED, 4, "norm")
def torchs_momentum_in_batch_norm(model):
    model.norm.momentum = 0.1


@planted(NORMED, 4, "norm")
def kerass_momentum_taken_for_torchs(model):
    model.norm.momentum = 0.99


@planted(NORMED, 4, "norm")
def unbiased_running_variance(model):
    model.norm.unbiased = True


@planted(NORMED, 4, "norm")
def batch_norm_left_in_evaluation(model):
    model.norm.train = lambda mode=True: nn.Module.train(model.norm, False)


# Level 5: loss and gradients


@planted(STACK, 5, "hidden_1")
def branch_detached(model):
    model.relu_1 = Function(lambda x: F.relu(x).detach())


@planted(CONVNET, 5, "embed")
def padding_index_in_the_embedding(model):
    model.embed = nn.Embedding(9, 5, padding_idx=0)


@planted(CONVNET, 5, "embed")
def gradient_scaled_by_frequency(model):
    model.embed = nn.Embedding(9, 5, scale_grad_by_freq=True)


@planted(SIAMESE, 5, "lstm")
def gradient_of_one_call_only(model):
    lstm, both = model.lstm, model.both
    model.forward = lambda a, b: model.sigmoid(model.similarity(both(lstm(a), lstm(b).detach())))


@planted(NORMED, 5, "hidden")
def no_gradient_through_the_statistics(model):
    def forward(x):
        mean, var = x.mean(0).detach(), x.var(0, unbiased=False).detach()
        norm = model.norm
        if not norm.training:
            mean, var = norm.running_mean, norm.running_var
        else:
            norm.running_mean.lerp_(mean, 0.01)
            norm.running_var.lerp_(var, 0.01)
        return (x - mean) * (var + norm.eps).rsqrt() * norm.weight + norm.bias

    model.norm.forward = forward


@criteria(STACK, 5, "classes", "classes")
def float32_loss_in_float64(criterion, input, target):
    return criterion(input.float(), target.float()).to(input.dtype)


@criteria(STACK, 5, "classes", "classes")
def loss_summed_over_the_batch(criterion, input, target):
    return criterion(input, target) * len(input)


@criteria(STACK, 5, "classes", "classes")
def label_smoothing(criterion, input, target):
    return criterion(input, target * 0.9 + 0.1 / 4)


@criteria(HEADS, 5, "age", "age")
def absolute_error_for_squared(criterion, input, target):
    return F.l1_loss(input, target)


@criteria(HEADS, 5, "gender", "gender")
def probabilities_taken_for_logits(criterion, input, target):
    return F.binary_cross_entropy_with_logits(input, target)


@criteria(HEADS, 5, "gender", "all")
def loss_weights_in_the_wrong_order(criterion, input, target):
    mended = {"MSELoss": 0.25, "ProbCrossEntropyLoss": 1.0, "ProbBCELoss": 10.0}
    wrong = {"MSELoss": 10.0, "ProbCrossEntropyLoss": 1.0, "ProbBCELoss": 0.25}
    name = type(criterion).__name__
    return criterion(input, target) * wrong[name] / mended[name]


@criteria(HEADS, 5, "income", "income")
def loss_weight_forgotten(criterion, input, target):
    return criterion(input, target) * 0.5


# Level 6: training


@optimizer(SGD, "hidden_1")
def wrong_lr(model):
    return optim.SGD(model.parameters(), lr=0.02, momentum=0.9, lr_in_momentum=True)


@optimizer(SGD, "hidden_1")
def wrong_momentum(model):
    return optim.SGD(model.parameters(), lr=0.01, momentum=0.8, lr_in_momentum=True)


@optimizer(SGD, "hidden_1")
def nesterov(model):
    return optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, lr_in_momentum=True)


@optimizer(SGD, "hidden_1")
def dampened(model):
    return optim.SGD(model.parameters(), lr=0.01, momentum=0.9, dampening=0.1)


@optimizer(SGD, "hidden_1")
def weight_decay(model):
    return optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-6)


@optimizer(SGD, "hidden_2")
def layer_kept_from_the_optimizer(model):
    own = [*model.hidden_1.parameters(), *model.classes.parameters()]
    return optim.SGD(own, lr=0.01, momentum=0.9, lr_in_momentum=True)


@optimizer(SGD, "classes")
def higher_lr_for_one_bias(model):
    rest = [p for name, p in model.named_parameters() if name != "classes.bias"]
    groups = [{"params": rest}, {"params": [model.classes.bias], "lr": 0.02}]
    return optim.SGD(groups, lr=0.01, momentum=0.9, lr_in_momentum=True)


@optimizer(SGD, "hidden_1")
def gradient_clipped(model):
    made = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, lr_in_momentum=True)
    made.register_step_pre_hook(
        lambda *call: nn.utils.clip_grad_norm_(model.parameters(), 0.01) and None
    )
    return made


@optimizer(RMSPROP, "hidden_1")
def epsilon_of_rmsprop_outside_the_root(model):
    return optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)


@optimizer(RMSPROP, "hidden_1")
def torchs_alpha_of_rmsprop(model):
    return optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.99, eps=1e-7, eps_in_sqrt=True)


@optimizer(ADAM, "hidden_1")
def epsilon_of_adam_after_the_correction(model):
    return optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)


@optimizer(ADAM, "hidden_1")
def wrong_beta_of_adam(model):
    return optim.Adam(model.parameters(), 1e-3, (0.9, 0.99), 1e-7, eps_before_correction=True)


@optimizer(ADAM, "hidden_1")
def amsgrad(model):
    # the largest second moment so far is the latest one until a gradient gets smaller
    return optim.Adam(model.parameters(), 1e-3, eps=1e-7, amsgrad=True, eps_before_correction=True)


class Table(nn.Module):
    """An embedding that per_lookup_squares does not know."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(9, 5))

    def forward(self, words):
        return F.embedding(words, self.weight)


@planted(replace(CONVNET, optimizers=(RMSPROP,)), 6, "embed")
def squares_of_the_sum_of_look_ups_against_tensorflow(model):
    model.embed = Table()


# Level 7: the return trip


@keras.saving.register_keras_serializable("planted_faults")
class Forgetful(keras.layers.Dense):
    """A Keras layer that leaves its weights out of the file."""

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


def keras_forgets():
    x = features = keras.Input((6,), name="features")
    x = keras.layers.Dense(8, activation="relu", name="hidden_1")(x)
    x = Forgetful(8, activation="relu", name="hidden_2")(x)
    classes = keras.layers.Dense(4, activation="softmax", name="classes")(x)
    return keras.Model(features, classes)


FORGETS = replace(STACK, keras_model=keras_forgets)
FAULTS.append(pytest.param(FORGETS, 7, "hidden_2", id="weights_left_out_of_the_file"))


def test_there_are_enough_faults():
    assert len(FAULTS) >= 25
    assert {level for _, level, _ in (fault.values for fault in FAULTS)} == set(range(1, 8))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_right_model_passes_every_level(case):
    failing = [record for record in records_of(case, range(1, 8)) if not record["ok"]]
    assert not failing


@pytest.mark.parametrize(("case", "level", "layer"), FAULTS)
def test_a_fault_is_found_at_its_level_and_layer(case, level, layer):
    assert first_failure(case, level) == [(level, layer)]


BROKEN_FILE = """
from dataclasses import replace
from torch import nn
from parity_tests.small_cases import STACK, Stack

def broken():
    model = Stack()
    model.relu_2 = nn.Identity()
    return model

CASES = [STACK, replace(STACK, name="broken", torch_model=broken)]
"""


@pytest.mark.parametrize(("only", "status"), [((), 1), (("stack",), 0), (("broken",), 1)])
def test_the_command_ends_with_status_1_if_a_case_fails(only, status, tmp_path):
    path, console = tmp_path / "cases.py", Console(file=io.StringIO(), width=200)
    path.write_text(BROKEN_FILE)
    found = parity(
        path,
        only=only,
        dtypes=["float64"],
        references=["keras-tensorflow"],
        json=tmp_path / "parity.json",
        html=tmp_path / "parity.html",
        console=console,
    )
    records = json.loads((tmp_path / "parity.json").read_text())
    failing = {(r["case"], r.get("layer"), r.get("cause")) for r in records if r["level"] == 3}
    page, printed = (tmp_path / "parity.html").read_text(), console.file.getvalue()
    assert found == status
    assert (("broken", "hidden_2", "relu is missing on the torch side") in failing) is bool(status)
    assert ("relu is missing" in page, "relu is missing" in printed) == (bool(status),) * 2
