"""The callback that shows a training in TensorBoard."""

from pathlib import Path
from typing import Any

from torch import nn

from torchbp.callbacks.inspection import Sample, activations_of, first_sample
from torchbp.callbacks.learning_rate import lr_of, param_groups
from torchbp.callbacks.tensorboard import contents, hyperparameters as table
from torchbp.callbacks.tensorboard.graph import model_graph
from torchbp.callbacks.tensorboard.pr_curves import PrecisionRecall
from torchbp.callbacks.tensorboard.projector import Labels, check_labels, write_embeddings
from torchbp.callbacks.tensorboard.tracing import traced_graph
from torchbp.callbacks.tensorboard.writers import Writers, import_summary_writer
from torchbp.errors import DataError
from torchbp.graph import Model
from torchbp.train import Callback, Trainer
from torchbp.train.passes import MeasuredPass


class TensorBoard(Callback):
    """Writes what TensorBoard shows: `tensorboard --logdir FOLDER`.

    For every epoch: the logs and the learning rate as scalars, under tags as `epoch/loss`, from
    the runs `train` and `validation`, which share their charts. Once: the graph of the model and
    its table. Every so many epochs, since they cost time:

    - histograms of weights, of the gradients of the last step, and of the activations of a
      sample;
    - pictures of convolution filters, and of the feature maps of the sample;
    - precision-recall curves of the validation, of each output that is a classification: whose
      targets are zeros and ones, or indices of classes, of which the first ten are shown;
    - the embeddings, in the projector.

    Args:
        folder: where TensorBoard looks. A training that begins anew in the same folder, or goes
            on from a checkpoint, hides what was there from its first epoch on.
        every: epochs between histograms, pictures, curves and embeddings; 0 for none of them.
        batches_every: steps between the scalars of single batches, in a run of their own,
            `batches`; 0 for none. Reading the loss waits for the device.
        embeddings: labels of the rows of embedding layers, by the layer's name.
        hyperparameters: of this run, shown in a table beside the metrics of its validation, or of
            its training if there is none.
        sample: inputs of the model for a batch of one; None takes the first sample of the
            validation. Without either, there are no activations.

    Raises:
        DataError: a frequency that is no number of epochs or steps, labels that do not fit a
            layer, or hyperparameters that are no numbers, strings or bools.
        MissingExtraError: TensorBoard is not installed.

    Example:
        >>> import tempfile
        >>> from torchbp.train import Trainer
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> trainer = Trainer(nn.Linear(4, 1), nn.MSELoss(), torch.optim.Adam)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     board = TensorBoard(folder, hyperparameters={"lr": 1e-3})
        ...     _ = trainer.fit(x, y, validation_fraction=0.25, callbacks=[board], progress=False)
        ...     sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
        ['train', 'validation']

    Epochs are counted from 1, as the progress bar counts them. Of several processes one writes.
    TensorFlow is not needed, and not loaded where it is installed.

    Differences from Keras: the graph is that of layers, not of TensorFlow's functions; weights,
    gradients, activations, filters, curves and embeddings with their labels are written without
    settings of their own.
    Source: keras.callbacks.TensorBoard, Keras 3.15.
    """

    def __init__(
        self,
        folder: str | Path,
        every: int = 1,
        batches_every: int = 0,
        embeddings: Labels | None = None,
        hyperparameters: dict[str, table.Value] | None = None,
        sample: Any = None,
    ) -> None:
        import_summary_writer()
        _check_frequency("every", every)
        _check_frequency("batches_every", batches_every)
        table.check_hyperparameters(hyperparameters or {})
        self.folder = Path(folder)
        self.every = every
        self.batches_every = batches_every
        self.embeddings = dict(embeddings or {})
        self.hyperparameters = dict(hyperparameters or {})
        self._sample = Sample("TensorBoard", sample)
        self._curves = PrecisionRecall()
        self._writers: Writers | None = None  # in the process that writes
        self._is_training = self._has_begun = self._has_columns = False

    def on_train_begin(self, trainer: Trainer) -> None:
        """Checks what can be checked before the first epoch."""
        check_labels(trainer.model, self.embeddings)
        self._sample.begin(trainer)
        self._is_training, self._has_begun, self._has_columns = True, False, False

    def on_batch_end(self, trainer: Trainer) -> None:
        """Draws the graph with the first batch; writes the scalars of a batch."""
        self._begin(trainer)
        if self._writers is None or not self.batches_every:
            return
        if trainer.global_step % self.batches_every == 0:
            writer, step = self._writers["batches"], trainer.global_step
            writer.add_scalar("batch/loss", trainer.current.total_loss.item(), step)
            writer.add_scalar("batch/lr", lr_of(param_groups(trainer)[0]), step)

    def on_evaluate_begin(self, trainer: Trainer) -> None:
        """Begins to count for the precision-recall curves."""
        self._curves = PrecisionRecall()

    def on_evaluate_batch_end(self, trainer: Trainer) -> None:
        """Counts a batch of the validation."""
        assert isinstance(trainer.current, MeasuredPass)
        if not self._is_training or trainer.current.share.own == 0:
            return
        self._sample.see(trainer)
        if self._is_due(trainer):
            self._curves.add(trainer.current.outputs, trainer.current.targets)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Writes what belongs to the epoch."""
        self._begin(trainer)
        self._write_logs(trainer)
        if self._is_due(trainer):
            self._write_inside(trainer)
            self._write_embeddings(trainer)
        if self._writers is not None:
            self._writers.flush()

    def on_train_end(self, trainer: Trainer) -> None:
        """Writes the embeddings as they are now, and closes the files."""
        self._is_training = False
        if self._has_begun and trainer.error is None:
            self._write_embeddings(trainer)
        if self._writers is not None:
            if self.hyperparameters:
                self._session(trainer).add_summary(table.session_end(trainer.error is None))
            self._writers.close()
            self._writers = None

    def _is_due(self, trainer: Trainer) -> bool:
        return self.every > 0 and (trainer.epoch + 1) % self.every == 0

    def _begin(self, trainer: Trainer) -> None:
        """Opens the files when the first epoch is known, and writes what does not change."""
        if self._has_begun:
            return
        self._has_begun = True
        graph = self._graph(trainer)
        if not trainer.is_main:
            return
        self._writers = Writers(self.folder, trainer.epoch + 1, trainer.global_step)
        train, step = self._writers["train"], trainer.epoch + 1
        if graph is not None:
            train.file_writer.add_event(graph_event(graph))
        train.add_text("model", f"```\n{text_of(trainer.model)}\n```", step)
        if self.hyperparameters:
            start = table.session_start(self.hyperparameters)
            self._session(trainer).add_summary(start, step)

    def _graph(self, trainer: Trainer) -> Any:
        """The GraphDef of the model; of one that is not functional, as the first batch shows it."""
        if isinstance(trainer.model, Model):
            return model_graph(trainer.model)
        inputs = self._sample.inputs
        if inputs is None and trainer.current.inputs is not None:
            inputs = first_sample(trainer.current.inputs)
        return None if inputs is None else traced_graph(trainer.model, inputs)

    def _write_logs(self, trainer: Trainer) -> None:
        if self._writers is None:
            return
        logs = {"lr": lr_of(param_groups(trainer)[0]), **trainer.logs}
        places = {name: contents.place_of(name) for name in logs}
        for name, (run, tag) in places.items():
            self._writers[run].add_scalar(tag, logs[name], trainer.epoch + 1)
        if self.hyperparameters and not self._has_columns:
            self._has_columns = True
            tags = [tag for run, tag in places.values() if run == _compared_run(trainer)]
            columns = table.experiment(self.hyperparameters, tags)
            self._session(trainer).add_summary(columns, trainer.epoch + 1)

    def _session(self, trainer: Trainer) -> Any:
        """The file of the run whose metrics the table of hyperparameters shows."""
        assert self._writers is not None
        return self._writers[_compared_run(trainer)].file_writer

    def _write_inside(self, trainer: Trainer) -> None:
        """Writes what is read from the model; of one that is sharded, all processes read."""
        activations = {}
        if self._sample.inputs is not None:
            activations = activations_of(trainer.model, self._sample.inputs)
        histograms = contents.histograms_of(trainer.model, activations)
        pictures = contents.pictures_of(trainer.model, activations)
        curves = self._curves.curves()
        if self._writers is None:
            return
        step, train = trainer.epoch + 1, self._writers["train"]
        contents.write_histograms(train, histograms, step)
        contents.write_pictures(train, pictures, step)
        if curves:
            contents.write_curves(self._writers["validation"], curves, step)

    def _write_embeddings(self, trainer: Trainer) -> None:
        if self.embeddings and self.every:
            folder = self.folder / "train"
            write_embeddings(folder, trainer.model, self.embeddings, trainer.is_main)


def graph_event(graph: Any) -> Any:
    """The event that holds a GraphDef."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(graph_def=graph.SerializeToString())


def text_of(model: nn.Module) -> str:
    """The table of a functional model, the print of any other."""
    return model.summary() if isinstance(model, Model) else repr(model)


def _compared_run(trainer: Trainer) -> str:
    return "train" if trainer.validation is None else "validation"


def _check_frequency(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 0:
        raise DataError(
            f"TensorBoard: {name}: expected a number of at least 0, got {value!r}.\n"
            "  To mend it: 1 is every one, 0 is none."
        )
