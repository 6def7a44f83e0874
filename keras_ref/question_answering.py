"""Two inputs: a text and a question about it, each read by its own LSTM, give one answer.

Slips mended: `Embedding(64, vocabulary)` has its arguments swapped, a table of 64 words in
10,000 dimensions: 3,229,812 parameters, and word 64 is out of range. `Embedding(vocabulary, 64)`
gives 1,322,100. The dummy answers `randint(0, 1)` are all 0; the crossentropy of such rows is 0
whatever the model says, and nothing is learned. They are one-hot here.
"""

import keras
from keras import layers


def build(text_vocabulary_size=10_000, question_vocabulary_size=10_000, num_answers=500):
    text = keras.Input((None,), dtype="int32", name="text")
    embedded_text = layers.Embedding(text_vocabulary_size, 64, name="text_embedding")(text)
    encoded_text = layers.LSTM(32, name="text_lstm")(embedded_text)

    question = keras.Input((None,), dtype="int32", name="question")
    embedded_question = layers.Embedding(question_vocabulary_size, 64, name="question_embedding")(
        question
    )
    encoded_question = layers.LSTM(16, name="question_lstm")(embedded_question)

    both = layers.Concatenate(name="both")([encoded_text, encoded_question])
    answer = layers.Dense(num_answers, activation="softmax", name="answer")(both)
    return keras.Model([text, question], answer)
