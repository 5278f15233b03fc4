"""The page: its sections, put together."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from .. import __version__, analysis
from ..errors import PhsError
from ..store.snapshot import Snapshot
from ..summary import duration, evaluation_name, set_text, target_name
from . import tables

#: Best sets that are shown as Python.
BEST = 5
#: Kinds of failures that are shown.
MOST_FAILURES = 100
#: Sets that are named of each kind.
NAMED = 20
#: Dots per inch of the figures.
DPI = 110

#: What stands in the message of a figure that cannot be drawn before the reason.
_LACKS = re.compile(r"^has (nothing|too little) for [^:]*: ")
#: A number in a message.
_NUMBER = re.compile(r"\d[\d.]*(?:e[+-]?\d+)?")


@dataclass
class Drawn:
    """Figures of a results file.

    Attributes
    ----------
    figures : dict of str to bytes
        PNG by kind.
    lacking : dict of str to str
        Why a kind is not drawn.
    """

    figures: dict[str, bytes] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)


def draw(snapshot: Snapshot) -> Drawn:
    """Draw all kinds of figures that the file has enough for; imports matplotlib."""
    from ..plotting import KINDS, Options

    drawn, options = Drawn(), Options()
    for kind, make in KINDS.items():
        picture = io.BytesIO()
        try:
            make(snapshot, options).savefig(picture, format="png", dpi=DPI)
        except PhsError as error:
            text = str(error).removeprefix(f"{snapshot.path} ")
            drawn.lacking[kind] = _LACKS.sub("", text)
        else:
            drawn.figures[kind] = picture.getvalue()
    return drawn


def page(snapshot: Snapshot, drawn: Drawn, refresh: float | None = None) -> str:
    """The page as HTML.

    Parameters
    ----------
    snapshot : Snapshot
    drawn : Drawn
        Its figures.
    refresh : float, optional
        Seconds after which a browser is to load the page again; default: never.
    """
    folder = resources.files(__package__)
    style, script, template = (
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js", "page.html")
    )
    sections = [
        ("best", "Best sets", _best(snapshot)),
        ("figures", "Figures", _figures(drawn)),
        ("sets", "All sets", tables.sets_table(snapshot)),
        ("failures", "Failures", _failures(snapshot)),
        ("costs", "Where the time went", _costs(snapshot)),
        ("provenance", "Provenance", _provenance(snapshot)),
    ]
    reload = f'<meta http-equiv="refresh" content="{refresh:.0f}">' if refresh else ""
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(template).substitute(
        title=escape(f"{target_name(snapshot)}: {snapshot.path.name}"),
        target=escape(str(snapshot.definition.get("target", snapshot.path.stem))),
        path=escape(str(snapshot.path)),
        taken=tables.utc(snapshot.taken),
        version=escape(__version__),
        reload=reload,
        live=" (running: this page renews itself)" if refresh else "",
        facts=_facts(snapshot),
        links="".join(f'<a href="#{key}">{head}</a>' for key, head, _ in sections),
        sections="\n".join(
            f'<section id="{key}"><h2>{head}</h2>\n{body}\n</section>'
            for key, head, body in sections
        ),
        style=style,
        script=script,
        allowed=allowed,
    )


def _facts(snapshot: Snapshot) -> str:
    count = analysis.counts(snapshot)
    use = analysis.utilisation(snapshot)
    best = analysis.best(snapshot)
    unit = "sets" if snapshot.repeats.most == 1 else "evaluations"
    facts = [(f"{unit} evaluated", f"{count.finished} of {count.total}")]
    if count.running:
        facts.append(("running", str(count.running)))
    facts.append(("failed", str(count.failed + count.timed_out)))
    if best is not None:
        facts.append((f"best result (set {best})", f"{analysis.results(snapshot)[best]:.6g}"))
    if len(use.worker):
        facts.append(("at work", duration(analysis.wall_time(snapshot))))
        facts.append(("workers", str(len(use.worker))))
        facts.append(("of their time evaluating", f"{100 * use.overall()[0]:.1f} %"))
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)


def _best(snapshot: Snapshot) -> str:
    indices = analysis.ranking(snapshot)[:BEST].tolist()
    if not indices:
        return "<p>No result yet.</p>"
    code = "\n\n".join(set_text(snapshot, index) for index in indices)
    return f"<pre><code>{escape(code)}</code></pre>"


def _figures(drawn: Drawn) -> str:
    parts = [
        f'<figure id="figure-{kind}"><img alt="{kind}" '
        f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        f"<figcaption>{kind}</figcaption></figure>"
        for kind, picture in drawn.figures.items()
    ]
    lacking = "".join(
        f"<li><b>{kind}</b>: {escape(reason)}" for kind, reason in drawn.lacking.items()
    )
    shown = f'<div class="figures">{"".join(parts)}</div>' if parts else ""
    return shown + (f"<p>Not drawn:</p><ul>{lacking}</ul>" if lacking else "")


def _failures(snapshot: Snapshot) -> str:
    """Failed evaluations, those alike together, the most frequent first."""
    failed = np.flatnonzero(snapshot.finished & ~snapshot.done)
    if not len(failed):
        return "<p>None.</p>"
    together: dict[str, dict[int, str]] = {}
    for index, raw in zip(failed.tolist(), snapshot.rows(failed)["error"], strict=True):
        text = tables.decoded(raw)
        together.setdefault(_NUMBER.sub("0", text), {})[index] = text
    order = sorted(together.values(), key=len, reverse=True)
    parts = [_alike(snapshot, texts) for texts in order[:MOST_FAILURES]]
    note = ""
    if len(order) > MOST_FAILURES:
        note = f"<p>{len(order) - MOST_FAILURES} further messages are in the table of sets.</p>"
    return f"<p>{len(failed)} failed evaluations.</p>{''.join(parts)}{note}"


def _alike(snapshot: Snapshot, texts: dict[int, str]) -> str:
    """Failures whose messages differ in numbers only, and the traceback of the first."""
    first, message = next(iter(texts.items()))
    different = len(set(texts.values())) > 1
    lines = [
        evaluation_name(snapshot, index) + (f": {text}" if different else "")
        for index, text in list(texts.items())[:NAMED]
    ]
    if len(texts) > NAMED:
        lines.append(f"{len(texts) - NAMED} more")
    body = _listed(lines) if different else f"<p>{escape(', '.join(lines))}</p>"
    trace = snapshot.traceback(first)
    if trace:
        where = f"End of the traceback of {evaluation_name(snapshot, first)}:"
        body += f"<p>{where}</p><pre>{escape(trace)}</pre>"
    head = escape(message or "no message")
    if len(texts) > 1:
        head = f"{len(texts)} × {head}{' (and alike)' if different else ''}"
    return f"<details><summary>{head}</summary>{body}</details>"


def _costs(snapshot: Snapshot) -> str:
    if not snapshot.finished.any():
        return "<p>No finished evaluation yet.</p>"
    return tables.costs_table(snapshot) + (
        "<p>Waiting is all between two evaluations but the proposal: writing the row, the way to "
        "the next set and back. Exchanging is what it takes to receive everybody's results; that "
        "is done beside all three, and lies within them.</p>"
    )


def _provenance(snapshot: Snapshot) -> str:
    shown = [(name, value) for name, value in snapshot.attributes.items() if value != ""]
    skipped = ("parameters", "groups", "seed", "target")
    shown += [(k, v) for k, v in snapshot.definition.items() if k not in skipped]
    rows = "".join(f"<tr><th scope=row>{escape(str(k))}<td>{escape(str(v))}" for k, v in shown)
    source = (
        "<details><summary>experiment.py</summary>"
        f"<pre><code>{escape(snapshot.source)}</code></pre></details>"
        if snapshot.source
        else "<p>The source of the experiment is not in the file.</p>"
    )
    groups = _listed(
        f"{group['count']} sets: "
        + ", ".join(f"{name} {_strategy(how)}" for name, how in group["strategies"].items())
        for group in snapshot.definition["groups"]
    )
    return f'<table class="plain">{rows}</table><p>Groups of sets:</p>{groups}{source}'


def _listed(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}' for item in items)}</ul>"


def _strategy(described: dict[str, Any]) -> str:
    options = {
        k: v for k, v in described.items() if k != "strategy" and v is not None and v is not False
    }
    shown = ", ".join(f"{k}={_short(v)}" for k, v in options.items())
    return f"{described['strategy']}({shown})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
