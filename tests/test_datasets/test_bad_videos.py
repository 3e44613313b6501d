"""Bad videos: whose fault an error is, what takes their place, when they are too many."""

import errno
import pickle
from collections import Counter
from contextlib import nullcontext
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, DefaultSampler, pseudo_collate
from number_videos import ReadNumber, number_dataset
from torch.utils.data import DataLoader

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.bad_videos import add_to_report, check_share, draw_replacements
from mmssl_video.errors import BadVideoError, UserError, bad_video, one_line_errors

# -- Whose fault -----------------------------------------------------------------------------


FAULTS = {
    BadVideoError('other name.mp4', 'no permission'): 'no permission',
    RuntimeError('broken\nat frame 3'): 'RuntimeError: broken',
    ValueError('a\tb'): 'ValueError: a b',
    FileNotFoundError(2, 'No file', 'x.jpg'): "FileNotFoundError: [Errno 2] No file: 'x.jpg'",
    OSError(errno.EIO, 'Input/output error'): 'OSError: [Errno 5] Input/output error',
    pickle.UnpicklingError('invalid load key'): 'UnpicklingError: invalid load key',
    MemoryError('Unable to allocate 83 GiB'): 'MemoryError: Unable to allocate 83 GiB',
    TimeoutError('30 s'): 'TimeoutError: 30 s',
    EOFError(): 'EOFError:',
    cv2.error('bad picture'): 'error: bad picture',
}


MISTAKES = [
    UserError('model.heads.x: no such thing'),
    TypeError('got an unexpected keyword argument'),
    KeyError('imgs'),
    AttributeError('no attribute'),
    NameError('x'),
    ModuleNotFoundError('decord'),
    NotImplementedError(),
]


def test_whose_fault_an_error_is():
    for error, reason in FAULTS.items():
        fault = bad_video(error, 'a.mp4')
        assert fault.reason == reason
        assert str(fault).startswith(f'{fault.path} cannot be read ({reason}); ')
    for error in MISTAKES:
        assert bad_video(error, 'a.mp4') is None, error


@pytest.mark.parametrize('number', [errno.EMFILE, errno.ENFILE, errno.ENOSPC])
def test_fault_of_the_machine(number):
    """It would soon make every video a bad one."""
    with pytest.raises(UserError, match='^a.mp4: .*the cause is this machine') as error:
        bad_video(OSError(number, 'words', 'a.mp4'), 'a.mp4')
    assert type(error.value) is UserError


# -- Replacements ----------------------------------------------------------------------------


def replacements(index, order, batch_size, seed=0, num_videos=None):
    generator = np.random.default_rng(seed)
    num_videos = num_videos or len(order)
    return list(draw_replacements(index, np.asarray(order), batch_size, num_videos, generator))


@pytest.mark.parametrize(('num_videos', 'batch_size'), [(24, 4), (26, 4), (9, 8), (30, 1), (7, 3)])
def test_replacements_of_a_batch(num_videos, batch_size):
    """No video of the batch, none twice, and all others between the samples of a batch."""
    order = np.random.default_rng(1).permutation(num_videos)
    for start in range(0, num_videos, batch_size):
        batch = order[start : start + batch_size].tolist()
        drawn = [replacements(index, order, batch_size) for index in batch]
        together = sum(drawn, [])
        assert len(together) == len(set(together))
        expected = set(range(num_videos)) - set(batch)
        if len(batch) == batch_size:
            assert set(together) == expected
        assert set(together) <= expected


def test_replacements_are_drawn_evenly():
    """The first one is each of the other 5 batches' equally often; seeds decide."""
    order = np.random.default_rng(2).permutation(18)
    counts = Counter(replacements(order[4], order, 3, seed)[0] for seed in range(2000))
    assert set(counts) == set(order[1::3].tolist()) - {order[4]}
    assert all(abs(count - 400) < 80 for count in counts.values())
    assert replacements(order[4], order, 3, 7) == replacements(order[4], order, 3, 7)


def test_repeated_videos_count_for_both_batches():
    """Videos 5 and 0 come again at the end, to fill the share of the last process."""
    order = [5, 0, 3, 2, 1, 4, 6, 7, 5, 0]
    # 5 is in (5, 0, 3) and (6, 7, 5), so what has its place in (2, 1, 4) remains.
    assert replacements(5, order, 3, num_videos=8) == [2]
    assert sorted(replacements(0, order, 3, num_videos=8)) == [1, 7]
    assert sorted(replacements(2, order, 3, num_videos=8)) == [5, 6]
    # Of the third in a batch, the repeated 5 is no candidate.
    assert replacements(4, order, 3, num_videos=8) == [3]
    # No other batch, or a last one that is too short.
    assert replacements(1, [0, 1, 2], 3) == []
    assert replacements(2, [0, 1, 2, 3, 4], 3) == []
    assert replacements(1, [0, 1, 2, 3, 4], 3) == [4]


# -- Samples ---------------------------------------------------------------------------------


@pytest.fixture
def build(tmp_path):
    """``build(num_videos, bad)``: a dataset of videos that are numbers."""
    return partial(number_dataset, tmp_path)


def load(dataset, sampler, batch_size, **kwargs):
    """Samples of an epoch, by batch."""
    loader = DataLoader(dataset, batch_size, sampler=sampler, collate_fn=pseudo_collate, **kwargs)
    return [list(zip(batch['inputs'], batch['data_samples'], strict=True)) for batch in loader]


def numbers(batches):
    return [[int(inputs[0]) for inputs, _ in batch] for batch in batches]


BAD = {3, 8, 9, 17, 20, 21}


@pytest.mark.parametrize('num_workers', [0, 2])
def test_bad_videos_are_replaced(build, num_workers):
    """By what is drawn for them, in each epoch; other videos stay, and the draws of all samples."""
    dataset = build(26, BAD)
    order = np.random.default_rng(5).permutation(26).tolist()
    loader = DataLoader(
        dataset,
        4,
        sampler=order,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=pseudo_collate,
    )
    clean = UnlabeledVideoDataset(
        [ReadNumber(()), dict(type='PackActionInputs')], dataset.ann_file, check_files='none'
    )
    for epoch in (2, 3):
        order[:] = np.roll(order, 5).tolist()
        for some in (dataset, clean):
            some.set_epoch(7, epoch)
        dataset.set_order(order, 4)
        num_replaced = 0
        for start, batch in zip(range(0, 26, 4), loader, strict=True):
            listed = order[start : start + 4]
            assert len({int(inputs[0]) for inputs in batch['inputs']}) == len(listed)
            for index, inputs, sample in zip(
                listed, batch['inputs'], batch['data_samples'], strict=True
            ):
                generator = np.random.default_rng([7, epoch, index])
                tried = draw_replacements(index, np.array(order), 4, 26, generator)
                number, seen = index, []
                while number in BAD:
                    seen.append((f'{number}.mp4', f'RuntimeError: broken {number}'))
                    number = next(tried)
                assert int(inputs[0]) == number
                assert number == index or number not in listed
                assert sample.metainfo.get('bad_videos', []) == seen
                assert torch.equal(inputs[1:], clean[index]['inputs'][1:])
                num_replaced += bool(seen)
        assert num_replaced == len(BAD)


def share_of(dataset, rank, world_size):
    """What one of several processes reads, as MMEngine deals it out."""
    sampler = DefaultSampler(dataset, shuffle=True, seed=3)
    sampler.rank, sampler.world_size = rank, world_size
    sampler.num_samples = -(-len(dataset) // world_size)
    sampler.total_size = sampler.num_samples * world_size
    return sampler


@pytest.mark.parametrize('num_videos', [24, 25])
def test_two_processes_replace_as_one(build, num_videos):
    """Each process by itself, with half of each batch; with 25, the first video comes twice."""
    whole = build(num_videos, BAD)
    batches = {}
    for world_size in (1, 2):
        shares = []
        order = list(share_of(whole, 0, 1))
        if world_size == 2 and num_videos % 2:
            order.append(order[0])
        for rank in range(world_size):
            dataset = build(num_videos, BAD)
            dataset.set_epoch(0, 0)
            dataset.set_order(order, 8)
            sampler = share_of(dataset, rank, world_size)
            shares.append(numbers(load(dataset, sampler, 8 // world_size)))
        batches[world_size] = [sorted(sum(parts, [])) for parts in zip(*shares, strict=True)]
    full = num_videos // 8
    assert batches[1][:full] == batches[2][:full]
    for parts in batches[2][:full]:
        assert len(set(parts)) == len(parts)


def test_unknown_order(build):
    """Still none of the batch as one process reads it, and none of them twice."""
    dataset = build(12, {0, 1, 2})
    for seed in range(50):
        np.random.seed(seed)
        (batch,) = numbers(load(dataset, range(6), 6))
        assert batch[3:] == [3, 4, 5]
        assert len(set(batch[:3])) == 3 and min(batch[:3]) > 5
    drawn = {int(dataset[0]['inputs'][0]) for _ in range(200)}
    assert drawn == set(range(3, 12))  # by itself


def test_wrapped_dataset(build):
    """A wrapper asks for single samples."""
    dataset = ConcatDataset([build(4, {1}), build(5, {0, 4})])
    found = sum(numbers(load(dataset, range(9), 3)), [])
    assert found[:4] == [0, found[1], 2, 3] and found[1] in (0, 2, 3)
    assert found[5:8] == [1, 2, 3] and {found[4], found[8]} <= {1, 2, 3}


def test_no_video_is_left_for_a_place(build):
    """The file, the reason and what to do; nothing from the pipeline is no sample either."""
    dataset = build(6, {1})
    read = dataset.pipeline
    dataset.pipeline = lambda info: None if info['filename'] == '4.mp4' else read(info)
    dataset.set_epoch(0, 0)
    dataset.set_order(range(6), 3)
    reason = '1.mp4 cannot be read (RuntimeError: broken 1); no video outside its batch can replace'
    with pytest.raises(BadVideoError) as error:
        dataset[1]
    assert str(error.value).startswith(f'{reason} it (tried 1, all unreadable): remove such files')
    dataset.set_order(range(6), 6)
    with pytest.raises(BadVideoError) as error:
        dataset[1]
    assert str(error.value).startswith(f'{reason} it: remove such files')
    dataset.set_order([0, 4, 1, 2, 3, 5], 2)
    bad = dataset[4]['data_samples'].bad_videos
    assert bad[0] == ('4.mp4', 'ValueError: its pipeline gives nothing')


@pytest.mark.parametrize('policy', ['raise', 'skip'])
def test_nothing_is_replaced_in_test_mode(build, policy):
    """A test needs each of its videos."""
    dataset = build(9, BAD, bad_videos=policy, test_mode=True)
    with pytest.raises(BadVideoError, match='broken 3.*; remove it from the list and the folder$'):
        dataset[3]
    assert int(dataset[4]['inputs'][0]) == 4


# -- Too many --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('num_bad', 'num_videos', 'max_share', 'stops'),
    [
        (1, 50, 0.01, False),  # rounded up to whole videos
        (2, 50, 0.01, True),
        (3, 300, 0.01, False),
        (4, 300, 0.01, True),
        (7, 100, 0.07, False),  # 0.07 * 100 is 7.000000000000001
        (8, 100, 0.07, True),
        (1, 1000, 0, True),
        (0, 1000, 0, False),
        (10, 10, 1, False),
    ],
)
def test_share(num_bad, num_videos, max_share, stops):
    bad = {f'{number}.mp4': 'broken' for number in range(num_bad)}
    with pytest.raises(UserError) if stops else nullcontext():
        check_share(bad, num_videos, max_share)


def test_message_of_too_many(tmp_path):
    """How many, why, where they are listed, and how to go on; the list is written first."""
    bad = {f'{number}.mp4': 'is empty' for number in range(5)}
    bad |= {'a.mp4': 'no permission', 'b.mp4': 'no permission', 'c.mp4': 'x', 'd.mp4': 'y'}
    report = tmp_path / 'bad_videos.txt'
    with pytest.raises(UserError) as error:
        check_share(bad, 300, 0.01, report)
    message = str(error.value)
    assert message.startswith(
        '9 of 300 videos (3.0%) cannot be read, above max_bad_share=0.01: 5 x is empty, e.g. '
        '0.mp4; 2 x no permission, e.g. a.mp4; 1 x x, e.g. c.mp4; 1 other reasons; '
        f'{report} lists them: '
    )
    assert message.endswith('or set train_dataloader.dataset.max_bad_share')
    assert report.read_text().splitlines() == [f'{path}\t{bad[path]}' for path in sorted(bad)]


def test_report_is_added_to(tmp_path):
    """Sorted, each path once, the newest reason; odd names survive."""
    report = tmp_path / 'bad_videos.txt'
    add_to_report(report, {'z.mp4': 'old', 'b b.mp4': 'x'})
    add_to_report(report, {'z.mp4': 'new', 'caf\udce9.mp4': 'y'})
    add_to_report(report, {'a.mp4': 'z'})
    assert report.read_bytes() == b'a.mp4\tz\nb b.mp4\tx\ncaf\xe9.mp4\ty\nz.mp4\tnew\n'
    assert list(tmp_path.iterdir()) == [report]


def test_names_with_line_breaks_keep_to_one_line(tmp_path):
    """Also with what Python's splitlines() takes for a line break, when the file is read again."""
    report = tmp_path / 'bad_videos.txt'
    bad = {'a\nb\tc\rd.mp4': 'is a link to x\ny', 'u\u2028v\x85w\x0bx\x0c.mp4': 'is empty'}
    for _ in range(2):
        add_to_report(report, bad)
    assert report.read_bytes().decode() == (
        'a\\nb\\tc\\rd.mp4\tis a link to x\\ny\nu\u2028v\x85w\x0bx\x0c.mp4\tis empty\n'
    )


@pytest.mark.parametrize('num_workers', [0, 2])
def test_worker_stops_at_too_many(build, tmp_path, num_workers, capsys):
    """Not after a thousand tries; one line, through a worker too, and the list is there."""
    dataset = build(200, set(range(200)), max_bad_share=0.05)
    dataset.report = tmp_path / 'bad_videos.txt'
    dataset.left_out = {'gone.mp4': 'does not exist'}

    @one_line_errors
    def main():
        load(dataset, range(200), 4, num_workers=num_workers)

    with pytest.raises(SystemExit) as status:
        main()
    assert status.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    # One that is left out, and eleven of 201 is one too many.
    assert line.startswith(
        'error: 12 of 201 videos (6.0%) cannot be read, above max_bad_share=0.05'
    )
    lines = dataset.report.read_text().splitlines()
    assert len(lines) >= 12 and 'gone.mp4\tdoes not exist' in lines
