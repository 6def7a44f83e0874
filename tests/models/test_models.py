"""The chapter's models: their size, their names, and that they leave PyTorch whole."""

import pytest
import torch

from torchbp import models
from torchbp.layers.init import glorot_

COUNTS = {
    "mlp": 3_466,
    "question_answering": 1_322_100,
    "post_attributes": 2_626_316,
    "shared_lstm": 20_673,
    "sentiment_convnet": 291_937,
}
DIM = torch.export.Dim.DYNAMIC


def words(batch, length, size=50):
    return torch.randint(size, (batch, length))


SMALL = {
    "question_answering": (
        lambda: models.question_answering(50, 50, 7),
        lambda batch, length: (words(batch, length), words(batch, length - 2)),
    ),
    "shared_lstm": (
        lambda: models.shared_lstm(6, 4),
        lambda batch, length: (torch.randn(batch, length, 6), torch.randn(batch, length + 1, 6)),
    ),
    "post_attributes": (
        lambda: models.post_attributes(50, 3),
        lambda batch, length: (words(batch, 270 + length),),
    ),
    "sentiment_convnet": (
        lambda: models.sentiment_convnet(50),
        lambda batch, length: (words(batch, 45 + length),),
    ),
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_has_the_chapters_number_of_parameters(name, count):
    model = getattr(models, name)()
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert f"Total params: {count:,}" in model.summary()


@pytest.mark.parametrize("name", COUNTS)
def test_starts_as_keras_does_on_demand(name):
    glorot_(getattr(models, name)())  # a layer that it does not know would be a warning


def test_a_symmetric_merge_does_not_care_about_the_order():
    left, right = torch.randn(4, 5, 6), torch.randn(4, 7, 6)
    for symmetric in (True, False):
        model = models.shared_lstm(6, 4, symmetric=symmetric)
        assert torch.equal(model(left, right), model(right, left)) is symmetric


def outputs_of(result):
    return list(result) if isinstance(result, list | tuple) else [result]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_exports_and_runs_in_onnxruntime_for_other_batches_and_lengths(name, tmp_path):
    """Float32: torch's own bound for two orders of the same sums, 1e-5."""
    import onnxruntime

    make, data = SMALL[name]
    model = make().eval()
    shapes = tuple({0: DIM, 1: DIM} for _ in model.input_names)
    exported = torch.export.export(model, data(2, 5), dynamic_shapes=shapes)
    program = torch.onnx.export(exported, verbose=False)
    program.save(str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    other = data(3, 9)
    expected = outputs_of(model(*other))
    for output, want in zip(outputs_of(exported.module()(*other)), expected, strict=True):
        torch.testing.assert_close(output, want, rtol=1e-5, atol=1e-6)
    feed = {given.name: x.numpy() for given, x in zip(session.get_inputs(), other, strict=True)}
    for output, want in zip(session.run(None, feed), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(output), want.detach(), rtol=1e-5, atol=1e-6)
    assert [given.name for given in session.get_inputs()] == list(model.input_names)


@pytest.mark.slow
def test_a_model_of_recurrent_layers_compiles_whole():
    make, data = SMALL["question_answering"]
    model = make()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, length in ((2, 5), (3, 9)):
        inputs = data(batch, length)
        output = compiled(*inputs)
        torch.testing.assert_close(output, model(*inputs), rtol=1e-5, atol=1e-6)
        output.sum().backward()
