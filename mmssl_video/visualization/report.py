"""Write the HTML report: what was run, its results, its loss curves, and further commands.

It is one self-contained page from ``report.html.j2``: no script, no network, pictures inside.
"""

import base64
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path

from .sheets import Sheet, Tile

METRICS = {
    'R@1': ('Retrieval R@1', 'the nearest video has the same class'),
    'R@5': ('Retrieval R@5', 'one of the five nearest videos has the same class'),
    'svm_top1': ('Linear SVM top-1', 'a linear classifier predicts the class'),
    'probe_top1': (
        'Linear probe top-1',
        'logistic regression on normalised features predicts the class',
    ),
    'finetune_top1': ('Fine-tuned top-1', 'the whole network, trained with a few labels'),
    'proposal_auc': ('Proposals, AUC', 'intervals that hold an action are found in long videos'),
}
FEATURES = {
    'pretrained': 'pretrained',
    'random': 'random weights',
    'mean_frame': 'mean frame',
    'frame_difference': 'frame difference',
}
# Matplotlib draws with these colours; the page replaces them with its own, light or dark.
STAND_INS = {'#000101': 'var(--accent)', '#000102': 'var(--muted)', '#000103': 'var(--line)'}
ACCENT, MUTED, LINE = STAND_INS


class Curve(NamedTuple):
    """One scalar over the training steps.

    Attributes:
        steps (np.ndarray): [L], ascending.
        values (np.ndarray): [L]; NaN and infinity leave a gap.
        chance (float | None): The loss of a guess, drawn as a dashed line.
        note (str): A line below the chart.
    """

    steps: np.ndarray
    values: np.ndarray
    chance: float | None = None
    note: str = ''


class Picture(NamedTuple):
    """A picture with its own section.

    Attributes:
        title (str): Heading of the section.
        text (str): Description in a sentence or two.
        path (str | os.PathLike): A PNG file, which is embedded in the page.
    """

    title: str
    text: str
    path: str | os.PathLike


def read_scalars(*paths: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the scalars that MMEngine's ``LocalVisBackend`` logged, over all resumed runs.

    A resumed run replaces the scalars of earlier runs from its first step on, because these steps
    were repeated. An incomplete line of an interrupted run is left out.

    Args:
        paths: Files ``scalars.json`` in the order of the runs, or work directories. These mean
            ``*/vis_data/scalars.json`` in them, by name (MMEngine names a run by its start time).

    Returns:
        dict: For each scalar (``loss``, ``loss_inter``, ``lr``, ...) its steps int64 [L],
        ascending, and values float64 [L].

    Raises:
        UserError: If a path has no scalars.
    """
    merged: dict[str, dict[int, float]] = {}
    for path in map(Path, paths):
        files = sorted(path.glob('*/vis_data/scalars.json')) if path.is_dir() else [path]
        runs = [_read_run(file) for file in files if file.is_file()]
        if not any(runs):
            raise UserError(
                f'{path}: no logged scalars; give a scalars.json of LocalVisBackend or a work_dir'
                ' with one'
            )
        for run in runs:
            for key, points in run.items():
                first = min(points)
                before = {s: v for s, v in merged.get(key, {}).items() if s < first}
                merged[key] = before | points
    return {
        key: (
            np.array(sorted(points), dtype=np.int64),
            np.array([points[step] for step in sorted(points)], dtype=np.float64),
        )
        for key, points in merged.items()
    }


def _read_run(file: Path) -> dict[str, dict[int, float]]:
    """Read one ``scalars.json`` as ``{scalar: {step: value}}``."""
    run: dict[str, dict[int, float]] = {}
    for line in file.read_text(errors='replace').splitlines():
        try:
            record = json.loads(line)
            step = record.pop('step')
        except (ValueError, AttributeError, KeyError, TypeError):
            continue
        for key, value in record.items():
            if isinstance(value, int | float):
                run.setdefault(key, {})[step] = value
    return run


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    summary: str = '',
    warnings: Sequence[str] = (),
    metrics: Mapping[str, object] | None = None,
    curves: Mapping[str, Curve] | None = None,
    notes: Sequence[str] = (),
    sheets: Sequence[Sheet] = (),
    pictures: Sequence[Picture] = (),
    commands: Sequence[tuple[str, str]] = (),
    facts: Mapping[str, object] | None = None,
) -> None:
    """Write the report, atomically. A part without content is left out.

    Args:
        path: The ``.html`` file.
        title: Heading of the page.
        summary: What was run, in a sentence or two.
        warnings: Warnings in sentences, at the top of the page, for example those of
            :func:`~mmssl_video.engine.hooks.read_messages` for a run.
        metrics: ``{features: {metric: percent}}``, with features such as ``pretrained``,
            ``random``, ``mean_frame`` and metrics such as ``R@1``, ``R@5``, ``svm_top1``. The entry
            ``chance`` gives the dashed lines. Entries that are no mapping (``seed``, ...) are
            ignored, so a ``metrics.json`` can be passed unchanged. None for videos without labels.
        curves: Name of an objective → :class:`Curve` or ``(steps, values, chance)``.
        notes: Notes on the curves, in sentences.
        sheets: Queries with their neighbours.
        pictures: Further pictures, each with its section.
        commands: ``(what it does, shell command)``, in the order to run them.
        facts: Settings: seed, duration, config, checkpoint, ...

    Raises:
        UserError: If the file cannot be written.
    """
    rows = {key: value for key, value in (metrics or {}).items() if isinstance(value, Mapping)}
    chance = rows.pop('chance', {})
    html = _TEMPLATE.render(
        title=title,
        summary=summary,
        warnings=warnings,
        headline=_headline(rows, chance),
        charts=_bars(rows, chance),
        curves=[_curve(name, Curve(*curve)) for name, curve in (curves or {}).items()],
        notes=notes,
        sheets=sheets,
        pictures=pictures,
        commands=commands,
        facts=facts or {},
    )
    with atomic_path(path) as temporary:
        # A file name that is not UTF-8 gets question marks.
        temporary.write_text(html, encoding='utf-8', errors='replace')


def _headline(rows: Mapping[str, Mapping], chance: Mapping[str, float]) -> list[tuple[str, str]]:
    """R@1 of each kind of features, as ``(percent, words)``, if pretrained ones are among them."""
    if 'R@1' not in rows.get('pretrained', {}):
        return []
    found = [(row['R@1'], FEATURES.get(key, key)) for key, row in rows.items() if 'R@1' in row]
    if 'R@1' in chance:
        found.append((chance['R@1'], 'chance'))
    return [(f'{percent:.1f}', words) for percent, words in found]


def _bars(rows: Mapping[str, Mapping], chance: Mapping[str, float]) -> list[dict]:
    """Arrange the metrics by chart: one chart per metric, one bar per kind of features."""
    charts = []
    for metric in dict.fromkeys(metric for row in rows.values() for metric in row):
        name, meaning = METRICS.get(metric, (metric, ''))
        bars = [
            dict(key=key, name=FEATURES.get(key, key), percent=float(row[metric]))
            for key, row in rows.items()
            if metric in row
        ]
        charts.append(dict(name=name, meaning=meaning, bars=bars, chance=chance.get(metric)))
    return charts


def _curve(name: str, curve: Curve) -> dict:
    """Draw one curve, and give its last value as text."""
    steps, values = np.asarray(curve.steps), np.asarray(curve.values, dtype=np.float64)
    finite = np.isfinite(values)
    smooth = _smooth(np.where(finite, values, np.nan))
    notes = [curve.note] if curve.note else []
    if not finite.all():
        notes.append(f'{np.sum(~finite)} of {len(values)} logged values are not finite.')
    last = f'{smooth[finite][-1]:.2f}' if finite.any() else 'none'
    return dict(
        name=name,
        last=last,
        chance=None if curve.chance is None else f'{curve.chance:.2f}',
        notes=notes,
        svg=_draw_curve(steps, np.where(finite, values, np.nan), smooth, curve.chance),
    )


def _smooth(values: np.ndarray) -> np.ndarray:
    """Smooth lightly with a Gaussian of 1/40 of the length; NaN stays NaN and does not spread."""
    sigma = max(1.0, len(values) / 40)
    known = np.isfinite(values)
    # Dividing by the smoothed mask excludes gaps, and values beyond both ends.
    weight = gaussian_filter1d(known.astype(np.float64), sigma, mode='constant')
    total = gaussian_filter1d(np.where(known, values, 0), sigma, mode='constant')
    return np.where(known, total / np.where(known, weight, 1), np.nan)


def _draw_curve(
    steps: np.ndarray, values: np.ndarray, smooth: np.ndarray, chance: float | None
) -> Markup:
    """Draw faint raw values, the smoothed ones over them and a dashed chance, as inline SVG."""
    style = {'svg.fonttype': 'none', 'svg.hashsalt': 'report', 'font.size': 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.6, 2.5), layout='constrained')
        axes = figure.add_subplot()
        axes.plot(steps, values, color=ACCENT, alpha=0.35, linewidth=1)
        axes.plot(steps, smooth, color=ACCENT, linewidth=2, solid_capstyle='round')
        if chance is not None:
            axes.axhline(chance, color=MUTED, linewidth=1.2, dashes=(4, 3))
        axes.margins(x=0.01, y=0.12)
        axes.spines[['top', 'right', 'left']].set_visible(False)
        axes.spines['bottom'].set_color(LINE)
        axes.grid(axis='y', color=LINE, linewidth=0.7)
        axes.tick_params(length=0, labelcolor=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel('step', color=MUTED)
        buffer = io.StringIO()
        figure.savefig(buffer, format='svg', transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    # Remove what inline SVG does not need: metadata, name spaces, numbered ids (several charts
    # share a page), and a fixed size.
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| id="[a-z0-9A-Z]+_\d+"', '', svg)
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"', '<svg aria-hidden="true"', svg, count=1)
    for stand_in, variable in STAND_INS.items():
        svg = svg.replace(stand_in, variable)
    return Markup(svg)


def _data_uri(item: Tile | Picture) -> str:
    """Encode a tile's image as a JPEG data URI, or a picture's file unchanged."""
    if isinstance(item, Picture):
        return 'data:image/png;base64,' + base64.b64encode(Path(item.path).read_bytes()).decode()
    buffer = io.BytesIO()
    Image.fromarray(item.image).save(buffer, format='JPEG', quality=85)
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _clip_percent(value: float) -> float:
    """Limit the length of a bar to its track."""
    return min(100.0, max(0.0, value)) if math.isfinite(value) else 0.0


def _make_template():  # noqa: ANN202
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {'data_uri': _data_uri, 'clip_percent': _clip_percent}
    source = Path(__file__).with_name('report.html.j2')
    return environment.from_string(source.read_text(encoding='utf-8'))


_TEMPLATE = _make_template()
