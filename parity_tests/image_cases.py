"""The image models of the chapter and the networks it names, on both sides.

Keras has images as (N, H, W, C), torch as (N, C, H, W); seen through `permute` that is the
channels-last memory format, and no data move. Odd and even sizes occur, since the padding of a
strided "same" layer depends on it.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from keras_ref import (
    applications,
    batch_norm,
    inception_module,
    residual,
    separable_convnet,
    siamese_vision,
)
from torchbp import Input, Model, layers, models
from torchbp.blocks import ConvNormAct
from torchbp.losses import ProbBCELoss, ProbCrossEntropyLoss
from torchbp.parity import Batch, Case, Head, Pair, Sizes, chapters_optimizers, sgd
from torchbp.port.applications import layer_places

SGD, RMSPROP, ADAM = chapters_optimizers()
SMALL_STEPS = sgd(lr=1e-4)  # from random weights, larger ones saturate a probability
CHANNELS_LAST = (0, 2, 3, 1)  # torch's (N, C, H, W) in Keras's order, (N, H, W, C)
CHANNELS_FIRST = (0, 3, 1, 2)
NORM = partial(layers.BatchNorm2d, eps=1e-3, momentum=0.01, biased_running_var=True)
CLASSES = (Head("classes", "categorical_crossentropy", ProbCrossEntropyLoss()),)

SPREADING = (
    "In float32 one pre-activation within rounding of zero flips a path through the relus, and "
    "training spreads it, between any two programs, Keras's own backends too. So the losses are "
    "compared in float32, and every weight in float64."
)


def image(keras, torch_, kind=None, value=None):
    """A pair whose values are maps of features."""
    return Pair(keras, torch_, kind, value=value, axes=CHANNELS_LAST)


def maps(rng, sizes, name, channels):
    side = sizes.length
    images = rng.normal(size=(sizes.batch_size, side, side, channels))
    targets = np.eye(sizes.model.get("num_classes", 10))
    rows = rng.integers(len(targets), size=sizes.batch_size)
    return Batch({name: images}, {"classes": targets[rows]})


def pictures(rng, sizes):
    """Images with large patches of colour and some noise.

    Of noise alone deep layers see next to nothing but its mean, and a normalisation then enlarges
    their rounding.
    """
    batch = maps(rng, sizes, "images", 3)
    side = sizes.length
    patches = rng.normal(size=(sizes.batch_size, 5, 5, 3)).repeat(-(-side // 5), 1)
    patches = patches.repeat(-(-side // 5), 2)[:, :side, :side]
    return replace(batch, inputs={"images": patches + 0.3 * batch.inputs["images"]})


def sizes(batch_size, side, **model):
    return Sizes(batch_size, length=side, model={"size": side, **model})


# The inception module and residual connections

INCEPTION = Case(
    name="inception-module",
    keras_model=inception_module.build,
    torch_model=lambda size, channels, width: models.inception_convnet(channels, width),
    data=lambda rng, sizes: maps(rng, sizes, "features", sizes.model["channels"]),
    pairs=(
        *(
            image(f"branch_{name}", f"inception.branches.{place}.conv", "conv",
                  value=f"inception.branches.{place}.activation")
            for name, place in {"a": "0.0", "b_1": "1.0", "b_2": "1.1"}.items()
        ),
        image("branch_c_pool", "inception.branches.2.0"),
        *(
            image(f"branch_{name}", f"inception.branches.{place}.conv", "conv",
                  value=f"inception.branches.{place}.activation")
            for name, place in {"c": "2.1", "d_1": "3.0", "d_2": "3.1", "d_3": "3.2"}.items()
        ),
        image("branches", "inception"),
        Pair("pool", "pool"),
        Pair("classes", "class_scores", "linear", value="classes"),
    ),
    heads=CLASSES,
    full=sizes(2, 32, channels=192, width=128),
    small=sizes(4, 9, channels=16, width=8),
    input_axes={"features": CHANNELS_FIRST},
    deep=True,
    references=("keras-tensorflow",),
    note='Where an average pooling with padding "same" pads unevenly, Keras on torch repeats the '
    "border and counts it, TensorFlow counts the cells inside alone: 8e-4 apart on these data.",
)  # fmt: skip


def residual_pairs(*branch):
    return (
        *(
            image(f"conv_{i + 1}", f"residual.branch.{2 * i}", "conv",
                  value=f"residual.branch.{2 * i + 1}")
            for i in range(len(branch))
        ),
        *(image(keras, torch_, kind) for keras, torch_, kind in branch if keras),
        image("sum", "residual"),
        Pair("pool", "pool"),
        Pair("classes", "class_scores", "linear", value="classes"),
    )  # fmt: skip


IDENTITY = Case(
    name="residual-identity",
    keras_model=residual.build_identity,
    torch_model=lambda size, channels: models.residual_convnet(channels, channels),
    data=lambda rng, sizes: maps(rng, sizes, "features", sizes.model["channels"]),
    pairs=residual_pairs((None,) * 3, (None,) * 3, (None,) * 3),
    heads=CLASSES,
    full=sizes(2, 32, channels=128),
    small=sizes(4, 9, channels=12),
    input_axes={"features": CHANNELS_FIRST},
    deep=True,
)

PROJECTION = Case(
    name="residual-projection",
    keras_model=residual.build_projection,
    torch_model=lambda size, in_channels, channels: models.residual_convnet(
        in_channels, channels, size=size
    ),
    data=lambda rng, sizes: maps(rng, sizes, "features", sizes.model["in_channels"]),
    pairs=residual_pairs(
        ("pool_1", "residual.branch.4", None), ("shortcut", "residual.shortcut", "conv")
    ),
    heads=CLASSES,
    full=sizes(2, 32, in_channels=64, channels=128),
    # with less than 16 channels Keras's strided 1x1 convolution on torch meets oneDNN's fault
    # (https://github.com/uxlfoundation/oneDNN/issues/6035), which ends the process
    small=sizes(4, 10, in_channels=16, channels=24),
    input_axes={"features": CHANNELS_FIRST},
    deep=True,
)


# Batch normalisation and separable convolution


class NormedConvnet(nn.Module):
    """Two convolutions, each with its normalisation, in either order."""

    def __init__(self, order, num_classes=10):
        super().__init__()
        block = partial(ConvNormAct, kernel_size=3, padding=0, norm=NORM, order=order)
        self.block_1, self.block_2 = block(3, 32), block(32, 32)
        self.pool = layers.GlobalAvgPool2d()
        self.class_scores, self.classes = nn.Linear(32, num_classes), nn.Softmax(dim=-1)

    def forward(self, image):
        x = self.pool(self.block_2(self.block_1(image)))
        return self.classes(self.class_scores(x))


class NormedMlp(nn.Module):
    """Two dense layers, each with a relu and a normalisation after it."""

    def __init__(self, num_features=64, num_classes=10):
        super().__init__()
        norm = partial(layers.BatchNorm1d, eps=1e-3, momentum=0.01, biased_running_var=True)
        self.hidden_1, self.relu_1, self.norm_1 = nn.Linear(num_features, 32), nn.ReLU(), norm(32)
        self.hidden_2, self.relu_2, self.norm_2 = nn.Linear(32, 32), nn.ReLU(), norm(32)
        self.class_scores, self.classes = nn.Linear(32, num_classes), nn.Softmax(dim=-1)

    def forward(self, features):
        x = self.norm_1(self.relu_1(self.hidden_1(features)))
        x = self.norm_2(self.relu_2(self.hidden_2(x)))
        return self.classes(self.class_scores(x))


def normed(name, keras_order, order):
    conv_value = "activation" if order[1] == "activation" else None
    pairs = []
    for i in (1, 2):
        value = conv_value and f"block_{i}.{conv_value}"
        pairs.append(image(f"conv_{i}", f"block_{i}.conv", "conv", value=value))
        pairs.append(image(f"norm_{i}", f"block_{i}.norm", "batch_norm"))
        if not conv_value:
            pairs.append(image(f"relu_{i}", f"block_{i}.activation"))
    return Case(
        name=name,
        keras_model=partial(batch_norm.build_conv, order=keras_order),
        torch_model=lambda size: NormedConvnet(order),
        data=lambda rng, sizes: maps(rng, sizes, "image", 3),
        pairs=(*pairs, Pair("pool", "pool"), Pair("classes", "class_scores", "linear", "classes")),
        heads=CLASSES,
        full=sizes(8, 16),
        small=sizes(4, 9),
        input_axes={"image": CHANNELS_FIRST},
        deep=True,
    )


CONV_RELU_NORM = normed("batch-norm-after-relu", "activation first", ("conv", "activation", "norm"))
CONV_NORM_RELU = normed("batch-norm-before-relu", "norm first", ("conv", "norm", "activation"))

DENSE_NORM = Case(
    name="batch-norm-dense",
    keras_model=batch_norm.build_dense,
    torch_model=NormedMlp,
    data=lambda rng, sizes: Batch(
        {"features": rng.normal(size=(sizes.batch_size, 64))},
        {"classes": np.eye(10)[rng.integers(10, size=sizes.batch_size)]},
    ),
    pairs=(
        Pair("hidden_1", "hidden_1", "linear", value="relu_1"),
        Pair("norm_1", "norm_1", "batch_norm"),
        Pair("hidden_2", "hidden_2", "linear", value="relu_2"),
        Pair("norm_2", "norm_2", "batch_norm"),
        Pair("classes", "class_scores", "linear", value="classes"),
    ),
    heads=CLASSES,
    full=Sizes(batch_size=32),
    small=Sizes(batch_size=16),
    seed=4,  # no probability of a target is small
    deep=True,
)

SEPARABLE = Case(
    name="separable-convnet",
    keras_model=separable_convnet.build,
    torch_model=lambda size: models.separable_convnet(),
    data=lambda rng, sizes: Batch(
        {"image": rng.normal(size=(sizes.batch_size, sizes.length, sizes.length, 3))},
        {"classes": np.eye(10)[rng.integers(10, size=sizes.batch_size)]},
    ),
    pairs=(
        *(
            image(f"sepconv_{i}", f"sepconv_{i}", "separable", value=value)
            for i, value in enumerate(("relu", "relu_1", "relu_2"), start=1)
        ),
        image("pool_1", "pool_1"),
        image("sepconv_4", "sepconv_4", "separable", value="relu_3"),
        image("sepconv_5", "sepconv_5", "separable", value="relu_4"),
        Pair("pool_2", "pool_2"),
        Pair("hidden", "hidden", "linear", value="relu_5"),
        Pair("classes", "class_scores", "linear", value="classes"),
    ),
    heads=CLASSES,
    full=sizes(4, 64),
    small=sizes(4, 21),
    seed=1,  # with 0 one relu is within rounding of zero, and Adam makes a whole step of it
    input_axes={"image": CHANNELS_FIRST},
    deep=True,
    steps=(1, 10),
)


# The networks


def network_pairs(network_class, block_outputs, keras="", torch_=""):
    """Every layer with weights, and the output of each part of `features` that has a name."""
    with torch.device("meta"):
        network = network_class(include_top=not keras)
    pairs, part = [], None
    for name, place in layer_places(network).items():
        now = ".".join(place.module.split(".")[:2])
        if now != part and part in block_outputs:
            pairs.append(image(f"{keras}{block_outputs[part]}", f"{torch_}{part}"))
        part = now
        pairs.append(
            Pair(name, f"{torch_}{place.module}", place.kind, value=f"{torch_}classes")
            if name == "predictions"
            else image(f"{keras}{name}", f"{torch_}{place.module}", place.kind)
        )
    return tuple(pairs)


def network(name, network_class, build, block_outputs, side, smallest, optimizers, **more):
    def in_graph(size, num_classes):
        images = Input((3, size, size), name="images")
        return Model(images, network_class(num_classes, name="network")(images))

    return Case(
        name=name,
        keras_model=build,
        torch_model=in_graph,
        data=pictures,
        pairs=network_pairs(network_class, block_outputs, torch_="network."),
        heads=CLASSES,
        full=sizes(2, side, num_classes=1000),
        small=sizes(3, smallest, num_classes=1000),
        input_axes={"images": CHANNELS_FIRST},
        deep=True,
        large=True,
        optimizers=optimizers,
        steps=(1, 10),
        references=("keras-tensorflow",),
        note=SPREADING,
        **more,
    )


XCEPTION = network(
    "xception",
    models.Xception,
    applications.xception,
    {f"features.{i}": "add" if i == 2 else f"add_{i - 2}" for i in range(2, 14)},
    side=299,
    smallest=76,  # one pooling halves an even size
    optimizers=(SMALL_STEPS, ADAM),
    shift=1.0,
)
INCEPTION_V3 = network(
    "inception-v3",
    models.InceptionV3,
    applications.inception_v3,
    {f"features.{i}": f"mixed{i - 7}" for i in range(7, 18)},
    side=299,
    smallest=139,
    optimizers=(SMALL_STEPS,),
    shift=3.0,
)
RESNET = network(
    "resnet50",
    models.ResNet50,
    applications.resnet50,
    {
        f"features.{2 + before + block}": f"conv{stage}_block{block + 1}_out"
        for stage, before, count in ((2, 0, 3), (3, 3, 4), (4, 7, 6), (5, 13, 3))
        for block in range(count)
    },
    side=224,
    smallest=96,
    optimizers=(SMALL_STEPS,),
    shift=3.0,
    # every convolution has a bias, and a normalisation takes it away again
    zero_gradients=tuple(
        f"network.{place.module}.bias"
        for place in layer_places(models.ResNet50(include_top=False)).values()
        if place.kind == "conv"
    ),
)


# Models as layers


def two_eyes(size):
    """The shared base on two images, and whether what both see is close."""
    left, right = Input((3, size, size), name="left"), Input((3, size, size), name="right")
    both = models.siamese_vision(size=size)(left, right)
    score = layers.Linear(4096, 1, name="close_score")(layers.GlobalAvgPool2d(name="pool")(both))
    return Model([left, right], layers.Sigmoid(name="close")(score))


def two_images(rng, sizes):
    shape = (sizes.batch_size, sizes.length, sizes.length, 3)
    images = {"left": rng.normal(size=shape), "right": rng.normal(size=shape)}
    return Batch(images, {"close": rng.integers(2, size=(sizes.batch_size, 1)).astype("float64")})


SIAMESE = Case(
    name="siamese-vision",
    keras_model=siamese_vision.build,
    torch_model=two_eyes,
    data=two_images,
    pairs=(
        *network_pairs(models.Xception, {}, keras="base/", torch_="model.base."),
        image("base", "model.base"),
        image("both", "model"),
        Pair("pool", "pool"),
        Pair("close", "close_score", "linear", value="close"),
    ),
    heads=(Head("close", "binary_crossentropy", ProbBCELoss()),),
    full=sizes(1, 250),
    small=sizes(2, 71),
    input_axes={"left": CHANNELS_FIRST, "right": CHANNELS_FIRST},
    deep=True,
    large=True,
    optimizers=(SMALL_STEPS,),
    shift=1.0,
    steps=(1, 10),
    references=("keras-tensorflow",),
    note=SPREADING,
)

CASES = [
    INCEPTION,
    IDENTITY,
    PROJECTION,
    CONV_RELU_NORM,
    CONV_NORM_RELU,
    DENSE_NORM,
    SEPARABLE,
    XCEPTION,
    INCEPTION_V3,
    RESNET,
    SIAMESE,
]
