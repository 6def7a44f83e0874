"""Drawings of models, read back from the files."""

import itertools
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from torchbp import Input, Model, Sequential, call, layers, plot_model
from torchbp.errors import GraphError, MissingExtraError

SVG = "{http://www.w3.org/2000/svg}"
NAMES = [
    "mlp", "post_attributes", "shared_lstm", "question_answering", "inception", "residual",
    "nested", "nested_deeply", "parts",
]  # fmt: skip
VIEWS = [
    pytest.param(name, rankdir, expanded, id=f"{name}-{rankdir}{'-expanded' * expanded}")
    for name in NAMES
    for rankdir in ("TB", "LR")
    for expanded in ([False, True] if name.startswith("nested") else [False])
]
ROUNDING = 0.15  # numbers are written with one digit after the point


@dataclass
class Box:
    key: str
    kind: str
    left: float
    top: float
    right: float
    bottom: float
    fill: str
    stroke: str
    rects: int
    texts: list[str]

    def overlaps(self, other, margin=-ROUNDING):
        return (
            self.left < other.right + margin
            and other.left < self.right + margin
            and self.top < other.bottom + margin
            and other.top < self.bottom + margin
        )

    def contains(self, other):
        return (
            self.left < other.left
            and other.right < self.right
            and self.top < other.top
            and other.bottom < self.bottom
        )


@dataclass
class Arrow:
    source: str
    target: str
    start: tuple[float, float]
    tip: tuple[float, float]
    points: list[tuple[float, float]]


class Drawing:
    """An SVG file as boxes and arrows."""

    def __init__(self, path):
        self.root = ElementTree.parse(path).getroot()
        groups = [(group.get("class"), group) for group in self.root.iter(f"{SVG}g")]
        boxes = [_box(group) for kind, group in groups if kind.startswith("box")]
        self.boxes = {box.key: box for box in boxes}
        assert len(self.boxes) == len(boxes)
        self.arrows = [_arrow(group) for kind, group in groups if kind == "arrow"]
        self.view = [float(number) for number in self.root.get("viewBox").split()]
        self.legend = [
            e.text for e in self.root.findall(f"{SVG}text") if e.get("font-size") == "11.5"
        ]

    def kinds(self, kind):
        return [box for box in self.boxes.values() if box.kind == kind]

    def pairs(self):
        return {(arrow.source, arrow.target) for arrow in self.arrows}


def _box(group):
    rects = group.findall(f"{SVG}rect")
    x, y, width, height = (float(rects[0].get(name)) for name in ("x", "y", "width", "height"))
    return Box(
        group.get("data-box"), group.get("class").split()[1], x, y, x + width, y + height,
        rects[0].get("fill"), rects[0].get("stroke"), len(rects),
        [text.text for text in group.findall(f"{SVG}text")],
    )  # fmt: skip


def _arrow(group):
    line, head = group.findall(f"{SVG}path")
    tip, *_ = _numbers(head.get("d"))
    points = []
    for command, text in re.findall(r"([MLC])([^MLC]*)", line.get("d")):
        numbers = _numbers(text)
        if command == "C":
            points += [_bezier(points[-1], *numbers, part / 20) for part in range(1, 20)]
        points.append(numbers[-1])
    return Arrow(group.get("data-source"), group.get("data-target"), points[0], tip, points)


def _numbers(text):
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", text)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _bezier(a, b, c, d, t):
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    return tuple(
        sum(weight * point[axis] for weight, point in zip(weights, (a, b, c, d), strict=True))
        for axis in (0, 1)
    )


@pytest.fixture
def draw(build, tmp_path):
    def drawing(model, **options):
        model = build(model) if isinstance(model, str) else model
        return Drawing(plot_model(model, tmp_path / "model.svg", **options))

    return drawing


def assert_apart(drawing):
    """Boxes do not overlap; a frame contains a box as a whole if its key says so."""
    for first, second in itertools.combinations(drawing.boxes.values(), 2):
        for frame, box in ((first, second), (second, first)):
            if box.key.startswith(f"{frame.key}."):
                assert frame.contains(box)
                break
        else:
            assert not first.overlaps(second), (first.key, second.key)


def assert_connected(drawing, rankdir):
    """Arrows leave their source and meet their target where these face each other."""
    for arrow in drawing.arrows:
        source, target = drawing.boxes[arrow.source], drawing.boxes[arrow.target]
        (x, y), (end_x, end_y) = arrow.start, arrow.tip
        if rankdir == "TB":
            assert y == pytest.approx(source.bottom, abs=ROUNDING)
            assert end_y == pytest.approx(target.top, abs=ROUNDING)
            assert source.left < x < source.right
            assert target.left < end_x < target.right
        else:
            assert x == pytest.approx(source.right, abs=ROUNDING)
            assert end_x == pytest.approx(target.left, abs=ROUNDING)
            assert source.top < y < source.bottom
            assert target.top < end_y < target.bottom


def assert_forwards(drawing, rankdir):
    axis = 1 if rankdir == "TB" else 0
    for arrow in drawing.arrows:
        way = [point[axis] for point in (*arrow.points, arrow.tip)]
        assert all(a <= b + ROUNDING for a, b in itertools.pairwise(way))
        assert way[-1] - way[0] > 10


def assert_arrows_free(drawing):
    """No arrow runs over a box that is not one of its ends, or contains one."""
    frames = [
        box for box in drawing.boxes.values() if any(map(box.contains, drawing.boxes.values()))
    ]
    for arrow in drawing.arrows:
        for box in drawing.boxes.values():
            if box.key in (arrow.source, arrow.target) or box in frames:
                continue
            for x, y in arrow.points:
                assert not (
                    box.left + ROUNDING < x < box.right - ROUNDING
                    and box.top + ROUNDING < y < box.bottom - ROUNDING
                ), (arrow.source, arrow.target, box.key)


def assert_inside(drawing):
    _, _, width, height = drawing.view
    for box in drawing.boxes.values():
        assert box.left > 0
        assert box.top > 0
        assert box.right < width
        assert box.bottom < height
    for arrow in drawing.arrows:
        assert all(0 < x < width and 0 < y < height for x, y in arrow.points)


def assert_good(drawing, rankdir):
    assert_apart(drawing)
    assert_connected(drawing, rankdir)
    assert_forwards(drawing, rankdir)
    assert_arrows_free(drawing)
    assert_inside(drawing)


@pytest.mark.parametrize(("name", "rankdir", "expanded"), VIEWS)
def test_boxes_stand_apart_and_arrows_connect_them(draw, name, rankdir, expanded):
    drawing = draw(name, rankdir=rankdir, expand_nested=expanded)
    assert_good(drawing, rankdir)


@pytest.mark.parametrize("name", NAMES)
def test_every_step_and_every_value_is_drawn_once(draw, build, name):
    model = build(name)
    drawing = draw(model)
    outputs = {f"{output} (output)" for output in model.output_names}
    assert set(drawing.boxes) == {node.name for node in model.nodes} | outputs
    values = {(ref.name, node.name) for node in model.nodes for ref in node.refs()}
    assert {pair for pair in drawing.pairs() if pair[1] not in outputs} == values
    assert {target for _, target in drawing.pairs() if target in outputs} == outputs


MERGES = [torch.add, torch.maximum, lambda a, b: torch.cat([a, b], -1)[..., :3]]


@st.composite
def random_models(draw):
    values = [Input((3,), name=f"x{i}") for i in range(draw(st.integers(1, 3)))]
    inputs = list(values)
    tied = layers.Linear(3, 3, name="tied")
    for _ in range(draw(st.integers(1, 14))):
        first, second = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        kind = draw(st.integers(0, 4))
        if kind < 3:
            values.append(draw(st.sampled_from(MERGES))(first, second))
        else:
            values.append((tied if kind == 3 else layers.Linear(3, 3))(first))
    chosen = draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=3, unique=True))
    inner = Model(inputs, [values[i] for i in chosen] + [values[-1]], name="inner")
    if draw(st.booleans()):
        return inner
    outer = [Input((3,), name=f"y{i}") for i in range(len(inputs))]
    return Model(outer, [sum(inner(*outer)), inner(*reversed(outer))[0]])


@settings(deadline=None, max_examples=40)
@given(model=random_models(), rankdir=st.sampled_from(["TB", "LR"]), expanded=st.booleans())
def test_random_models_are_drawn_well(tmp_path_factory, model, rankdir, expanded):
    path = tmp_path_factory.mktemp("random") / "model.svg"
    plot_model(model, path, rankdir=rankdir, expand_nested=expanded)
    assert_good(Drawing(path), rankdir)


def test_inputs_and_outputs_look_different(draw):
    drawing = draw("question_answering")
    inputs, outputs = drawing.kinds("input"), drawing.kinds("output")
    assert [box.key for box in inputs] == ["text", "question"]
    assert [box.key for box in outputs] == ["answer (output)"]
    fills = {box.fill for box in inputs + outputs}
    assert len(fills) == 2
    assert fills.isdisjoint({box.fill for box in drawing.kinds("module")})


def test_all_outputs_of_the_chapters_model_are_seen(draw):
    drawing = draw("post_attributes")
    names = [box.texts[0] for box in drawing.kinds("output")]
    assert names == ["age", "income", "gender"]
    assert {("age", "age (output)"), ("gender", "gender (output)")} <= drawing.pairs()


def test_calls_of_a_shared_layer_have_one_colour_numbers_and_a_legend(draw):
    drawing = draw("shared_lstm")
    first, second = drawing.boxes["lstm"], drawing.boxes["lstm_1"]
    assert first.fill == second.fill
    assert [box.key for box in drawing.boxes.values() if box.fill == first.fill] == [
        "lstm",
        "lstm_1",
    ]
    assert first.texts[-1] == "call 1 of 2 of lstm"
    assert second.texts[-1] == "call 2 of 2 of lstm"
    assert drawing.legend == ["lstm: one LSTM, called 2 times, same weights"]


def test_two_shared_layers_have_two_colours(draw):
    x = Input((3,))
    a, b = layers.Linear(3, 3, name="a"), layers.Linear(3, 3, name="b")
    drawing = draw(Model(x, b(a(b(a(x))))))
    fills = {key: box.fill for key, box in drawing.boxes.items()}
    assert fills["a"] == fills["a_1"] != fills["b"] == fills["b_1"]
    assert len(drawing.legend) == 2


def test_a_layer_without_weights_is_not_marked_as_shared(draw):
    x = Input((3,))
    relu = layers.ReLU()
    assert draw(Model(x, relu(relu(x)))).legend == []


def test_boxes_name_type_and_shape(draw, build):
    boxes = draw("parts").boxes
    assert boxes["embedding"].texts == ["embedding", "Embedding", "(None, None, 16)"]
    assert boxes["getitem"].texts == ["getitem", "[:, -1]", "(None, 32)"]
    assert boxes["constant"].texts == ["constant", "Constant", "(101,)"]
    assert boxes["lstm"].texts[2:5] == [
        "[0] (None, None, 32)", "[1][0] (2, None, 32)", "[1][1] (2, None, 32)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["(None, None)"]),
        ({"show_dtype": True}, ["(None, None) int64"]),
        ({"show_shapes": False, "show_dtype": True}, ["int64"]),
        ({"show_shapes": False}, []),
    ],
)
def test_shapes_and_dtypes_are_shown_as_asked(draw, options, lines):
    assert draw("parts", **options).boxes["posts"].texts[2:] == lines


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
def test_arrows_start_at_the_parts_that_they_take(draw, rankdir):
    drawing = draw("parts", rankdir=rankdir)
    starts = {arrow.target: arrow.start for arrow in drawing.arrows if arrow.source == "lstm"}
    assert drawing.boxes["lstm"].texts[-3:] == ["[0]", "[1][0]", "[1][1]"]
    axis = 0 if rankdir == "TB" else 1
    first, second, third = (starts[name][axis] for name in ("getitem", "getitem_1", "getitem_2"))
    assert first + 10 < second < third - 10


def test_a_nested_model_is_a_box_with_a_double_border(draw):
    drawing = draw("nested")
    assert [box.key for box in drawing.kinds("model")] == ["encoder", "encoder_1"]
    assert all((box.rects == 2) == (box.kind == "model") for box in drawing.boxes.values())


def test_an_expanded_model_is_a_frame_at_its_first_call(draw):
    drawing = draw("nested", expand_nested=True)
    inside = {key for key in drawing.boxes if key.startswith("encoder.")}
    names = {"x", "linear", "relu", "mean", "spread", "mean (output)", "spread (output)"}
    assert inside == {f"encoder.{name}" for name in names}
    frame = drawing.boxes["encoder"]
    assert {key for key, box in drawing.boxes.items() if frame.contains(box)} == inside
    assert "encoder_1" in drawing.boxes
    assert drawing.boxes["encoder_1"].stroke == frame.stroke


def test_inputs_stand_at_the_top_of_a_frame_and_outputs_at_the_bottom(draw):
    a, b = Input((3,), name="a"), Input((3,), name="b")
    early = a * 2
    inner = Model([a, b], [early, (early + 1 + 2 + 3) * b], name="inner")
    x, y = Input((3,), name="x"), Input((3,), name="y")
    drawing = draw(Model([x, y], inner(x, y)), expand_nested=True)
    assert_good(drawing, "TB")
    inside = [box for box in drawing.boxes.values() if box.key.startswith("inner.")]
    others = [box for box in inside if box.kind == "function"]
    top, bottom = min(box.top for box in others), max(box.bottom for box in others)
    assert all(box.bottom < top for box in inside if box.kind == "input")
    assert all(box.top > bottom for box in inside if box.kind == "output")


def test_arrows_reach_the_inputs_of_an_expanded_model_in_the_order_of_arguments(draw):
    pairs = draw("nested_deeply", expand_nested=True).pairs()
    assert {("y", "middle.j"), ("linear", "middle.k"), ("middle.j", "middle.core.i")} <= pairs
    outputs = {"middle.add (output)", "middle.relu (output)"}
    assert {source for source, target in pairs if target == "cat"} == {*outputs, "side"}


def test_a_stack_of_layers_and_a_foreign_module_are_one_box(draw):
    x = Input((3,))
    stack = Sequential(layers.Linear(3, 3), layers.ReLU(), name="stack")
    drawing = draw(Model(x, call(nn.Sequential(nn.Linear(3, 2)), stack(x), name="foreign")))
    assert len(drawing.boxes) == 4


def test_an_input_may_be_unused_or_an_output(draw):
    x, y = Input((3,), name="x"), Input((3,), name="y")
    drawing = draw(Model([x, y], {"same": x}))
    assert drawing.pairs() == {("x", "same (output)")}
    assert_good(drawing, "TB")


def test_names_are_escaped(draw):
    x = Input((3,))
    name = "a < b & \"c\" 'd'\n\x00]]>"
    drawing = draw(type("Model<T>", (Model,), {})(x, {name: x * 2}))
    assert drawing.root.find(f"{SVG}title").text == "Model<T>"
    shown = "a < b & \"c\" 'd'??]]>"
    assert drawing.boxes[f"{shown} (output)"].texts[0] == shown


def test_long_names_are_shortened_and_told_in_full_by_the_tooltip(draw):
    name = "n" * 300
    drawing = draw(Model(x := Input((3,)), layers.Linear(3, 3, name=name)(x)))
    text = drawing.boxes[name].texts[0]
    assert text == "n" * 41 + "..."
    assert f"{name}: Linear; (None, 3)" in [
        title.text for title in drawing.root.iter(f"{SVG}title")
    ]


def test_has_a_title_and_a_white_background(draw, build):
    drawing = draw("nested")
    assert drawing.root.find(f"{SVG}title").text == "pair (Model)"
    background = drawing.root.find(f"{SVG}rect")
    assert (background.get("fill"), background.get("width")) == ("#ffffff", "100%")


@pytest.mark.parametrize("suffix", [".svg", ".dot"])
def test_the_same_model_gives_the_same_file(build, tmp_path, suffix):
    files = [plot_model(build("parts"), tmp_path / f"{i}{suffix}") for i in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_returns_the_path_and_leaves_no_other_file(build, tmp_path):
    path = plot_model(build("mlp"), str(tmp_path / "Model.SVG"))
    assert path == tmp_path / "Model.SVG"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(build, tmp_path, monkeypatch):
    path = tmp_path / "model.svg"
    path.write_text("old")

    def refuse(self, target):
        raise OSError("full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="full"):
        plot_model(build("mlp"), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "options"),
    [("shared_lstm", {}), ("nested", {"expand_nested": True, "rankdir": "LR"}), ("parts", {})],
)
def test_writes_the_stored_text_for_graphviz(build, tmp_path, same_as_stored, name, options):
    text = plot_model(build(name), tmp_path / "model.dot", **options).read_text()
    same_as_stored(text, f"{name}.dot")


def test_text_for_graphviz_is_escaped(tmp_path):
    x = Input((3,))
    path = plot_model(Model(x, {'a "b" \\N': x * 2}), tmp_path / "model.dot")
    assert r'label="a \"b\" \\N\nOutput"' in path.read_text()


def test_png_is_what_graphviz_makes_of_the_text(build, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho $@\ncat\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    text = plot_model(build("mlp"), tmp_path / "model.dot").read_text()
    made = plot_model(build("mlp"), tmp_path / "model.png").read_text()
    assert made == f"-Kdot -Tpng\n{text}"


def test_png_without_the_package_names_both_parts(build, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(
        MissingExtraError, match=r"package graphviz(.|\n)*torchbp\[plot\](.|\n)*apt-get"
    ):
        plot_model(build("mlp"), tmp_path / "model.png")


def test_png_without_the_program_names_both_parts(build, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"program dot(.|\n)*torchbp\[plot\](.|\n)*apt-get"):
        plot_model(build("mlp"), tmp_path / "model.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.pdf", "model", "svg"])
def test_other_files_are_refused(build, tmp_path, name):
    with pytest.raises(GraphError, match=rf"ends in .svg, .dot or .png, got '.*{name}'"):
        plot_model(build("mlp"), tmp_path / name)


def test_other_directions_are_refused(build, tmp_path):
    with pytest.raises(GraphError, match="expected rankdir 'TB' or 'LR', got 'BT'"):
        plot_model(build("mlp"), tmp_path / "model.svg", rankdir="BT")


def test_other_modules_are_refused(tmp_path):
    with pytest.raises(GraphError, match=r"expected a functional model, got Linear.\n.*to_model"):
        plot_model(nn.Linear(3, 2), tmp_path / "model.svg")
