"""Functional models in the styles that real ones have, small, for the porter."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import keras
from keras import layers as L


def residual():
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, padding="same", activation="relu")(image)
    for _ in range(2):
        y = L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(x))
        y = L.Conv2D(8, 3, padding="same")(L.ReLU()(y))
        x = L.Activation("relu")(L.Add()([x, y]))
    y = L.Conv2D(16, 3, strides=2, padding="same")(x)
    x = L.add([y, L.Conv2D(16, 1, strides=2)(x)])
    return keras.Model(image, L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def inception():
    image = keras.Input((16, 16, 3))
    a = L.Conv2D(8, 1, activation="relu", strides=2)(image)
    b = L.Conv2D(8, 1, activation="relu")(image)
    b = L.Conv2D(8, 3, activation="relu", strides=2, padding="same")(b)
    c = L.AveragePooling2D(3, strides=2, padding="same")(image)
    c = L.Conv2D(8, 3, activation="relu", padding="same")(c)
    d = L.Conv2D(8, 1, activation="relu")(image)
    d = L.Conv2D(8, 3, activation="relu", padding="same")(d)
    d = L.Conv2D(8, 3, activation="relu", strides=2, padding="same")(d)
    x = L.Flatten()(L.concatenate([a, b, c, d], axis=-1))
    return keras.Model(image, L.Dense(5)(x))


def separable():
    return keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            L.SeparableConv2D(8, 3, activation="relu"),
            L.SeparableConv2D(16, 3, activation="relu"),
            L.MaxPooling2D(2),
            L.SeparableConv2D(16, 3, activation="relu", depth_multiplier=2),
            L.GlobalAveragePooling2D(),
            L.Dense(8, activation="relu"),
            L.Dense(4, activation="softmax"),
        ]
    )


def shared_lstm():
    left, right = keras.Input((None, 12), name="left"), keras.Input((None, 12), name="right")
    lstm = L.LSTM(8)
    merged = L.concatenate([lstm(left), lstm(right)], axis=-1)
    return keras.Model([left, right], L.Dense(1, activation="sigmoid")(merged))


def question_answering():
    text = keras.Input((None,), dtype="int32", name="text")
    question = keras.Input((None,), dtype="int32", name="question")
    encoded_text = L.LSTM(8)(L.Embedding(50, 16)(text))
    encoded_question = L.LSTM(6)(L.Embedding(50, 8)(question))
    x = L.concatenate([encoded_text, encoded_question], axis=-1)
    return keras.Model([text, question], L.Dense(20, activation="softmax")(x))


def masked_gru():
    words = keras.Input((None,), dtype="int32", name="words")
    x = L.Embedding(20, 8, mask_zero=True)(words)
    x = L.GRU(6, return_sequences=True)(x)
    x = L.GRU(5)(L.Dropout(0.2)(x))
    return keras.Model(words, L.Dense(3)(x))


def bidirectional_lstm():
    words = keras.Input((None,), dtype="int32", name="words")
    x = L.Embedding(20, 8)(words)
    x = L.Bidirectional(L.LSTM(6, return_sequences=True))(x)
    x = L.Bidirectional(L.LSTM(4), merge_mode="sum")(x)
    return keras.Model(words, L.Dense(2)(x))


def three_outputs():
    posts = keras.Input((None,), dtype="int32", name="posts")
    x = L.Conv1D(8, 5, activation="relu")(L.Embedding(60, 8)(posts))
    x = L.Conv1D(12, 3, activation="relu")(L.MaxPooling1D(2)(x))
    x = L.Dense(16, activation="relu")(L.GlobalMaxPooling1D()(x))
    age = L.Dense(1, name="age")(x)
    income = L.Dense(10, activation="softmax", name="income")(x)
    gender = L.Dense(1, activation="sigmoid", name="gender")(x)
    return keras.Model(posts, [age, income, gender])


def shared_xception():
    base = keras.applications.Xception(weights=None, include_top=False, input_shape=(71, 71, 3))
    left, right = keras.Input((71, 71, 3), name="left"), keras.Input((71, 71, 3), name="right")
    return keras.Model([left, right], L.concatenate([base(left), base(right)], axis=-1))


def transposed_convolution():
    code = keras.Input((6,))
    x = L.Reshape((4, 4, 2))(L.Dense(32, activation="relu")(code))
    x = L.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(x)
    x = L.Conv2DTranspose(4, 4, strides=2, padding="same", activation="relu")(x)
    return keras.Model(code, L.Conv2DTranspose(1, 3, padding="same", activation="sigmoid")(x))


def attention():
    words = keras.Input((None,), dtype="int32", name="words")
    x = L.Embedding(30, 16)(words)
    for _ in range(2):
        y = L.MultiHeadAttention(num_heads=2, key_dim=4)(x, x)
        x = L.LayerNormalization()(x + y)
        y = L.Dense(16)(L.Dense(32, activation="relu")(x))
        x = L.LayerNormalization()(L.Add()([x, y]))
    return keras.Model(words, L.Dense(3)(L.GlobalAveragePooling1D()(x)))


# The styles that exporters fail on, of which none came out trainable and of the right size
ELEVEN = {
    "residual": residual,
    "inception": inception,
    "separable convolution": separable,
    "shared LSTM": shared_lstm,
    "two-input text QA": question_answering,
    "masked GRU": masked_gru,
    "bidirectional LSTM": bidirectional_lstm,
    "three-output Conv1D": three_outputs,
    "shared Xception": shared_xception,
    "transposed convolution": transposed_convolution,
    "attention": attention,
}


def u_net():
    image = keras.Input((32, 32, 1))
    skips, x = [], image
    for width in (4, 8):
        x = L.Conv2D(width, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = L.MaxPooling2D()(x)
    x = L.Conv2D(16, 3, padding="same", activation="relu")(x)
    for width, skip in zip((8, 4), reversed(skips), strict=True):
        x = L.Concatenate()([L.Conv2DTranspose(width, 2, strides=2)(x), skip])
        x = L.Conv2D(width, 3, padding="same", activation="relu")(x)
    return keras.Model(image, L.Conv2D(1, 1, activation="sigmoid")(x))


def ticket_triage():
    title = keras.Input((None,), dtype="int32", name="title")
    body = keras.Input((None,), dtype="int32", name="body")
    tags = keras.Input((5,), name="tags")
    x = L.concatenate(
        [L.LSTM(8)(L.Embedding(40, 8)(title)), L.LSTM(6)(L.Embedding(40, 8)(body)), tags]
    )
    outputs = {"priority": L.Dense(1, name="priority")(x), "team": L.Dense(4, name="team")(x)}
    return keras.Model({"title": title, "body": body, "tags": tags}, outputs)


def wide_and_deep():
    wide, deep = keras.Input((5,), name="wide"), keras.Input((6,), name="deep")
    x = L.Dense(8, activation="relu")(L.BatchNormalization()(deep))
    return keras.Model([wide, deep], L.Dense(1)(L.concatenate([wide, L.Dense(8)(x)])))


def autoencoder():
    image = keras.Input((16, 16, 1))
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    encoder = keras.Model(image, L.Dense(6)(L.Flatten()(x)), name="encoder")
    code = keras.Input((6,))
    x = L.Reshape((8, 8, 2))(L.Dense(128, activation="relu")(code))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(L.UpSampling2D()(x))
    decoder = keras.Model(code, L.Conv2D(1, 3, padding="same")(x), name="decoder")
    first, second = keras.Input((16, 16, 1), name="first"), keras.Input((16, 16, 1), name="second")
    return keras.Model([first, second], [decoder(encoder(first)), decoder(encoder(second))])


def sequence_to_sequence():
    source = keras.Input((None, 8), name="source")
    target = keras.Input((None, 9), name="target")
    _, h, c = L.LSTM(7, return_state=True)(source)
    x, _, _ = L.LSTM(7, return_sequences=True, return_state=True)(target, initial_state=[h, c])
    return keras.Model([source, target], L.Dense(9, activation="softmax")(x))


def tagger():
    words = keras.Input((None,), dtype="int32", name="words")
    x = L.Embedding(30, 8, mask_zero=True)(words)
    x = L.Bidirectional(L.LSTM(5, return_sequences=True))(x)
    return keras.Model(words, L.TimeDistributed(L.Dense(4, activation="softmax"))(x) * 1.0)


def forecaster():
    series = keras.Input((None, 3), name="series")
    x = L.GRU(6, return_sequences=True)(L.Conv1D(4, 3, padding="causal")(series))
    return keras.Model(series, L.Dense(1)(L.GRU(5, reset_after=False)(x)))


def conv_lstm():
    film = keras.Input((4, 8, 8, 1), name="film")
    x = L.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(film)
    x = L.BatchNormalization()(x)
    x = L.ConvLSTM2D(2, 3, padding="same")(x)
    return keras.Model(film, L.Conv2D(1, 3, padding="same")(x))


def siamese():
    image = keras.Input((12, 12, 1))
    x = L.Flatten()(L.MaxPooling2D()(L.Conv2D(4, 3, activation="relu")(image)))
    tower = keras.Model(image, L.Dense(5)(x), name="tower")
    a, b = keras.Input((12, 12, 1), name="a"), keras.Input((12, 12, 1), name="b")
    distance = keras.ops.sum(keras.ops.square(tower(a) - tower(b)), axis=1, keepdims=True)
    return keras.Model([a, b], L.Dense(1, activation="sigmoid")(distance))


def vision_transformer():
    image = keras.Input((16, 16, 3))
    x = L.Reshape((16, 12))(L.Conv2D(12, 4, strides=4)(image))
    y = L.LayerNormalization(epsilon=1e-6)(x)
    x = x + L.MultiHeadAttention(3, 4)(y, y)
    y = L.Dense(24, activation="gelu")(L.LayerNormalization(epsilon=1e-6)(x))
    x = x + L.Dense(12)(y)
    return keras.Model(image, L.Dense(4)(x[:, 0]))


def squeeze_and_excite():
    image = keras.Input((12, 12, 3))
    x = L.Conv2D(8, 3, padding="same", activation="silu")(image)
    s = L.GlobalAveragePooling2D(keepdims=True)(x)
    s = L.Conv2D(8, 1, activation="hard_sigmoid")(L.Conv2D(2, 1, activation="relu6")(s))
    x = L.Dropout(0.3, noise_shape=(None, 1, 1, 1))(L.Multiply()([x, s]))
    return keras.Model(image, L.Dense(3)(L.Flatten()(x)))


def preprocessed():
    image = keras.Input((14, 14, 3))
    x = L.CenterCrop(12, 12)(L.Rescaling(1 / 127.5, offset=-1.1)(image))
    x = L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.1, 0.9, 0.7])(x)
    x = L.Rescaling([0.1, 1 / 3, 0.7])(x)
    x = L.Conv2D(8, 3, padding="same", activation="relu")(L.Normalization()(x))
    return keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


def nested_text():
    ids = keras.Input((6,), dtype="int32")
    encoder = keras.Model(ids, L.Dense(5)(L.Embedding(9, 4, mask_zero=True)(ids)), name="encoder")
    steps = [keras.Input((6, 5)), L.LSTM(4, return_sequences=True), L.LayerNormalization()]
    mixer = keras.Sequential(steps, name="mixer")
    words = keras.Input((6,), dtype="int32", name="words")
    x = mixer(encoder(words))
    scores = {"tags": L.Dense(3)(x), "topic": L.Dense(2)(L.GlobalAveragePooling1D()(x))}
    return keras.Model(words, scores)


STYLES = ELEVEN | {
    "U-Net": u_net,
    "ticket triage": ticket_triage,
    "wide and deep": wide_and_deep,
    "auto-encoder with shared decoder": autoencoder,
    "sequence to sequence": sequence_to_sequence,
    "tagger": tagger,
    "forecaster": forecaster,
    "ConvLSTM": conv_lstm,
    "siamese": siamese,
    "vision transformer": vision_transformer,
    "squeeze and excite": squeeze_and_excite,
    "preprocessed": preprocessed,
    "nested text": nested_text,
}
