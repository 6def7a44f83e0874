"""Faults put into the torch models of right cases, and where the suite finds them."""

from dataclasses import replace

from torchbp.parity import run


def with_fault(case, change):
    """The case with something changed in its torch model."""

    def broken(**sizes):
        model = case.torch_model(**sizes)
        change(model)
        return model

    return replace(case, torch_model=broken)


def records_of(case, levels):
    return run([case], dtypes=("float64",), references=("keras-tensorflow",), levels=levels)


def first_failure(case, up_to_level):
    """The first level that fails and the layer named there, in a list; empty where none fails."""
    records = records_of(case, range(1, up_to_level + 1))
    failing = [(r["level"], r.get("layer")) for r in records if not r["ok"]]
    return failing[:1]
