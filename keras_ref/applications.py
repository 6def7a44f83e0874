"""Xception, InceptionV3 and ResNet50 as keras.applications defines them, with new weights.

keras.applications names some layers itself and leaves others, nearly all of InceptionV3, to
Keras's automatic names, which count on from model to model: `conv2d_94` in the second. Here they
count from the start in each model, as in a program that builds it first.
"""

import re
from collections import defaultdict

import keras


def xception(include_top=True, pooling=None, num_classes=1000, size=299):
    return build(keras.applications.Xception, include_top, pooling, num_classes, size)


def inception_v3(include_top=True, pooling=None, num_classes=1000, size=299):
    return build(keras.applications.InceptionV3, include_top, pooling, num_classes, size)


def resnet50(include_top=True, pooling=None, num_classes=1000, size=224):
    return build(keras.applications.ResNet50, include_top, pooling, num_classes, size)


def build(application, include_top, pooling, num_classes, size):
    model = application(
        include_top=include_top,
        weights=None,
        input_tensor=keras.Input((size, size, 3), name="images"),
        pooling=pooling,
        classes=num_classes,
    )
    count_names_from_start(model)
    return model


AUTOMATIC = re.compile(
    "(conv2d|batch_normalization|activation|add|concatenate"
    "|(?:global_)?(?:average|max)_pooling2d)"
    "(?:_([0-9]+))?"
)


def count_names_from_start(model):
    numbered = defaultdict(list)
    for layer in model.layers:
        if automatic := AUTOMATIC.fullmatch(layer.name):
            numbered[automatic[1]].append((int(automatic[2] or 0), layer))
    for kind, found in numbered.items():
        for number, (_, layer) in enumerate(sorted(found, key=lambda pair: pair[0])):
            layer.name = f"{kind}_{number}" if number else kind
