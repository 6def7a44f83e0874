"""Boxes in layers: what holds for every drawing, and small ones that are known."""

import itertools
import random
import time

import pytest
from hypothesis import given, settings, strategies as st

from torchbp.graph.drawing.grid import Grid, Link, Size, assign_layers
from torchbp.graph.drawing.layout import arrange
from torchbp.graph.drawing.order import crossings, order
from torchbp.graph.drawing.place import weighted_median
from torchbp.graph.drawing.straighten import BOX_GAP

CLOSE = 0.02  # places are kept to 0.01 of a pixel


@st.composite
def graphs(draw):
    """Boxes and arrows from earlier to later ones, some of them from ports."""
    count = draw(st.integers(1, 14))
    sides = st.floats(10, 200)
    sizes = [Size(draw(sides), draw(sides)) for _ in range(count)]
    links = []
    for target in range(1, count):
        for source in draw(st.lists(st.integers(0, target - 1), max_size=4)):
            port = draw(st.sampled_from([0.0, -0.4, 0.3])) * sizes[source].across
            links.append(Link(source, target, port, 0.2 * sizes[target].across if port else 0.0))
    return sizes, links


def random_graph(count, reach, most_inputs):
    numbers = random.Random(count)
    links = [
        Link(numbers.randrange(max(0, target - reach), target), target)
        for target in range(1, count)
        for _ in range(numbers.randint(1, most_inputs))
    ]
    return [Size(numbers.choice([100.0, 120.0, 150.0]), 60.0) for _ in range(count)], links


def overlap(first, second):
    """Whether two boxes, each (middle, size), have area in common."""
    return all(
        abs(a - b) < (c + d) / 2 - CLOSE
        for a, b, c, d in zip(first[0], second[0], first[1], second[1], strict=True)
    )


def placed(layout, sizes):
    return [
        (middle, (size.across, size.along))
        for middle, size in zip(layout.middles, sizes, strict=True)
    ]


@settings(deadline=None, max_examples=150)
@given(graphs())
def test_boxes_do_not_overlap_and_are_inside(graph):
    sizes, links = graph
    layout = arrange(sizes, links)
    boxes = placed(layout, sizes)
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    for (across, along), (width, height) in boxes:
        assert -CLOSE <= across - width / 2 <= across + width / 2 <= layout.size.across + CLOSE
        assert -CLOSE <= along - height / 2 <= along + height / 2 <= layout.size.along + CLOSE


@settings(deadline=None, max_examples=150)
@given(graphs())
def test_arrows_go_from_port_to_port_and_only_forwards(graph):
    sizes, links = graph
    layout = arrange(sizes, links)
    for link, route in zip(links, layout.routes, strict=True):
        (source, start), (target, end) = layout.middles[link.source], layout.middles[link.target]
        assert route[0].across == pytest.approx(source + link.source_port)
        assert route[0].start == pytest.approx(start + sizes[link.source].along / 2)
        assert route[-1].across == pytest.approx(target + link.target_port)
        assert route[-1].end == pytest.approx(end - sizes[link.target].along / 2)
        steps = [position for part in route for position in (part.start, part.end)]
        assert all(a <= b + CLOSE for a, b in itertools.pairwise(steps))


@settings(deadline=None, max_examples=150)
@given(graphs())
def test_arrows_touch_no_other_box(graph):
    """Curves are between layers, where no box is; the straight parts are what could touch one."""
    sizes, links = graph
    layout = arrange(sizes, links)
    for link, route in zip(links, layout.routes, strict=True):
        others = [
            b for i, b in enumerate(placed(layout, sizes)) if i not in (link.source, link.target)
        ]
        for part in route:
            line = ((part.across, (part.start + part.end) / 2), (2 * CLOSE, part.end - part.start))
            assert not any(overlap(line, box) for box in others)


@settings(deadline=None, max_examples=100)
@given(graphs())
def test_every_layer_is_below_the_one_before(graph):
    sizes, links = graph
    layers = assign_layers(len(sizes), links, (), ())
    assert all(layers[link.source] < layers[link.target] for link in links)
    assert set(layers) == set(range(max(layers) + 1))


def test_a_box_that_is_used_late_stands_near_to_its_use():
    chain = [Link(0, 1), Link(1, 2), Link(2, 4)]
    assert assign_layers(5, [*chain, Link(3, 4)], (), ()) == [0, 1, 2, 2, 3]
    assert assign_layers(5, [*chain, Link(3, 4)], (3,), ()) == [0, 1, 2, 0, 3]


def test_an_end_stands_near_to_its_source_or_in_the_last_layer():
    links = [Link(0, 1), Link(1, 2), Link(0, 3)]
    assert assign_layers(4, links, (), ()) == [0, 1, 2, 1]
    assert assign_layers(4, links, (), (3,)) == [0, 1, 2, 2]


def test_a_chain_is_straight():
    sizes = [Size(width, 20.0) for width in (50.0, 90.0, 30.0, 70.0)]
    layout = arrange(sizes, [Link(i, i + 1) for i in range(3)])
    assert {across for across, _ in layout.middles} == {45.0}


def test_a_fork_is_symmetric():
    sizes = [Size(60.0, 20.0)] * 6
    links = [Link(0, branch) for branch in range(1, 5)] + [
        Link(branch, 5) for branch in range(1, 5)
    ]
    places = [across for across, _ in arrange(sizes, links).middles]
    assert places[1] + places[4] == pytest.approx(places[2] + places[3])
    assert places[0] == places[5] == pytest.approx((places[1] + places[4]) / 2)


def test_an_arrow_around_a_chain_leaves_the_chain_straight():
    sizes = [Size(60.0, 20.0)] * 5
    layout = arrange(sizes, [Link(i, i + 1) for i in range(4)] + [Link(0, 3)])
    assert len({across for across, _ in layout.middles}) == 1


def places(widths, links):
    """The middles of boxes, across, and the arrows' straight parts, likewise."""
    layout = arrange(
        [Size(float(width), 20.0) for width in widths], [Link(*ends) for ends in links]
    )
    routes = [[round(part.across, 1) for part in route] for route in layout.routes]
    return [round(across, 1) for across, _ in layout.middles], routes


def test_a_long_arrow_does_not_bend_twice_where_once_will_do():
    links = [(0, 1), (1, 2), (0, 3), (2, 3), (2, 4), (0, 4)]
    _, routes = places([60, 60, 90, 110, 60], links)
    source, *rest = routes[-1]
    assert source < rest[0]
    assert len(set(rest)) == 1


def test_wider_neighbours_make_no_slight_bends():
    """Four branches of one, two, three and two boxes that meet again."""
    links = [(0, 1), (0, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8)]
    widths = [147, 140, 140, 147, 140, 140, 140, 148, 140, 147]
    middles, _ = places(widths, [*links, (1, 9), (3, 9), (6, 9), (8, 9)])
    assert middles[2] == middles[3]
    assert middles[4] == middles[5] == middles[6]
    assert middles[7] == middles[8]


def test_a_box_without_arrows_stands_beside_the_others():
    middles, _ = places([60] * 5, [(0, 2), (0, 3), (2, 3), (2, 4), (3, 4)])
    assert abs(middles[1] - middles[0]) == 60.0 + BOX_GAP


def test_layers_are_further_apart_where_arrows_run_far_across():
    def gap(branches):
        layout = arrange(
            [Size(60.0, 20.0)] * (branches + 1), [Link(0, i + 1) for i in range(branches)]
        )
        return layout.middles[1][1] - layout.middles[0][1]

    assert gap(1) < gap(3) < gap(6)


def test_arrows_run_together_from_one_port_and_apart_from_two():
    chain = [Link(i, i + 1) for i in range(4)]
    one = Grid([Size(60.0, 20.0)] * 5, [*chain, Link(0, 3), Link(0, 4)], [0, 1, 2, 3, 4])
    two = Grid([Size(60.0, 20.0)] * 5, [*chain, Link(0, 3), Link(0, 4, 9.0)], [0, 1, 2, 3, 4])
    assert [len(layer) for layer in one.layers] == [1, 2, 2, 2, 1]
    assert [len(layer) for layer in two.layers] == [1, 3, 3, 2, 1]


def test_arrows_that_need_not_cross_do_not():
    links = [Link(0, 5), Link(1, 4), Link(2, 3)]
    grid = Grid([Size(10.0, 10.0)] * 6, links, assign_layers(6, links, (), ()))
    order(grid)
    assert grid.layers[1] == [5, 4, 3]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_crossings_are_counted(lines):
    pairs = itertools.combinations(lines, 2)
    assert crossings(lines) == sum((a - c) * (b - d) < 0 for (a, b), (c, d) in pairs)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 4)), min_size=1, max_size=8))
def test_a_weighted_median_is_nearest_to_all(values):
    def distance(place):
        return sum(weight * abs(place - value) for value, weight in values)

    best = min(distance(value) for value, _ in values)
    assert distance(weighted_median([(float(v), float(w)) for v, w in values])) == best


def test_a_median_between_two_is_in_the_middle():
    assert weighted_median([(0.0, 1.0), (4.0, 1.0)]) == 2.0


@pytest.mark.parametrize(("reach", "most_inputs"), [(12, 2), (20, 3), (250, 3)])
def test_a_large_graph_takes_less_than_two_seconds(reach, most_inputs):
    sizes, links = random_graph(250, reach, most_inputs)
    start = time.process_time()
    arrange(sizes, links)
    assert time.process_time() - start < 2.0  # about 0.3 on one core


def test_the_same_graph_has_the_same_layout():
    assert arrange(*random_graph(60, 8, 3)) == arrange(*random_graph(60, 8, 3))
