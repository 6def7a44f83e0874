"""Records as one HTML page: a heat map of all cases and levels, and every figure below it.

The page needs nothing else: no script, no picture, no font from elsewhere. It says nothing of the
machine that made it beyond the versions of the libraries.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from html import escape
from importlib.metadata import PackageNotFoundError, version

from torchbp.parity import tolerances
from torchbp.parity.bench import LEVEL_NAMES, Record
from torchbp.parity.report import (
    BACKENDS,
    cases_of,
    cell,
    cell_text,
    figure,
    levels_of,
    settings_of,
    strain,
    summary,
)

_QUESTIONS = {
    1: "the same parameters, layer by layer?",
    2: "the same shapes, unknown sizes unknown?",
    3: "the same outputs in inference?",
    4: "the same outputs and statistics in training mode?",
    5: "the same gradient for every weight?",
    6: "the same weights after training?",
    7: "back in Keras and its file, the same outputs?",
}

# From "as close as the tolerance" to "six digits and more to spare": all of them readable under
# dark text, and told apart by their lightness with any kind of colour vision.
_SCALE = ((253, 231, 150), (196, 225, 152), (130, 205, 160), (74, 176, 160), (48, 158, 160))
_DIGITS = 6


def html_page(records: list[Record], notes: Mapping[str, str] | None = None) -> str:
    """The whole page.

    Args:
        records: what `run` returned.
        notes: for a case, where the two frameworks really differ.

    Returns:
        HTML that passes for XML, in one file.
    """
    parts = [
        _head(records),
        _heat_map(records),
        _legend(),
        _failures(records),
        *(_details(records, case, (notes or {}).get(case, "")) for case in cases_of(records)),
        _tolerances(),
        _versions(records),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>Parity of torchbp and Keras</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(records: list[Record]) -> str:
    good = all(record["ok"] for record in records)
    mark, kind = ("&#10003;", "good") if good else ("&#10007;", "bad")
    return (
        "<header><h1>torchbp and Keras, measured against each other</h1>"
        f'<p class="verdict {kind}"><span>{mark}</span> {escape(summary(records))}</p>'
        "<p>Each case is one model written twice, in Keras and in torch. The weights are copied, "
        "both sides get the same data, and seven questions are asked. A cell shows the figure "
        "that comes nearest to its tolerance; point at it for all of them.</p></header>"
    )


def _heat_map(records: list[Record]) -> str:
    levels = levels_of(records)
    heads = "".join(
        f'<th scope="col"><b>{level}</b> {LEVEL_NAMES[level]}'
        f"<small>{_QUESTIONS[level]}</small></th>"
        for level in levels
    )
    rows = "".join(_rows(records, case, levels) for case in cases_of(records))
    return (
        '<div class="wide"><table class="map"><thead><tr><th scope="col">case</th>'
        f'<th scope="col">against</th>{heads}</tr></thead>{rows}</table></div>'
    )


def _rows(records: list[Record], case: str, levels: list[int]) -> str:
    settings = settings_of(record for record in records if record["case"] == case)
    rows = []
    for i, (reference, dtype) in enumerate(settings):
        name = (
            f'<th scope="rowgroup" rowspan="{len(settings)}">{escape(case)}</th>' if not i else ""
        )
        cells = "".join(_cell(cell(records, case, reference, dtype, level)) for level in levels)
        against = f"{BACKENDS[reference].removeprefix('Keras on ')} <i>{dtype}</i>"
        rows.append(f'<tr>{name}<th scope="row">{against}</th>{cells}</tr>')
    return f"<tbody>{''.join(rows)}</tbody>"


def _cell(found: list[Record]) -> str:
    if not found:
        return "<td></td>"
    lines = "".join(
        f"<li>{'' if r['ok'] else '&#10007; '}{escape(r['what'])}: <b>{figure(r)}</b>"
        f"{_place(r)}</li>"
        for r in found[:8]
    )
    more = f"<li>and {len(found) - 8} more</li>" if len(found) > 8 else ""
    tip = f'<div class="tip"><ul>{lines}{more}</ul>tolerance {found[0]["tolerance"]:g}</div>'
    style = f' style="background:{_colour(found[0])}"' if found[0]["ok"] else ""
    kind = "cell" if found[0]["ok"] else "cell bad"
    kind += " early" if found[0]["level"] <= 3 else ""
    return f'<td class="{kind}"{style} tabindex="0">{cell_text(found)}{tip}</td>'


def _colour(record: Record) -> str:
    """The colour of a figure by log10(value / tolerance)."""
    ratio = strain(record)
    digits = _DIGITS if ratio == 0 else min(max(-math.log10(ratio), 0.0), _DIGITS)
    place = digits / _DIGITS * (len(_SCALE) - 1)
    lower = min(int(place), len(_SCALE) - 2)
    mixed = (
        round(a + (b - a) * (place - lower))
        for a, b in zip(_SCALE[lower], _SCALE[lower + 1], strict=True)
    )
    return f"rgb({','.join(map(str, mixed))})"


def _legend() -> str:
    steps = "".join(
        f'<span style="background:{_colour({"ok": True, "value": 10.0**-n, "tolerance": 1.0})}">'
        f"{n if n < _DIGITS else f'{n}+'}</span>"
        for n in range(_DIGITS + 1)
    )
    return (
        f'<p class="legend">digits between the figure and its tolerance: {steps} '
        '<span class="bad">&#10007; out of tolerance</span></p>'
    )


def _failures(records: list[Record]) -> str:
    rows = "".join(
        f"<tr><td>{escape(r['case'])}</td><td>{r['level']} {r['name']}</td>"
        f"<td>{escape(r.get('layer', ''))}</td><td>{escape(r['what'])}</td>"
        f"<td>{BACKENDS[r['reference']]}, {r['dtype']}</td><td>{figure(r)}</td>"
        f"<td>{r['tolerance']:g}</td><td>{escape(r.get('cause', ''))}</td></tr>"
        for r in records
        if not r["ok"]
    )
    names = ("case", "level", "first layer", "what", "against", "figure", "tolerance", "cause")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    table = f'<div class="wide"><table class="list"><tr>{heads}</tr>{rows}</table></div>'
    return f"<section><h2>Out of tolerance</h2>{table}</section>" if rows else ""


def _details(records: list[Record], case: str, note: str) -> str:
    own = [record for record in records if record["case"] == case]
    settings = settings_of(own)
    heads = "".join(
        f'<th scope="col">{BACKENDS[reference]}<small>{dtype}</small></th>'
        for reference, dtype in settings
    )
    rows = []
    for level, what in dict.fromkeys((record["level"], record["what"]) for record in own):
        cells = []
        for setting in settings:
            found = [
                r
                for r in own
                if (r["level"], r["what"]) == (level, what)
                and (r["reference"], r["dtype"]) == setting
            ]
            cells.append(_figures(found))
        label = f'<th scope="row">{level} {LEVEL_NAMES[level]}</th><td>{escape(what)}</td>'
        rows.append(f"<tr>{label}{''.join(cells)}</tr>")
    told = f"<p>{escape(note)}</p>" if note else ""
    table = (
        '<div class="wide"><table class="list"><tr><th scope="col">level</th>'
        f'<th scope="col">what</th>{heads}</tr>{"".join(rows)}</table></div>'
    )
    return f"<details><summary>{escape(case)}: every figure</summary>{told}{table}</details>"


def _figures(found: list[Record]) -> str:
    if not found:
        return "<td></td>"
    record = found[0]
    kind = "" if record["ok"] else ' class="bad"'
    bound = f"<small>of {record['tolerance']:g}</small>" if record["tolerance"] else ""
    return f"<td{kind}>{figure(record)}{bound}</td>"


def _place(record: Record) -> str:
    return f" at {escape(record['layer'])}" if "layer" in record else ""


def _tolerances() -> str:
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{bound.float64:g}</td><td>{bound.float32:g}</td>'
        f"<td>{escape(bound.why)}</td></tr>"
        for name, bound in tolerances.table().items()
    )
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("what", "float64", "float32", "reason")
    )
    table = f'<div class="wide"><table class="list"><tr>{heads}</tr>{rows}</table></div>'
    return (
        "<details><summary>tolerances and their reasons</summary>"
        f"<p>{escape(tolerances.MEASURE)}</p>{table}</details>"
    )


def _versions(records: list[Record]) -> str:
    devices = ", ".join(dict.fromkeys(record["device"] for record in records))
    packages = []
    for name in ("torchbp", "torch", "keras", "tensorflow", "numpy"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue  # a package that is not there took no part
    made_with = ", ".join([*packages, f"Python {platform.python_version()}"])
    return f"<footer>torch on {escape(devices)}, Keras on cpu. {escape(made_with)}.</footer>"


_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6878;--line:#d9dee6;--paper:#fbfcfd;
--card:#fff;--bad:#b3123d;--good:#15685f}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b5;--line:#343d4b;
--paper:#12161d;--card:#1a202a;--bad:#e2456d;--good:#57c3b2}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .6rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
header p{max-width:46rem;margin:.4rem 0;color:var(--soft)}
header .verdict{font-size:1.05rem;font-weight:600;color:var(--good)}
header .verdict.bad{color:var(--bad)}
.wide{overflow-x:auto;padding-bottom:.25rem}
@media (min-width:1000px){.wide{overflow:visible}}
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums}
small{display:block;font-weight:400;color:var(--soft);font-size:.75rem;line-height:1.3}
.map{width:100%;margin-top:1.25rem;border-spacing:2px}
.map thead th{text-align:left;vertical-align:top;padding:.3rem .4rem;font-weight:600;
font-size:.85rem;min-width:5.6rem}
.map tbody th{text-align:left;padding:.2rem .6rem .2rem 0;font-weight:400;white-space:nowrap;
font-size:.85rem}
.map tbody th[scope=rowgroup]{font-weight:600;vertical-align:top;padding-top:.35rem}
.map i{color:var(--soft);font-style:normal}
.map tbody tr:first-child>*{border-top:1px solid var(--line)}
.cell{position:relative;text-align:right;padding:.3rem .5rem;border-radius:4px;color:#10211f;
font-size:.85rem;white-space:nowrap}
.cell.bad,.legend .bad{background:#b3123d;color:#fff;font-weight:600}
.tip{display:none;position:absolute;z-index:2;right:0;top:100%;margin-top:4px;padding:.5rem .7rem;
background:var(--card);color:var(--ink);border:1px solid var(--line);border-radius:6px;
box-shadow:0 6px 24px rgba(0,0,0,.18);text-align:left;font-weight:400;font-size:.8rem;
white-space:nowrap}
.early .tip{right:auto;left:0}
.tip ul{margin:0 0 .2rem;padding:0;list-style:none}
.cell:hover .tip,.cell:focus .tip{display:block}
.cell:hover,.cell:focus{outline:2px solid var(--ink);outline-offset:1px}
.legend{font-size:.8rem;color:var(--soft)}
.legend span{display:inline-block;min-width:1.9rem;padding:.15rem .4rem;text-align:center;
color:#10211f;border-radius:3px;margin:0 1px}
.list{width:100%;font-size:.83rem;margin:.5rem 0}
.list th,.list td{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
.list th{font-weight:600}.list th[scope=row]{font-weight:400;color:var(--soft);white-space:nowrap}
.list td small{display:inline;margin-left:.35rem}.list td.bad{color:var(--bad);font-weight:600}
details{border-top:1px solid var(--line);padding:.6rem 0}
summary{cursor:pointer;font-weight:600}
details p{max-width:46rem;color:var(--soft)}
footer{border-top:1px solid var(--line);margin-top:1rem;padding-top:.8rem;color:var(--soft);
font-size:.8rem}
"""
