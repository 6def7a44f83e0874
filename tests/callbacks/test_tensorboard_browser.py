"""TensorBoard's tabs in a real browser: what the callback writes is there to be seen."""

import functools
import io
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from torchbp import Input, Model, Trainer, layers
from torchbp.callbacks import TensorBoard
from torchbp.losses import ProbBCELoss

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from screenshot_parts.browser import chromium, find_chromium  # noqa: E402
from screenshot_parts.server import tensorboard  # noqa: E402
from screenshot_parts.tabs import TABS, show  # noqa: E402

sys.path.remove(str(SCRIPTS))

NEEDS_CHROMIUM = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium")
WORDS = ["(padding)", "the", "film", "was", "not", "good"]
TRAIN, VALIDATION = (66, 79, 103), (18, 181, 203)  # TensorBoard's colours of the two runs


def model_of_two_inputs():
    """Words and a number, read into one probability."""
    words, length = Input((None,), dtype=torch.int64, name="words"), Input((1,), name="length")
    x = layers.Embedding(len(WORDS), 8, name="embed")(words).transpose(1, 2)
    x = F.relu(layers.Conv1d(8, 4, 3, name="conv_1")(x))
    x = layers.Concat(name="both")(layers.GlobalMaxPool1d(name="pool")(x), length)
    positive = layers.Sigmoid(name="positive")(layers.Linear(5, 1, name="score")(x))
    return Model([words, length], positive)


@pytest.fixture(scope="module")
def tabs(tmp_path_factory):
    """For each tab what it shows, and its picture."""
    torch.manual_seed(0)
    x = {"words": torch.randint(0, len(WORDS), (60, 12)), "length": torch.rand(60, 1)}
    y = (x["words"] == WORDS.index("good")).any(1, keepdim=True).float()
    folder = tmp_path_factory.mktemp("board")
    board = TensorBoard(folder, embeddings={"embed": WORDS}, hyperparameters={"lr": 0.01})
    make_adam = functools.partial(torch.optim.Adam, lr=0.01)
    trainer = Trainer(model_of_two_inputs(), ProbBCELoss(), make_adam, callbacks=[board])
    trainer.fit(x, y, epochs=4, validation_fraction=0.25, progress=False)
    found = {}
    with tensorboard(folder) as server, chromium(find_chromium()) as page:
        for tab in TABS:
            content = show(page, server, tab)
            found[tab.name] = content, Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return found


def count_pixels(picture, colour):
    """How many pixels have nearly this colour."""
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(-1, 3)
    return int(((pixels.int() - torch.tensor(colour)).abs().amax(1) < 12).sum())


@pytest.mark.slow
@NEEDS_CHROMIUM
class TestTabs:
    def test_scalars_draw_training_and_validation_in_one_chart(self, tabs):
        (card,), picture = tabs["scalars"]
        assert card.startswith("epoch/loss")
        chart = picture.crop((340, 220, 760, 445))
        assert count_pixels(chart, TRAIN) > 100
        assert count_pixels(chart, VALIDATION) > 100

    def test_graph_has_the_layers_of_a_model_with_two_inputs(self, tabs):
        names, picture = tabs["graph"]
        layer_names = ["words", "embed", "transpose", "conv_1", "relu", "pool"]
        assert sorted(names) == sorted([*layer_names, "length", "both", "score", "positive"])
        assert count_pixels(picture, (255, 0, 0)) > 50  # the layer that was clicked

    def test_projector_has_a_point_for_each_word(self, tabs):
        (count,), picture = tabs["projector"]
        assert count == len(WORDS)
        assert count_pixels(picture.crop((260, 140, 980, 780)), (0, 0, 0)) > 100  # the words

    def test_histograms_are_those_of_the_gradients(self, tabs):
        cards, picture = tabs["histograms"]
        assert {card.split("train")[0] for card in cards} >= {
            *("gradients/conv_1.weight", "gradients/conv_1.bias")
        }
        assert count_pixels(picture.crop((280, 230, 760, 460)), TRAIN) > 100

    def test_images_are_of_filters_and_feature_maps(self, tabs):
        sizes, picture = tabs["images"]
        assert len(sizes) >= 3
        assert all(width > 300 for width, _ in sizes)
        assert count_pixels(picture, (178, 23, 43)) > 100

    def test_precision_and_recall_have_a_curve(self, tabs):
        lines, _ = tabs["precision_recall"]
        assert lines

    def test_hyperparameters_stand_beside_the_loss(self, tabs):
        cells, _ = tabs["hyperparameters"]
        row = [cell for cell in cells if cell]
        assert {"lr", "loss", "0.010000"} <= set(row)

    def test_text_is_the_table_of_the_model(self, tabs):
        texts, _ = tabs["text"]
        assert "embed (Embedding)" in texts[0]
        assert "Total params" in texts[0]
