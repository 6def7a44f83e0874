"""Every case at every level, in both dtypes, against both of Keras's backends.

The suite is run once; the tests read its records.
"""

import pytest
import torch

from torchbp.parity import DTYPES, REFERENCES, load_cases, run
from torchbp.parity.bench import LEVEL_NAMES, Bench
from torchbp.parity.keras_setup import keras_dtype

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(2400),  # the whole suite runs in the set-up of the first test
]

COUNTS = {
    "sequential-vs-functional": 3_466,
    "question-answering": 1_322_100,
    "three-outputs": 2_626_316,
    "shared-lstm": 20_673,
    "imdb-convnet": 291_937,
    "wide-and-deep": 3_557,
    "inception-module": 738_176 + 5_130,
    "residual-identity": 442_752 + 1_290,
    "residual-projection": 229_760 + 1_290,
    "batch-norm-after-relu": 10_730,
    "batch-norm-before-relu": 10_666,
    "batch-norm-dense": 3_722,
    "separable-convnet": 28_005,
    "xception": 22_910_480,
    "inception-v3": 23_851_784,
    "resnet50": 25_636_712,
    "siamese-vision": 20_861_480 + 4_097,
}
FLOAT64_BOUNDS = {3: 1e-12, 4: 1e-12, 5: 1e-11, 6: 1e-8, 7: 1e-12}


@pytest.fixture(scope="session")
def cases():
    return load_cases(__file__.replace("test_parity", "cases"))


@pytest.fixture(scope="session")
def records(cases):
    return run(cases)


@pytest.mark.parametrize("level", LEVEL_NAMES)
@pytest.mark.parametrize("name", COUNTS)
def test_every_figure_is_within_its_tolerance(cases, records, name, level):
    case = next(case for case in cases if case.name == name)
    own = [record for record in records if (record["case"], record["level"]) == (name, level)]
    assert {(record["reference"], record["dtype"]) for record in own} == {
        (reference, dtype) for reference in case.references for dtype in DTYPES
    }
    assert [record for record in own if not record["ok"]] == []


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_counts_are_those_of_the_chapter(records, name, count):
    totals = [r for r in records if r["case"] == name and r["what"] == "total"]
    assert {(record["keras"], record["torch"]) for record in totals} == {(count, count)}


def test_no_tolerance_is_loosened(records):
    for record in records:
        if record["dtype"] == "float64":
            assert record["tolerance"] <= FLOAT64_BOUNDS.get(record["level"], 0)


def test_networks_and_where_keras_on_torch_is_wrong_are_compared_with_tensorflow_alone(cases):
    alone = {case.name: case for case in cases if case.references != REFERENCES}
    assert list(alone) == [
        "inception-module", "xception", "inception-v3", "resnet50", "siamese-vision"
    ]  # fmt: skip
    assert all(case.references == REFERENCES[:1] and case.note for case in alone.values())


def test_training_compares_rmsprop_with_both_backends_and_says_where_it_squares_look_ups(records):
    text = ["question-answering", "three-outputs", "imdb-convnet"]
    for name in text:
        own = [r for r in records if r["case"] == name and r["what"].startswith("rmsprop")]
        squared = {r["reference"] for r in own if "squares per look-up" in r["what"]}
        plain = {r["reference"] for r in own if "squares per look-up" not in r["what"]}
        assert (squared, plain) == ({"keras-tensorflow"}, {"keras-torch"})


@pytest.mark.parametrize("name", COUNTS)
def test_data_reach_every_weight_and_saturate_no_probability(cases, name):
    case = next(case for case in cases if case.name == name)
    with keras_dtype("float64"):
        halves = Bench(case, REFERENCES[0], "float64", "cpu").small
    halves.reset()
    batch = halves.batches(1)[0]
    _, gradients = halves.torch.gradients(batch)
    trained = {name for name in gradients if "running" not in name} - set(case.zero_gradients)
    assert all(gradients[name].abs().max() > 0 for name in trained)
    for output, head in zip(halves.torch.predict(batch.inputs).values(), case.heads, strict=True):
        if head.loss == "mse":
            continue
        target = torch.as_tensor(batch.targets[head.name])
        # the probability that the loss is the logarithm of; Keras clips it at 1e-7
        told = (output * target).sum(1) if output.shape[1] > 1 else output.minimum(1 - output)
        assert told.min() > (5e-6 if case.large else 1e-3)  # of 1000 classes, or of 10
        assert output.max() < 1 - 1e-3


@pytest.mark.gpu
def test_every_case_agrees_on_cuda(cases):
    records = run(cases, device="cuda", references=REFERENCES[:1])
    assert [record for record in records if not record["ok"]] == []
