import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from tests.parity.made import COUNT, RECORDS
from torchbp.errors import DataError, MissingExtraError, TorchbpError
from torchbp.parity import chapters_optimizers, command, load_cases, run, suite, tolerances
from torchbp.parity.optimizers import rounding

CASES = """
from torch import nn
from torchbp.parity import Case, Sizes
import beside
def make(name):
    return Case(name, None, nn.Identity, None, (), (), Sizes(1), Sizes(1))
CASES = [make("first"), make("second")]
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Loading cases prepares Keras's environment: leave this process's own as it was."""
    for name in ("KERAS_BACKEND", "KERAS_TORCH_DEVICE", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def cases_file(tmp_path):
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "cases").mkdir()
    path = tmp_path / "cases" / "cases.py"
    path.write_text(CASES)
    return path


def test_cases_are_found_with_what_lies_beside_their_folder(cases_file):
    before = list(sys.path)
    cases = load_cases(cases_file)
    assert [(case.name, case.source) for case in cases] == [
        ("first", cases_file),
        ("second", cases_file),
    ]
    assert sys.path == before


def test_some_cases_can_be_chosen(cases_file):
    assert [case.name for case in load_cases(cases_file, ["second"])] == ["second"]


def test_an_unknown_name_is_an_error_that_lists_the_names(cases_file):
    with pytest.raises(DataError, match=r"got third\.\n.*choose from first, second"):
        load_cases(cases_file, ["first", "third"])


def test_a_file_without_cases_is_an_error(cases_file):
    cases_file.write_text("CASES = []")
    with pytest.raises(DataError, match="expected a list CASES"):
        load_cases(cases_file)
    with pytest.raises(DataError, match="does not exist"):
        load_cases(cases_file.with_name("nothing.py"))


def test_missing_keras_is_an_error_that_names_the_extra(cases_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    cases_file.write_text("import keras")
    with pytest.raises(MissingExtraError, match=r"torchbp\[parity\]"):
        load_cases(cases_file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtypes": ["float16"]}, "expected a dtype out of .*'float64'.* got"),
        ({"references": ["jax"]}, "expected a reference out of"),
        ({"levels": [8]}, "expected a level out of"),
        ({"dtypes": []}, "expected a dtype"),
    ],
)
def test_unknown_settings_are_errors(options, message):
    with pytest.raises(DataError, match=message):
        run([], **options)


@pytest.mark.parametrize(("records", "status"), [([COUNT], 0), (RECORDS, 1)])
def test_exit_status_and_files(records, status, cases_file, tmp_path, monkeypatch):
    asked = {}

    def measured(cases, **options):
        asked.update(options, cases=[case.name for case in cases])
        options["progress"]("keras-torch", "first, float64, counts")
        return records

    monkeypatch.setattr(command, "run", measured)
    console = Console(file=io.StringIO(), width=100)
    found = command.parity(
        cases_file,
        only=["first"],
        dtypes=["float64"],
        json=tmp_path / "parity.json",
        html=tmp_path / "parity.html",
        console=console,
    )
    assert found == status
    assert (asked["cases"], asked["dtypes"], asked["device"]) == (["first"], ["float64"], "cpu")
    assert json.loads((tmp_path / "parity.json").read_text()) == records
    assert (tmp_path / "parity.html").read_text().startswith("<!DOCTYPE html>")
    assert ("out of tolerance" in console.file.getvalue()) is bool(status)


def test_parity_is_imported_without_keras_numpy_or_rich():
    code = (
        "import sys, torchbp.parity.command\n"
        "print([n for n in ('keras', 'tensorflow', 'rich', 'h5py') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_cases_without_a_file_cannot_go_to_another_process(cases_file, monkeypatch):
    monkeypatch.setattr(suite, "backend_here", lambda: "keras-tensorflow")
    case = load_cases(cases_file)[0]
    made_here = type(case)(**{**vars(case), "source": None})
    with pytest.raises(DataError, match="cases loaded from one file"):
        run([made_here], references=["keras-torch"])


def test_a_process_that_dies_says_why(cases_file, monkeypatch):
    cases_file.write_text(
        f"{CASES}\nimport os\nif os.environ['KERAS_BACKEND'] == 'torch': raise OSError('no room')"
    )
    monkeypatch.setattr(suite, "backend_here", lambda: "keras-tensorflow")
    with pytest.raises(TorchbpError, match=r"keras-torch ended with status 1[\s\S]*no room"):
        run(load_cases(cases_file), references=["keras-torch"])


def test_constants_are_rounded_for_tensorflow_only():
    assert rounding("keras-torch")(0.9) == 0.9
    assert rounding("keras-tensorflow")(0.9) == 0.8999999761581421


def test_optimizers_are_the_chapters():
    assert [(o.name, o.lr, o.adaptive) for o in chapters_optimizers()] == [
        ("sgd", 1e-2, False),
        ("rmsprop", 1e-3, True),
        ("adam", 1e-3, True),
    ]


@pytest.mark.parametrize(
    ("adaptive", "steps", "smooth", "large", "bounds"),
    [
        (False, 10, True, False, (1e-10, 1e-5)),
        (False, 10, False, False, (1e-10, 1e-4)),
        (False, 10, False, True, (1e-10, 5e-2)),
        (True, 10, True, False, (1e-9, 1e-4)),
        (True, 50, False, False, (1e-8, 1e-3)),
        (True, 10, False, True, (1e-8, 5e-2)),
    ],
)
def test_bounds_of_training(adaptive, steps, smooth, large, bounds):
    bound = tolerances.training(adaptive, steps, smooth, large)
    assert (bound.of("float64"), bound.of("float32")) == bounds
