"""Records as `run` gives them, made by hand."""


def record(**changes):
    made = {
        "case": "mlp",
        "level": 3,
        "name": "forward",
        "what": "output classes",
        "dtype": "float64",
        "device": "cpu",
        "reference": "keras-tensorflow",
        "value": 1e-15,
        "tolerance": 1e-12,
        "ok": True,
    }
    return made | changes


COUNT = record(level=1, name="counts", what="total", value=0, tolerance=0, keras=3466, torch=3466)
WRONG = record(
    case="<qa>",
    level=5,
    name="gradients",
    what="gradients",
    reference="keras-torch",
    value=None,
    tolerance=1e-11,
    ok=False,
    layer="text_lstm",
    cause="a < b & c",
)
RECORDS = [COUNT, record(), record(case="<qa>"), WRONG]
