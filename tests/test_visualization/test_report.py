"""The report: one closed page that says what was measured, and the curves it is drawn from."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from mmengine.visualization import LocalVisBackend
from PIL import Image

from mmssl_video.errors import UserError
from mmssl_video.visualization import (
    Curve,
    Picture,
    Sheet,
    Tile,
    read_scalars,
    write_report,
)
from mmssl_video.visualization.report import _smooth

METRICS = {
    'pretrained': {'R@1': 78.125, 'R@5': 96.9, 'svm_top1': 100.0},
    'random': {'R@1': 31.25, 'R@5': 65.6, 'svm_top1': 40.6},
    'mean_frame': {'R@1': 0.0, 'R@5': 59.4, 'svm_top1': 25.0},
    'chance': {'R@1': 12.5, 'R@5': 48.7},
    'seed': 3,
    'seconds': 512.3,
}


class Page(HTMLParser):
    """Collects tags with their attributes, and the text in each kind of element."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding='utf-8')
        self.tags, self.text, self.open = [], {}, []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if data.strip():
            self.text.setdefault(self.open[-1] if self.open else None, []).append(data.strip())

    def find(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def sheet(correct=(True, False)):
    rng = np.random.default_rng(0)
    images = np.kron(rng.integers(0, 256, (3, 4, 6, 3)), np.ones((1, 16, 16, 1))).astype(np.uint8)
    neighbours = [
        Tile(image, f'class {i}', f'gallery/{i}.mp4', c, 0.9 - 0.2 * i)
        for i, (image, c) in enumerate(zip(images[1:], correct, strict=True))
    ]
    return Sheet(Tile(images[0], 'class 0', 'q.mp4'), neighbours)


def full_report(path, **changes):
    steps = np.arange(1, 101)
    content = dict(
        title='VCLR, 12 epochs',
        summary='Sixty-four videos.',
        metrics=METRICS,
        curves={
            'inter-frame': Curve(steps, 7 - steps / 50, np.log(2049), 'The queue fills first.'),
            'order': (steps, np.full(100, 1.25), np.log(4)),
            'video-level': (steps, np.where(steps < 60, 5.0, np.nan)),
        },
        sheets=[sheet(), sheet()],
        commands=[('Fine-tune', 'bash tools/dist_train.sh config.py 8')],
        facts={'seed': 3, 'checkpoint': 'work_dirs/demo/epoch_12.pth'},
    )
    write_report(path, **(content | changes))
    return Page(path)


def test_page_says_all_and_needs_nothing_else(tmp_path):
    page = full_report(tmp_path / 'new' / 'report.html')
    assert page.text['h1'] == ['VCLR, 12 epochs']
    assert page.text['h2'] == [
        'What the features know',
        'How it learned',
        'Nearest neighbours',
        'Next steps',
        'Settings',
    ]
    assert page.text['pre'] == ['bash tools/dist_train.sh config.py 8']
    assert page.text['dt'] == ['seed', 'checkpoint']
    assert page.text['dd'] == ['3', 'work_dirs/demo/epoch_12.pth']
    assert not {'script', 'link', 'iframe', 'object', 'base'} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ('src', 'href', 'xlink:href', 'srcset', 'poster', 'data'):
            assert attributes.get(name, '#').startswith(('data:image/jpeg;base64,', '#'))
    assert not re.search(
        r'https?:|//[a-z]|@import|url\((?!#)', re.sub('base64,[^"]*', '', page.source)
    )


def test_warnings_come_before_anything_else(tmp_path):
    warnings = ['Iteration 160: the loss is at chance.', 'A frame difference <finds> more.']
    notes = ['Iteration 200: order: has left chance']
    page = full_report(tmp_path / 'report.html', warnings=warnings, notes=notes)
    assert page.text['h2'][:2] == ['Warnings', 'What the features know']
    items = [text for text in page.text['li'] if text in warnings + notes]
    assert items == warnings + notes
    assert '<finds>' not in page.source
    # Above the first number, and notes with the curves.
    places = [page.source.index(text) for text in (warnings[0], '>78.1<', 'How it learned')]
    assert places == sorted(places)
    assert page.source.index(notes[0]) > places[-1]

    bare = dict(curves={}, sheets=[])
    page = full_report(tmp_path / 'report.html', warnings=warnings[:1], **bare)
    assert page.text['h2'][0] == 'Warning'
    page = full_report(tmp_path / 'report.html', **bare)
    assert 'class="card warnings"' not in page.source and 'class="notes"' not in page.source


def test_bars_are_as_long_as_the_percentages(tmp_path):
    page = full_report(tmp_path / 'report.html')
    lengths = [float(bar['style'].removeprefix('width: ')[:-1]) for bar in page.find('i')]
    assert lengths == [78.12, 31.25, 0, 96.9, 65.6, 59.4, 100, 40.6, 25]
    # One chance mark in each bar of the two metrics that have it.
    marks = [float(mark['style'].removeprefix('left: ')[:-1]) for mark in page.find('u')]
    assert marks == [12.5] * 3 + [48.7] * 3
    assert page.text['h3'][:3] == ['Retrieval R@1', 'Retrieval R@5', 'Linear SVM top-1']
    assert page.text['b'] == (
        ['78.1', '31.2', '0.0', '12.5']  # the headline: R@1 and chance
        + ['78.1', '31.2', '0.0', '96.9', '65.6', '59.4', '100.0', '40.6', '25.0']
    )


def test_curves_show_chance_and_gaps(tmp_path):
    page = full_report(tmp_path / 'report.html')
    ends = [text for text in page.text['span'] if text.startswith('ends at')]
    assert ends == ['ends at 5.03, chance 7.63', 'ends at 1.25, chance 1.39', 'ends at 5.00']
    assert 'The queue fills first.' in page.text['p']
    assert '41 of 100 logged values are not finite.' in page.text['p']
    charts = re.findall(r'<svg.*?</svg>', page.source, re.DOTALL)
    assert [chart.count('stroke-dasharray') for chart in charts] == [1, 1, 0]
    for chart in charts:
        ElementTree.fromstring(chart)
        assert '#0001' not in chart  # every stand-in colour became one of the page's
        assert chart.count('stroke: var(--accent)') == 2  # as logged, and smoothed
    ids = re.findall(r' id="([^"]*)"', page.source)
    used = re.findall(r'(?:href="|url\()#([^")]*)', page.source)
    assert set(used) <= set(ids)


def test_chance_line_lies_at_its_value(tmp_path):
    page = full_report(
        tmp_path / 'report.html', curves={'c': ([0, 1, 2, 3], [0.0, 4.0, 0.0, 4.0], 1.0)}
    )
    (chart,) = re.findall(r'<svg.*?</svg>', page.source, re.DOTALL)
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', chart)

    def heights(wanted):
        (path,) = [d for d, style in paths if wanted(style)]
        return np.array([float(y) for _, y in re.findall(r'[ML] ([\d.]+) ([\d.]+)', path)])

    chance = heights(lambda style: 'dasharray' in style)
    values = heights(lambda style: '--accent' in style and 'opacity' in style)
    zero, four = values[0], values[1]
    np.testing.assert_allclose(chance, zero + (four - zero) / 4, atol=1e-3)
    assert four < zero  # upwards


def test_sheets_hold_the_pictures_and_marks(tmp_path):
    page = full_report(tmp_path / 'report.html', sheets=[sheet()])
    images = page.find('img')
    assert [image['alt'] for image in images] == ['q.mp4', 'gallery/0.mp4', 'gallery/1.mp4']
    expected = sheet()
    tiles = [expected.query, *expected.neighbours]
    for image, tile in zip(images, tiles, strict=True):
        data = base64.b64decode(image['src'].removeprefix('data:image/jpeg;base64,'))
        shown = np.asarray(Image.open(io.BytesIO(data))).astype(float)
        # Means over the squares of 16 pixels; JPEG blurs their edges.
        squares = [x.reshape(4, 16, 6, 16, 3).mean(axis=(1, 3)) for x in (shown, tile.image)]
        assert np.abs(squares[0] - squares[1]).mean() < 6
    kinds = [figure['class'] for figure in page.find('figure') if 'tile' in figure['class']]
    assert kinds == ['tile query', 'tile right', 'tile wrong']
    spans = page.text['span']
    assert (spans.count('✓'), spans.count('✗'), spans.count('0.90')) == (1, 1, 1)
    assert spans[spans.index('✓') + 1] == 'same class'
    assert spans[spans.index('✗') + 1] == 'another class'


def test_pictures_are_in_the_page(tmp_path):
    path = tmp_path / 'map.png'
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(path)
    write_report(
        tmp_path / 'report.html', title='x', pictures=[Picture('Where it looks', 'a <map>', path)]
    )
    path_bytes = path.read_bytes()
    path.unlink()
    page = Page(tmp_path / 'report.html')
    assert page.text['h2'] == ['Where it looks'] and 'a <map>' in page.text['p']
    (image,) = page.find('img')
    header, _, data = image['src'].partition(',')
    assert header == 'data:image/png;base64' and base64.b64decode(data) == path_bytes


def test_names_that_are_not_utf_8_are_shown_with_question_marks(tmp_path):
    odd = sheet()
    odd.query.name = 'b\udcff.mp4'
    page = full_report(tmp_path / 'report.html', sheets=[odd])
    assert page.find('img')[0]['alt'] == 'b?.mp4'


def test_without_labels_nothing_is_judged(tmp_path):
    unread = sheet(correct=(None, None))
    unread.neighbours[0].image = None
    page = full_report(tmp_path / 'report.html', metrics=None, sheets=[unread])
    assert page.text['h2'][0] == 'How it learned'
    assert 'R@1' not in page.source.split('</style>')[1]
    assert '✓' not in page.source and '✗' not in page.source
    assert len(page.find('img')) == 2 and 'no picture' in page.text['span']


def test_a_title_alone_makes_a_page(tmp_path):
    write_report(tmp_path / 'report.html', title='Empty')
    page = Page(tmp_path / 'report.html')
    assert page.text['h1'] == ['Empty']
    assert 'h2' not in page.text


def test_text_is_escaped(tmp_path):
    bad = '<script>alert("1")</script> & \'x\''
    tile = Tile(np.zeros((2, 2, 3), np.uint8), bad, bad + '" onload="x')
    page = full_report(
        tmp_path / 'report.html',
        title=bad,
        summary=bad,
        metrics={'pretrained': {'R@1': 1.0, bad: 2.0}, bad: {'R@1': 3.0}},
        curves={bad: Curve([1, 2], [3.0, 4.0], 1.0, bad)},
        sheets=[Sheet(tile, [tile])],
        commands=[(bad, bad)],
        facts={bad: bad},
    )
    assert '<script' not in page.source
    assert page.text['h1'] == page.text['pre'] == page.text['dt'] == page.text['dd'] == [bad]
    assert not any('onload' in attributes for _, attributes in page.tags)
    assert page.find('img')[0]['alt'] == bad + '" onload="x'


def test_smoothing():
    np.testing.assert_allclose(_smooth(np.full(50, 3.0)), 3, atol=1e-12)
    ramp = _smooth(np.arange(400.0))
    np.testing.assert_allclose(ramp[50:-50], np.arange(50.0, 350.0), atol=1e-9)
    noise = np.random.default_rng(0).normal(size=400)
    assert _smooth(noise).std() < 0.4 * noise.std()
    gap = np.full(40, 2.0)
    gap[10:14] = np.nan
    np.testing.assert_array_equal(np.isnan(_smooth(gap)), np.isnan(gap))
    np.testing.assert_allclose(_smooth(gap)[np.isfinite(gap)], 2)
    assert np.isnan(_smooth(np.full(5, np.nan))).all()


def log(path, *records, torn=''):
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join([*map(json.dumps, records), torn]))


def test_scalars_of_resumed_runs_are_merged(tmp_path):
    first = tmp_path / '20250101_100000' / 'vis_data' / 'scalars.json'
    second = tmp_path / '20250101_110000' / 'vis_data' / 'scalars.json'
    log(
        first,
        {'loss': 4.0, 'loss_inter': 3.0, 'step': 10, 'epoch': 1},
        {'loss': 3.5, 'step': 20, 'epoch': 1},
        {'acc': 0.5, 'step': 1},
        {'loss': 3.0, 'step': 30, 'epoch': 2},
        {'loss': 2.5, 'step': 40, 'epoch': 2},
        torn='{"loss": 2.25, "st',
    )
    log(second, {'loss': 1.0, 'step': 20, 'note': 'x'}, {'loss': float('nan'), 'step': 30})
    scalars = read_scalars(tmp_path)
    assert set(scalars) == {'loss', 'loss_inter', 'epoch', 'acc'}
    np.testing.assert_array_equal(scalars['loss'][0], [10, 20, 30])  # 40 was not reached again
    np.testing.assert_array_equal(scalars['loss'][1], [4.0, 1.0, np.nan])
    np.testing.assert_array_equal(scalars['loss_inter'], [[10], [3.0]])
    np.testing.assert_array_equal(scalars['acc'], [[1], [0.5]])
    assert (scalars['loss'][0].dtype, scalars['loss'][1].dtype) == (np.int64, np.float64)

    np.testing.assert_array_equal(read_scalars(first)['loss'][0], [10, 20, 30, 40])
    np.testing.assert_array_equal(read_scalars(second, first)['loss'][1], [4.0, 3.5, 3.0, 2.5])


def test_scalars_as_mmengine_writes_them(tmp_path):
    backend = LocalVisBackend(str(tmp_path / '20250101_100000' / 'vis_data'))
    for step in (5, 10):
        backend.add_scalars({'lr': 0.1, 'loss': 1 / step, 'iter': step}, step=step)
    np.testing.assert_allclose(read_scalars(tmp_path)['loss'], [[5, 10], [0.2, 0.1]])


def test_no_scalars_is_an_error(tmp_path):
    (tmp_path / 'scalars.json').write_text('no json\n[1, 2]\n{"loss": 1.0}\n')
    for path in (tmp_path, tmp_path / 'absent.json', tmp_path / 'scalars.json'):
        with pytest.raises(UserError, match=f'{path}: no logged scalars'):
            read_scalars(path)
