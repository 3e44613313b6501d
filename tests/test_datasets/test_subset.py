"""Lists of few labels: shares against exact fractions, one inside the other, and their tool."""

import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmssl_video.datasets.subset import draw_subset, read_labels
from mmssl_video.errors import UserError


def make_list(sizes):
    """Lines of classes of these sizes, in an order that mixes them."""
    lines = [f'c{label}/v{i}.mp4 {label}' for label, size in enumerate(sizes) for i in range(size)]
    return [lines[i] for i in np.random.default_rng(0).permutation(len(lines))]


sizes_of_classes = st.lists(st.integers(1, 40), min_size=1, max_size=8)
percents = st.integers(1, 100)
seeds = st.integers(0, 3)


@given(sizes_of_classes, percents, seeds)
@settings(deadline=None, max_examples=50)
def test_every_class_has_its_share(sizes, percent, seed):
    """The counts round one and the same share of each class, and add up to the total."""
    lines = make_list(sizes)
    drawn = draw_subset(lines, fraction=percent / 100, seed=seed)
    assert len(drawn) == max(round(percent / 100 * len(lines)), len(sizes))
    assert (np.diff(drawn) > 0).all()  # each once, in the order of the list
    counts = Counter(read_labels(lines)[drawn].tolist())
    assert counts.keys() == set(range(len(sizes)))
    # Sainte-Lague: a share t with counts[c] = round(t * sizes[c]), but for the free first one.
    least = [Fraction(2 * counts[c] - 1, 2 * n) for c, n in enumerate(sizes) if counts[c] > 1]
    most = [Fraction(2 * counts[c] + 1, 2 * n) for c, n in enumerate(sizes) if counts[c] < n]
    assert max(least, default=0) <= min(most, default=1)


@given(sizes_of_classes, percents, percents, seeds)
@settings(deadline=None, max_examples=40)
def test_smaller_lists_are_in_larger_ones(sizes, one, other, seed):
    """By share and by number; the order of lines has no influence."""
    lines = make_list(sizes)
    small, large = (draw_subset(lines, p / 100, seed=seed) for p in sorted((one, other)))
    assert set(small) <= set(large)
    few = min(sizes)
    many = draw_subset(lines, per_class=few, seed=seed)
    counts = Counter(read_labels(lines)[many].tolist())
    assert counts == dict.fromkeys(range(len(sizes)), few)
    assert set(draw_subset(lines, per_class=(few + 1) // 2, seed=seed)) <= set(many)
    backwards = lines[::-1]
    again = draw_subset(backwards, max(one, other) / 100, seed=seed)
    assert {backwards[i] for i in again} == {lines[i] for i in large}


def test_every_video_is_drawn_as_often():
    """Over seeds, each of a class's ten videos is drawn in 3 of 10: within 5 standard errors."""
    lines = make_list([10, 10])
    counts = np.zeros(20)
    for seed in range(400):
        counts[draw_subset(lines, 0.3, seed=seed)] += 1
    assert np.abs(counts / 400 - 0.3).max() < 5 * (0.3 * 0.7 / 400) ** 0.5


def test_which_class_gets_the_odd_one_depends_on_the_seed():
    lines = make_list([4, 4, 4])
    odd = []
    for seed in range(40):
        labels = read_labels(lines)[draw_subset(lines, 4 / 12, seed=seed)].tolist()
        assert sorted(Counter(labels).values()) == [1, 1, 2]
        odd.append(Counter(labels).most_common(1)[0][0])
    assert set(odd) == {0, 1, 2}


def test_the_draw_stays_what_it_is():
    """The configs name lists by their seed: another draw would need another name."""
    lines = [f'{label}/{i}.mp4 {label}' for label in (0, 1) for i in range(8)]
    assert draw_subset(lines, 0.25).tolist() == [2, 4, 9, 11]


@given(sizes_of_classes, percents, percents, seeds, st.data())
@settings(deadline=None, max_examples=20)
def test_what_is_left_out_gives_its_turn_to_the_next_of_its_class(sizes, one, other, seed, data):
    """As the slow way: take the bad ones out of each class's order; smaller stays in larger."""
    lines = make_list(sizes)
    bad = data.draw(st.sets(st.integers(0, len(lines) - 1)))
    small, large = (
        draw_subset(lines, p / 100, seed=seed, left_out=bad) for p in sorted((one, other))
    )
    assert not bad & set(large.tolist()) and set(small) <= set(large)
    total = max(round(max(one, other) / 100 * len(lines)), len(sizes))
    assert len(large) == min(total, len(lines) - len(bad))
    labels = read_labels(lines)
    for label in range(len(sizes)):
        # A class's order: what is drawn first, second, ... of it alone.
        own = np.flatnonzero(labels == label)
        own_lines = [lines[i] for i in own]
        order, before = [], set()
        for number in range(1, len(own) + 1):
            drawn = set(draw_subset(own_lines, per_class=number, seed=seed))
            order.append(own[(drawn - before).pop()])
            before = drawn
        kept = [i for i in order if i not in bad]
        found = large[labels[large] == label]
        assert set(found.tolist()) == set(kept[: len(found)])


def test_labels_are_the_last_column():
    for line, label in {
        'a.mp4 7': 7,
        'some/two words 3.MP4   12 ': 12,
        'folder/of frames 120 5': 5,
        'no_suffix 0': 0,
        '3 4 5': 5,
    }.items():
        assert read_labels([line]).tolist() == [label]


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        (['a.mp4 1', 'b.mp4'], "line 2: 'b.mp4' does not end in a label"),
        (['a.mp4 -1'], 'does not end in a label'),
        (['a.mp4,1'], 'does not end in a label'),
        (['7'], 'does not end in a label'),
        (['a.mp4 1', 'b.mp4 1 2'], 'line 2: .* has several labels'),
        (['folder 120 1 2'], 'line 1: .* has several labels'),
        (['one 120 1', 'two 1'], 'line 2: .* ends in 1 numbers, the lines before it in 2'),
    ],
)
def test_lines_that_cannot_be_read(lines, words):
    with pytest.raises(UserError, match=words) as error:
        draw_subset(lines, 0.5)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('kwargs', 'words'),
    [
        (dict(), 'either a fraction or a number per class'),
        (dict(fraction=0.5, per_class=1), 'either a fraction or a number per class'),
        (dict(fraction=0), 'fraction is 0;'),
        (dict(fraction=10), 'fraction is 10; it must be above 0 and at most 1'),
        (dict(fraction=float('nan')), 'fraction is nan'),
        (dict(per_class=0), 'the number per class is 0;'),
        (dict(per_class=3), 'class 1 has 2 videos, fewer than 3'),
        (dict(per_class=1, seed=-1), 'seed is -1'),
    ],
)
def test_arguments_out_of_range(kwargs, words):
    with pytest.raises(UserError, match=words):
        draw_subset(make_list([5, 2]), **kwargs)


# -- The tool ----------------------------------------------------------------------------------


@pytest.fixture
def subset(tool_runner):
    """``subset(*arguments)``: exit status, output and errors."""
    return tool_runner('subset_annotations')


def test_tool(tmp_path, subset):
    frames = [f'class {i % 3}/clip{i:02} {50 + i} {i % 3}' for i in range(30)]
    source, out = tmp_path / 'train.txt', tmp_path / 'new' / 'few.txt'
    source.write_text('\n'.join(frames[:10]) + '\n\n' + '\n'.join(frames[10:]))
    status, said = subset(source, out, '--fraction', '0.2', '--seed', 4)
    assert status == 0
    assert out.read_text().splitlines() == [frames[i] for i in draw_subset(frames, 0.2, seed=4)]
    told = [line.split() for line in said.out.splitlines()]
    assert told[0] == [f'{out}:', '6', 'of', '30', 'videos', '(20.00%)']
    assert told[2:] == [['list', '3', '30', '10', '10'], ['drawn', '3', '6', '2', '2']]
    assert subset(source, out, '--per-class', '1')[0] == 0
    assert len(out.read_text().splitlines()) == 3
    # A list of Windows.
    source.write_bytes('ä.mp4 3\r\nb.mp4 4\r\n'.encode('utf-16'))
    assert subset(source, out, '--per-class', 1)[0] == 0
    assert out.read_bytes() == 'ä.mp4 3\nb.mp4 4\n'.encode()
    # Folders of raw frames, of which one is missing.
    (tmp_path / 'v' / 'a').mkdir(parents=True)
    source.write_text('a 120 3\nb 120 3\n')
    for seed in range(4):
        args = ('--per-class', 1, '--data-root', tmp_path / 'v', '--seed', seed)
        assert subset(source, out, *args)[0] == 0
        assert out.read_text() == 'a 120 3\n'


@pytest.fixture
def half_bad(tmp_path, write_numbered_video):
    """A list of two classes with four sound and four bad videos each."""
    content = bytearray(write_numbered_video(tmp_path / 'v/s.mp4', 30).read_bytes())
    start, end = content.find(b'mdat') + 200, content.find(b'moov') - 4
    content[start:end] = np.random.default_rng(0).bytes(end - start)
    lines = []
    for label in (0, 1):
        for i in range(4):
            write_numbered_video(tmp_path / f'v/{label}/good {i}.mp4', 4)
            lines.append(f'{label}/good {i}.mp4 {label}')
        for i, bad in enumerate([None, b'', b'text', bytes(content)]):
            path = tmp_path / f'v/{label}/bad {i}.mp4'
            if bad is not None:
                path.write_bytes(bad)
            lines.append(f'{label}/bad {i}.mp4 {label}')
    (tmp_path / 'train.txt').write_text('\n'.join(lines))
    return tmp_path


@pytest.mark.parametrize('size', [('--fraction', 0.5), ('--per-class', 4)])
def test_tool_draws_no_broken_video(half_bad, subset, left_out, size):
    """Each is replaced by the next of its class and named, also one whose packets are damaged."""
    source, out = half_bad / 'train.txt', half_bad / 'few.txt'
    status, said = subset(source, out, *size, '--data-root', half_bad / 'v')
    assert status == 0
    drawn = out.read_text().splitlines()
    assert drawn == [line for line in source.read_text().splitlines() if 'good' in line]
    assert said.out.startswith('8 videos that cannot be read are left out\n')
    assert {message.partition(' cannot be read')[0] for message in left_out} == {
        f'{half_bad}/v/{label}/bad {i}.mp4' for label in (0, 1) for i in range(4)
    }
    assert subset(source, out, *size)[0] == 0  # without a folder nothing is opened
    assert any('bad' in line for line in out.read_text().splitlines())


def test_tool_finds_too_few_that_can_be_read(half_bad, subset):
    source, out = half_bad / 'train.txt', half_bad / 'few.txt'
    for folder, error in (
        ('v', f'error: {source}: .*videos cannot be read, and class'),
        ('no', f'{half_bad}/no: no such folder; set --data-root'),
    ):
        status, said = subset(source, out, '--per-class', 5, '--data-root', half_bad / folder)
        assert status == 2 and re.search(error, said.err)
    args = (source, out, '--fraction', 1, '--data-root', half_bad / 'v')
    source.write_text('0/bad 0.mp4 0\n1/bad 1.mp4 1\n')
    status, said = subset(*args)
    assert status == 2 and 'none of its videos can be read; check --data-root' in said.err
    source.write_text('0/good 0.mp4 0\n1/bad 1.mp4 1\n')
    status, said = subset(*args)
    assert status == 0 and 'no video can be read of class 1\n' in said.out
    assert out.read_text() == '0/good 0.mp4 0\n'


def test_errors_of_the_tool(tmp_path, subset):
    (tmp_path / 'empty.txt').write_text('\n')
    (tmp_path / 'multi.txt').write_text('a.mp4 1 2\n')
    out = tmp_path / 'out.txt'
    for name, path, words in (
        ('missing.txt', out, 'missing.txt: no such list'),
        ('empty.txt', out, 'empty.txt: is empty'),
        ('multi.txt', out, 'multi.txt: line 1: '),
    ):
        status, said = subset(tmp_path / name, path, '--fraction', 0.5)
        assert status == 2
        assert words in said.err and said.err.count('\n') == 1
    assert not out.exists()
