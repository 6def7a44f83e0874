"""The chapter's models in Keras 3, a concept a file: the other side of every parity case.

Each file is for reading first: it shows the concept as Keras writes it, and names the slip of
the chapter that it mends. `build(**sizes)` returns the model, in the chapter's sizes by default.
"""
