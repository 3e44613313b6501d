"""Write the page: a table for each comparison, with all existing results."""

import argparse
import statistics
from itertools import combinations
from textwrap import fill

from mmssl_video.files import atomic_path
from mmssl_video.generated import fixed_scenes, moving_objects
from mmssl_video.generated.scenes import CLASSES

from .runner import METRICS, NUM_LABELS, read_result
from .settings import OBJECT_SIZES, OBJECTS, ORDERS, SIZES, Setting, settings_by_slug, tables

FIXED_METRICS = METRICS | {f'{kind}_svm_top1': f'{kind}, SVM' for kind in fixed_scenes.PARTS}
OBJECT_METRICS = {
    'task': 'own task; chance',
    **{
        f'{kind}_{key}': f'{kind}, {name}'
        for kind in ('motion', 'appearance')
        for key, name in METRICS.items()
    },
}
TUNED_METRICS = {
    'finetune_few': f'fine-tuned, {NUM_LABELS} a class',
    'finetune_all': 'fine-tuned, all',
}
REAL_INTRODUCTION = """\
## Real videos

Pretrained on the train list of a folder without its labels, and judged on its test list: frozen,
with the train list as the gallery; and fine-tuned as a whole with 5 labels of each class (fewer if
the smallest class has fewer) or with all of them, 20 epochs. R3D-18 at a quarter of its width, 12
frames or differences of frames at 32 pixels, 40 epochs; *VCLR, frames* is the demo's recipe.
Fine-tuned random weights are the network from scratch. Percent: mean ± standard deviation over
seeds (of weights and draws), then each seed. [Choosing a recipe](choosing.md) says what to make of
it.

Written by `{command}`, one thread a run. DIR has a `train.txt` and a `test.txt`, as
`tools/data/make_lists.py` makes them of JHMDB.
"""
INTRODUCTION = """\
## Generated videos

Small recipes: 16 epochs by one optimiser and schedule, batches of 16 (NNCLR: 32 epochs; ρ-BYOL: 64
epochs, batches of 64). For contrast, SlowOnly-18 at a quarter of its width (2.0 M parameters),
from random weights; {pretrain} unlabelled videos (30 frames of 96 x 72 pixels), clips of 4 frames
at 64 pixels. The backbone is judged frozen, on held-out videos of {classes} classes: {gallery} in
the gallery, {query} queries.
In the demo's generated set, which the methods are compared on, classes differ in texture alone,
and colours, light and camera drift in a video. In the fixed scenes of the ablations, they stay as
they are in a video and differ between videos; a class is a motion and a texture, and an SVM is
asked for each of the two alone, too. Percent: mean ± standard deviation over
seeds (of videos, weights and draws), then each seed. Chance is {chance} %. With {query} queries, a
single figure has a standard error of up to 4.6 points.

Written by `{command}`, one thread a run. It checks that each
method learns and is no ranking: settings were not tuned method by method, and these epochs are few.
"""

OBJECTS_INTRODUCTION = f"""\
Pretrained on {OBJECT_SIZES[0] * len(moving_objects.CLASSES)} videos of moving objects:
{len(moving_objects.CLASSES)} motions ({', '.join(moving_objects.CLASSES)}), whose pictures have
one distribution of textures and colours. R3D-18 at a quarter of its width (2.1 M parameters); for
Shuffle & Learn and OPN the SlowOnly-18 above, on single frames, which can tell a
motion by places and sizes alone; for VideoMAE a small vision transformer, on clips of 8 frames, and
100 epochs instead of 16. *Own task* is the accuracy of the method's head on views of
{OBJECT_SIZES[2] * len(moving_objects.CLASSES)} videos that it was not trained on, and that of
chance. *Motion* classes are those of the objects:
{OBJECT_SIZES[1] * len(moving_objects.CLASSES)} videos in the gallery,
{OBJECT_SIZES[2] * len(moving_objects.CLASSES)} queries, a standard error of up to 5.1 points,
chance {100 / len(moving_objects.CLASSES):.1f} %. *Appearance* classes are the textures of the
scenes above, which these methods have not seen.
"""
Results = dict[str, dict[int, dict]]
"""Existing results by slug and seed."""


def metrics_of(rows: list[Setting]) -> dict[str, str]:
    """Return the columns of a table: keys of the results and their titles."""
    if rows[0].videos == 'objects':
        return OBJECT_METRICS
    if rows[0].videos == 'fixed':
        return FIXED_METRICS
    return METRICS | TUNED_METRICS if any(row.finetune for row in rows) else METRICS


def write_tables(args: argparse.Namespace) -> None:
    """Write the tables of all existing results."""
    results: Results = {}
    for slug, setting in settings_by_slug(args.videos).items():
        found = {seed: read_result(setting, seed, args.out, args.amp) for seed in args.seeds}
        results[slug] = {seed: result for seed, result in found.items() if result is not None}
    pretrain, gallery, query = (size * len(CLASSES) for size in SIZES)
    command = 'python tools/compare_methods.py' + (' --amp' if args.amp else '')
    introduction = INTRODUCTION.format(
        pretrain=pretrain,
        gallery=gallery,
        query=query,
        classes=len(CLASSES),
        chance=round(100 / len(CLASSES), 1),
        command=command,
    )
    parts = ['# Results\n']
    if args.videos:
        parts.append(REAL_INTRODUCTION.format(command=f'{command} --videos DIR --table TABLE'))
    for title, rows in tables(args.videos).items():
        if title == 'Methods':
            parts.append(introduction)
        about = f'{fill(OBJECTS_INTRODUCTION, 100)}\n\n' if title == OBJECTS else ''
        parts.append(f'### {title}\n\n{about}{table(rows, results)}')
        if title == 'Methods':
            by_title = {row.title: row for row in rows}
            for name, figures in ORDERS.items():
                chosen = [(by_title[key], figure) for key, figure in figures.items()]
                parts.append(f'{name}: {order(chosen, results)}')
        elif chosen := [(row, row.paper) for row in rows if row.paper is not None]:
            parts.append(f"The paper's order: {order(chosen, results)}")
    with atomic_path(args.table) as temporary:
        temporary.write_text('\n'.join(parts))


def table(rows: list[Setting], results: Results) -> str:
    """Make a Markdown table."""
    with_paper = any(row.paper is not None for row in rows)
    metrics = metrics_of(rows)
    header = ['', *metrics.values(), 'minutes', *(['K400 linear, paper'] if with_paper else [])]
    lines = [header, ['---'] * len(header)]
    for row in rows:
        found = results[row.slug].values()
        title = row.title if row.baseline else f'[{row.title}](../configs/{row.config})'
        cells = [title]
        for key in metrics:
            values = [r[key] for r in found if key in r]
            measured = row.finetune if key in TUNED_METRICS else row.task or key != 'task'
            cells.append(spread(values) if measured else '')
            if key == 'task' and values:
                cells[-1] += f'; {next(iter(found))["task_chance"]:.1f}'
        minutes = [r['seconds'] / 60 for r in found]
        cells.append(f'{statistics.mean(minutes):.1f}' if minutes else '')
        if with_paper:
            cells.append('–' if row.paper is None else f'{row.paper}')
        lines.append(cells)
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)


def spread(values: list[float]) -> str:
    """Format the mean ± standard deviation, and each value."""
    if not values:
        return 'not run'
    each = ', '.join(f'{value:.1f}' for value in values)
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{deviation} ({each})'


def order(rows: list[tuple[Setting, float]], results: Results) -> str:
    """List the pairs that have the paper's order here, by SVM top-1, and those that do not.

    Two rows are compared on the seeds that both have, because seeds differ in their videos. A pair
    with a mean difference within its standard error is undecided, and so is one with a single seed.
    """
    rows = sorted((row for row in rows if results[row[0].slug]), key=lambda row: row[1])
    if len(rows) < 2:
        return 'not run.\n'
    verdicts: dict[str, list[str]] = {'reproduced': [], '**not reproduced**': [], 'undecided': []}
    for (low, _), (high, _) in combinations(rows, 2):
        lower, higher = results[low.slug], results[high.slug]
        seeds = lower.keys() & higher.keys()
        if not seeds:
            continue
        gains = [higher[seed]['svm_top1'] - lower[seed]['svm_top1'] for seed in seeds]
        gain = statistics.mean(gains)
        verdict, certainty = 'undecided', '(one seed)'
        if len(gains) > 1:
            error = statistics.stdev(gains) / len(gains) ** 0.5
            certainty = f'± {error:.1f}'
            if abs(gain) > error:
                verdict = 'reproduced' if gain > 0 else '**not reproduced**'
        verdicts[verdict].append(f'{low.title} → {high.title} {gain:+.1f} {certainty}')
    ranked = ' < '.join(f'{row.title} ({figure})' for row, figure in rows)
    found = ''.join(f'- {name}: {"; ".join(pairs) or "none"}\n' for name, pairs in verdicts.items())
    return (
        f'{ranked}. Pairs of this order here, with the gain in SVM top-1 and its standard error '
        f'over the seeds:\n\n{found}'
    )
