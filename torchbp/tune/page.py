"""A search as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections import Counter
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from torchbp.train.files import write_atomically
from torchbp.tune.parallel import plot_parallel
from torchbp.tune.pictures import (
    plot_front,
    plot_history,
    plot_importances,
    plot_intermediate,
    plot_slices,
)
from torchbp.tune.progress import told

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

    from torchbp.tune.study import Study


def write_page(study: Study, path: Path) -> Path:
    """Writes the page of `Study.page`."""
    write_atomically(path, lambda file: file.write(html_page(study).encode()))
    return path


def html_page(study: Study) -> str:
    """The whole page.

    Raises:
        DataError: no trial is complete.
        MissingExtraError: matplotlib is not installed.
    """
    name = escape(study.optuna.study_name)
    body = "\n".join([_head(study), *_figures(study), _trials(study)])
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>Search {name}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(study: Study) -> str:
    best, trials = study.best, study.optuna.get_trials(deepcopy=False)
    states = Counter(trial.state.name.lower() for trial in trials)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    params = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{_value(value)}</dd></div>"
        for name, value in best.params.items()
    )
    epochs = sum(trial.user_attrs.get("epochs", 0) for trial in trials)
    return (
        f"<header><h1>Search {escape(study.optuna.study_name)}</h1>"
        f"<p>{len(trials)} trials ({counted}), {epochs:,} training epochs, "
        f"{study.split.num_validation:,} validation samples, sampler "
        f"{type(study.optuna.sampler).__name__}, pruner {type(study.optuna.pruner).__name__}.</p>"
        f'<p class="best">The best: <b>{escape(study.monitor)} {best.values[0]:.4g}</b>, trial '
        f"{best.number}, {best.user_attrs.get('parameters', 0):,} parameters</p>"
        f"<dl>{params}</dl>{_guard(study)}</header>"
    )


def _guard(study: Study) -> str:
    openings = study.optuna.user_attrs.get("test_openings", [])
    text = (
        f"Choosing the best of {len(study.complete())} by one validation set is expected to make "
        f"its score {study.optimism():.4f} too good. "
    )
    if not openings:
        return f"<p>{text}The test set is closed.</p>"
    items = "".join(
        f"<li>{escape(opening['time'])}: trial {opening['trial']}, test score "
        f"{opening['test']:.4f}, after {opening['num_trials']} trials</li>"
        for opening in openings
    )
    return f"<p>{text}The test set was opened:</p><ul>{items}</ul>"


def _figures(study: Study) -> list[str]:
    shown = [
        (
            "How it went",
            "each trial's score, and the best so far; a mark on the edge is beyond it",
            plot_history(study),
        ),
        ("What matters", "the part of each parameter in good scores", plot_importances(study)),
        (
            "Each parameter",
            "late trials are darker; a point on the edge is beyond it",
            plot_slices(study),
        ),
        ("All parameters", "good trials are dark, the best is orange", plot_parallel(study)),
    ]
    if study.cost_name is not None:
        shown.insert(1, ("Score and cost", "numbers are those of the trials", plot_front(study)))
    if any(trial.intermediate_values for trial in study.optuna.get_trials(deepcopy=False)):
        steps = ("Within the trials", "a cross is where one was pruned", plot_intermediate(study))
        shown.insert(1, steps)
    return [
        f"<section><h2>{title}</h2><p>{what}</p>{_picture(figure, title)}</section>"
        for title, what, figure in shown
    ]


def _picture(figure: Figure, title: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{title}" src="data:image/svg+xml;base64,{data}"/>'


def _trials(study: Study) -> str:
    trials = study.optuna.get_trials(deepcopy=False)
    best = study.best.number
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    heads = "".join(
        f'<th scope="col">{escape(name)}</th>'
        for name in ("trial", "how it ended", "epochs", "seconds", *names)
    )
    rows = "".join(_row(trial, names, study.monitor, trial.number == best) for trial in trials)
    return (
        f"<section><h2>Every trial</h2><div class='wide'><table><tr>{heads}</tr>{rows}</table>"
        "</div></section>"
    )


def _row(trial: FrozenTrial, names: list[str], monitor: str, is_best: bool) -> str:
    kind = "best" if is_best else trial.state.name.lower()
    cells = [
        str(trial.number),
        escape(told(trial, monitor)),
        str(trial.user_attrs.get("epochs", "")),
        _value(trial.user_attrs.get("seconds", "")),
        *(_value(trial.params.get(name, "")) for name in names),
    ]
    return f'<tr class="{kind}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else escape(str(value))


_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6878;--line:#d9dee6;--paper:#fbfcfd;
--best:#b45c0a;--bad:#b3123d}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b5;--line:#343d4b;
--paper:#12161d;--best:#f0a04b;--bad:#e2456d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .6rem}
h2{font-size:1.15rem;margin:2.2rem 0 0}
section p,header p{margin:.2rem 0 .6rem;color:var(--soft);max-width:46rem}
header .best{font-size:1.05rem;color:var(--ink)}.best b{color:var(--best)}
dl{display:flex;flex-wrap:wrap;gap:.5rem;margin:.6rem 0}
dl div{border:1px solid var(--line);border-radius:6px;padding:.25rem .7rem}
dt{font-size:.75rem;color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums}
img{display:block;max-width:100%;height:auto;background:#fff;border:1px solid var(--line);
border-radius:8px;padding:.6rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.83rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);
vertical-align:top;white-space:nowrap}
tr.best td{color:var(--best);font-weight:600}tr.pruned td{color:var(--soft)}
tr.fail td:nth-child(2){color:var(--bad);white-space:normal;min-width:18rem}
"""
