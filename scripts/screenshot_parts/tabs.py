"""The tabs of TensorBoard: where they are, when they have content, and what to click."""

import time
from dataclasses import dataclass
from typing import Any

from screenshot_parts.browser import Page

SIZE = 1280, 800

# Elements inside of web components and frames, which a plain query does not find.
ALL = """
const all = (selector, root = document) => [
  ...root.querySelectorAll(selector),
  ...[...root.querySelectorAll('*')].filter(e => e.shadowRoot)
    .flatMap(e => all(selector, e.shadowRoot)),
  ...[...root.querySelectorAll('iframe')].filter(f => f.contentDocument)
    .flatMap(f => all(selector, f.contentDocument)),
];
const button = label => all('button').filter(b => b.ariaLabel == label);
"""


@dataclass(frozen=True)
class Tab:
    """A tab of TensorBoard.

    Args:
        name: of the screenshot.
        address: behind the server's.
        content: JavaScript for the list of what the tab shows.
        click: JavaScript that brings it out.
    """

    name: str
    address: str
    content: str
    click: str = ""


CLOSE_SETTINGS = (
    "all('metrics-dashboard-right-pane').length && button('Toggle settings side pane')[0].click()"
)

TABS = (
    Tab(
        "scalars",
        "?tagFilter=epoch%2F&smoothing=0#timeseries",
        "all('scalar-card').map(c => c.textContent)"
        ".filter(t => t.includes('train') && t.includes('validation'))",
        "all('mat-checkbox').find(c => c.textContent.includes('Ignore outliers'))"
        f"?.querySelector('input').click(); {CLOSE_SETTINGS}",
    ),
    Tab(
        "graph",
        "#graphs",
        "all('g.node').map(n => n.dataset.name)",
        "all('g.node[data-name=conv_1] ellipse')[0]"
        "?.dispatchEvent(new MouseEvent('click', {bubbles: true}))",
    ),
    Tab(
        "histograms",
        "?tagFilter=gradients#timeseries",
        "all('histogram-card').map(c => c.textContent)",
        CLOSE_SETTINGS,
    ),
    Tab(
        "images",
        "#images",
        "all('img').filter(i => i.naturalWidth > 0).map(i => [i.naturalWidth, i.naturalHeight])",
    ),
    Tab(
        "projector",
        "#projector",
        "[Number(all('.numDataPoints')[0]?.textContent)]",
        "all('#labels3DMode')[0].click()",
    ),
    Tab(
        "precision_recall",
        "#pr_curves",
        "all('.line-plot path').map(p => p.getAttribute('d')).filter(d => d.length > 20)",
    ),
    Tab(
        "hyperparameters",
        "#hparams",
        "all('vaadin-grid-cell-content').map(c => c.textContent.trim())",
    ),
    Tab("text", "#text", "all('pre').map(p => p.textContent)"),
)


def show(page: Page, server: str, tab: Tab) -> list[Any]:
    """Opens a tab, waits until it shows something, and returns what that is."""
    page.resize(*SIZE)
    page.open("about:blank")
    page.open(server + tab.address)
    page.wait_for(inside(f"{tab.content}.filter(Boolean).length"))
    page.evaluate(inside(tab.click or "0"))
    time.sleep(2)  # charts and points move to their places
    return page.evaluate(inside(tab.content))


def inside(script: str) -> str:
    """An expression that can use `all` and `button`."""
    *steps, last = script.split(";")
    return f"(() => {{ {ALL} {';'.join(steps)}; return ({last}); }})()"
