import pytest

from tests.callbacks.loop import resumed, run
from torchbp.callbacks import CSVLogger
from torchbp.train import Trainer

VALUES = [0.5, 0.25, 0.125]
LINES = ["epoch,loss,score,val_loss,val_score", "0,0.0,0.5,NA,NA", "1,0.0,0.25,NA,NA"]


def lines(path):
    return path.read_text().splitlines()


def test_writes_a_line_for_each_epoch_under_one_header(tmp_path):
    path = tmp_path / "new" / "log.csv"
    run(VALUES[:2], CSVLogger(path))
    assert lines(path) == LINES


def test_each_line_is_there_when_its_epoch_ends(tmp_path):
    path, counts = tmp_path / "log.csv", []
    run(VALUES, CSVLogger(path), lambda trainer: counts.append(len(lines(path))))
    assert counts == [2, 3, 4]


def test_a_file_is_replaced_or_gone_on_with(tmp_path):
    path = tmp_path / "log.csv"
    run(VALUES[:2], CSVLogger(path))
    run(VALUES[:2], CSVLogger(path))
    assert lines(path) == LINES
    run(VALUES[:2], CSVLogger(path, append=True))
    assert lines(path) == LINES + LINES[1:]


def test_a_file_that_is_gone_on_with_keeps_its_columns(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,score,lr\n7,0.5,0.1\n")
    with pytest.warns(UserWarning, match="no column for loss; they are left out"):
        run(VALUES[:1], CSVLogger(path, append=True))
    assert lines(path) == ["epoch,score,lr", "7,0.5,0.1", "0,0.5,NA"]


def test_a_number_that_comes_later_is_left_out_with_a_warning(tmp_path):
    path = tmp_path / "log.csv"

    def add(trainer):
        if trainer.epoch == 1:
            trainer.logs["lr"] = 0.1

    with pytest.warns(UserWarning, match="no column for lr"):
        run(VALUES[:2], add, CSVLogger(path))
    assert lines(path) == LINES


def test_a_file_that_cannot_be_written_is_found_before_the_first_epoch(tmp_path):
    epochs = []
    with pytest.raises(IsADirectoryError):
        run(VALUES, CSVLogger(tmp_path), lambda trainer: epochs.append(trainer.epoch))
    assert epochs == []


def test_only_the_main_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "is_main", False)
    run(VALUES, CSVLogger(tmp_path / "log.csv"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("beyond", [0, 1, 3])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("append", [False, True])
def test_after_a_resume_no_line_is_there_twice_or_lost(tmp_path, append, cut, beyond):
    """Checkpoints are after each of two steps of an epoch, and at its end."""
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    for path in (whole, broken):
        path.write_text("epoch,loss,score\r\n9,9,9\r\n", newline="")
    run(VALUES, CSVLogger(whole, append), samples=2)
    resumed(VALUES, lambda: [CSVLogger(broken, append)], cut, beyond=beyond, samples=2)
    assert broken.read_bytes() == whole.read_bytes()


def test_lines_that_have_vanished_before_a_resume_are_a_warning(tmp_path):
    path = tmp_path / "log.csv"

    def make():
        path.unlink(missing_ok=True)
        return [CSVLogger(path)]

    with pytest.warns(UserWarning, match="bytes of earlier epochs in .*, got 0"):
        resumed(VALUES, make, cut=2)
    assert [line[0] for line in lines(path)] == ["e", "1", "2"]
