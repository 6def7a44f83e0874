"""A Keras model beside its port: outputs, gradients and what training does to statistics."""

import numpy as np
import torch

from torchbp.graph.structure import leaves
from torchbp.port import from_keras
from torchbp.port.ported import arrays_of, ported_layers, tensors_of, use_weights

# in float64, relative to the largest value of a tensor: a few dozen operations, and their gradients
FORWARD, GRADIENT = 1e-13, 1e-12


def normal(*shape, seed=0):
    return np.random.default_rng(sum(shape) + seed).normal(size=shape)


def randomize(model, seed=0):
    """Weights that keep values near one; nothing is zero that a fault could hide behind."""
    rng = np.random.default_rng(seed)
    new = []
    for variable, weight in zip(model.weights, model.get_weights(), strict=True):
        if weight.dtype.kind != "f":
            new.append(weight)
        elif "variance" in variable.name:
            new.append(rng.uniform(0.5, 1.5, weight.shape))
        else:
            fan_in = max(np.prod(weight.shape[:-1]), 1) if weight.ndim > 1 else 4
            start = 1.0 if variable.name in ("gamma", "scale") else 0.0
            new.append(start + rng.normal(size=weight.shape) / np.sqrt(fan_in))
    model.set_weights(new)
    use_weights(model)
    return model


def close(actual, expected, bound, what):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, what
    scale = np.abs(expected).max(initial=0.0)
    error = np.abs(actual - expected).max(initial=0.0)
    assert error <= bound * max(scale, 1e-6), f"{what}: {error / max(scale, 1e-300):.1e}"


def check(model, *inputs, ported=None, forward=FORWARD, gradient=GRADIENT, training=True):
    """The port of a Keras model computes and learns as the model does, in float64.

    Args:
        model: of Keras on TensorFlow.
        inputs: arrays in Keras's order; what Keras and the port take.
        ported: the port, with `channels="last"`; made of the model by default.
        forward: bound on outputs.
        gradient: bound on gradients.
        training: compare in training mode, too: not for models that draw random numbers.
    """
    ported = from_keras(model, channels="last") if ported is None else ported
    assert count(ported) == model.count_params()
    for mode in (False, True)[: 1 + training]:
        theirs = _keras(model, inputs, mode)
        ours = _torch(ported, inputs, mode)
        for name, bound in (("output", forward), ("input gradient", gradient)):
            assert len(ours[name]) == len(theirs[name]), name
            for number, (a, b) in enumerate(zip(ours[name], theirs[name], strict=True)):
                close(a, b, bound, f"{name} {number}, training={mode}")
        _check_weight_gradients(ported, theirs["weights"], gradient)
    _check_weights(model, ported, forward)  # the statistics have moved
    return ported


def count(module):
    """Numbers that Keras counts: parameters, and saved buffers but for torch's counters."""
    saved = module.state_dict()
    named = [*module.named_parameters(), *module.named_buffers()]
    return sum(t.numel() for n, t in named if n in saved and not n.endswith("num_batches_tracked"))


def _keras(model, inputs, training):
    import tensorflow as tf

    tensors = [tf.constant(array) for array in inputs]
    floating = [tensor for tensor in tensors if tensor.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floating)
        result = model(tensors if len(tensors) > 1 else tensors[0], training=training)
        outputs = list(leaves(result))
        total = tf.add_n(
            [tf.reduce_sum(y * normal(*y.shape, seed=99)) for y in outputs if y.dtype.is_floating]
        )
    found = tape.gradient(total, [floating, model.trainable_weights])
    inputs_found, weights_found = tf.nest.map_structure(
        lambda g: None if g is None else tf.convert_to_tensor(g).numpy(), found
    )
    by_id = {id(w): g for w, g in zip(model.trainable_weights, weights_found, strict=True)}
    return {
        "output": [output.numpy() for output in outputs],
        "input gradient": [g for g in inputs_found if g is not None],
        "weights": {
            path: [(by_id.get(id(w)), w.shape) for w in layer.weights]
            for path, layer in _layers(model, ())
        },
    }


def _torch(model, inputs, training):
    model.train(training)
    model.zero_grad()
    tensors = [torch.from_numpy(np.array(array)) for array in inputs]
    for tensor in tensors:
        tensor.requires_grad_(tensor.is_floating_point())
    outputs = list(leaves(model(*tensors)))
    floating = [output for output in outputs if output.is_floating_point()]
    sum((y * torch.from_numpy(normal(*y.shape, seed=99))).sum() for y in floating).backward()
    return {
        "output": [output.detach().numpy() for output in outputs],
        "input gradient": [t.grad.numpy() for t in tensors if t.grad is not None],
    }


def _check_weight_gradients(ported, theirs, bound):
    for layer in ported_layers(ported):
        if not layer.num_arrays:
            continue
        module = ported.get_submodule(layer.module)
        found = theirs[layer.path]
        trained = [gradient is not None for gradient, _ in found]
        expected = tensors_of(
            layer, module, [np.zeros(s) if g is None else g for g, s in found], "gradients"
        )
        scale = max(tensor.abs().max().item() for tensor in expected.values())
        for name, parameter in module.named_parameters():
            if parameter.grad is None:
                assert not any(trained) or not parameter.requires_grad, f"{layer.name} {name}"
                continue
            error = (parameter.grad - expected[name]).abs().max().item()
            # a gradient may be zero in theory, such as that of a bias before a normalisation
            own = max(expected[name].abs().max().item(), 1e-3 * scale)
            assert error <= bound * max(own, 1e-9), f"{layer.name} {name}: {error / own:.1e}"


def _check_weights(model, ported, bound):
    for path, layer in _layers(model, ()):
        [own] = [x for x in ported_layers(ported) if x.path == path]
        back = arrays_of(own, ported.get_submodule(own.module))
        for ours, theirs in zip(back, layer.get_weights(), strict=True):
            close(ours, theirs, bound, f"weights of {own.name}")
        flags = {p.requires_grad for p in ported.get_submodule(own.module).parameters()}
        assert flags <= {layer.trainable}, f"{own.name}: trainable"


def _layers(model, path):
    for layer in model.layers:
        own = (*path, layer.name)
        models = [x for x in (layer, getattr(layer, "layer", None)) if hasattr(x, "get_layer")]
        if models:
            yield from _layers(models[0], own)
        elif layer.weights:
            yield own, layer
