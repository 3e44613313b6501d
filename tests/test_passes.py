"""The pass over many videos: what is read where, what is left out, and how it ends."""

import os
import pickle
import signal
import time
from datetime import timedelta
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from processes import run_in_processes
from torch import distributed

from mmssl_video import passes
from mmssl_video.errors import BadVideoError, UserError
from mmssl_video.passes import from_main_process, lost_worker, report_faults, run_pass, run_together


def read(number, parts=3, faults=None):
    """``parts`` payloads of a video, and what is raised in the place of the second one."""
    for part in range(parts):
        if part == 1 and number in (faults or {}):
            raise faults[number]
        yield (part + 1) / parts
        yield number, part, os.getpid(), np.full(5, number)


def read_batch(numbers):
    yield from [BadVideoError(f'v{n}', 'odd') for n in numbers if n % 2]
    yield [n for n in numbers if not n % 2]


def name(number):
    return f'v{number}'


@pytest.mark.parametrize('num_workers', [0, 1, 3])
def test_each_video_is_read_once_and_in_order(num_workers):
    """By a process of its own, where there are several; 8 videos among 3 workers."""
    found = []
    assert run_pass(range(8), read, found.append, num_workers=num_workers) == {}
    assert sorted((number, part) for number, part, *_ in found) == [
        (number, part) for number in range(8) for part in range(3)
    ]
    readers = {}
    for number in range(8):
        mine = [payload for payload in found if payload[0] == number]
        assert [part for _, part, *_ in mine] == [0, 1, 2]
        assert all((values == number).all() for *_, values in mine)
        (readers[number],) = {process for *_, process, _ in mine}
    assert len(set(readers.values())) == max(1, num_workers)
    assert (os.getpid() in readers.values()) == (num_workers == 0)


FAULTS = {
    2: BadVideoError('two.mp4', 'cut\nshort'),
    5: RuntimeError('of a decoder'),
    6: OSError(5, 'Input/output error'),
}


@pytest.mark.parametrize('num_workers', [0, 2])
def test_videos_that_cannot_be_read(num_workers, left_out):
    """What comes before the fault is consumed, and so are the other videos."""
    found = []
    broken = partial(read, faults=FAULTS)
    options = dict(name=name, num_workers=num_workers)
    faults = run_pass(range(8), broken, found.append, skip_bad=True, **options)
    expected = {
        'two.mp4': 'cut short',
        'v5': 'RuntimeError: of a decoder',
        'v6': 'OSError: [Errno 5] Input/output error',
    }
    assert list(faults.items()) == list(expected.items())
    assert sorted(left_out)[1:] == [
        f'{video} cannot be read ({expected[video]})' for video in ('v5', 'v6')
    ]
    for number in range(8):
        mine = sum(payload[0] == number for payload in found)
        assert mine == (1 if number in FAULTS else 3)
    with pytest.raises(UserError) as error:
        run_pass(range(3, 6), broken, **options)
    said = str(error.value)
    assert said.startswith('v5 cannot be read (RuntimeError: of a decoder); replace it')
    assert said.endswith(', or leave such videos out with `skip_bad=True`')


@pytest.mark.parametrize('num_workers', [0, 2])
def test_mistakes_are_no_fault_of_the_video(num_workers):
    for mistake in (KeyError('imgs'), TypeError('no'), UserError('a config')):
        broken = partial(read, faults={0: mistake})
        with pytest.raises(type(mistake), match=mistake.args[0]):
            run_pass(range(3), broken, num_workers=num_workers, skip_bad=True)


def test_faults_of_the_consumer(left_out):
    def consume(payload):
        number, part, *_ = payload
        return [BadVideoError(name(number), 'no number')] if number == part == 1 else None

    assert run_pass(range(3), read, consume, skip_bad=True) == {'v1': 'no number'}
    assert left_out == ['v1 cannot be read (no number)']
    with pytest.raises(UserError, match='v1 cannot be read'):
        run_pass(range(3), read, consume)


def test_the_device_is_at_work_while_results_are_taken():
    """Those of a payload after the next one has been consumed; the last ones also at a stop."""
    events = []

    def consume(payload):
        number, *_ = payload
        if number == 2 and stop:
            raise KeyError('mistake')
        events.append(f'start {number}')
        return finish(number)

    def finish(number):
        events.append(f'finish {number}')
        yield from [BadVideoError(name(number), 'odd')] * (number in bad)

    stop, bad = False, {1}
    one_part = partial(read, parts=1)
    faults = run_pass(range(3), one_part, consume, skip_bad=True)
    whole = ['start 0', 'start 1', 'finish 0', 'start 2', 'finish 1', 'finish 2']
    assert events == whole and faults == {'v1': 'odd'}

    events.clear()
    stop, bad = True, set()
    with pytest.raises(KeyError, match='mistake'):
        run_pass(range(3), one_part, consume)
    assert events == ['start 0', 'start 1', 'finish 0', 'finish 1']

    events.clear()
    stop, bad = False, {0, 1}
    with pytest.raises(UserError, match='v0 cannot be read'):  # the first of them
        run_pass(range(3), one_part, consume)
    assert events == whole[:3] + ['finish 1']


@pytest.mark.parametrize('num_workers', [0, 2])
def test_what_is_done_is_not_read_again(num_workers):
    """Of six videos; of ten in threes, which are the batches that they would be without it."""
    found = []
    options = dict(num_workers=num_workers, skip_bad=True)
    run_pass(range(6), read, found.append, done=lambda number: number % 3 == 0, **options)
    assert sorted({payload[0] for payload in found}) == [1, 2, 4, 5]
    found.clear()
    options |= dict(done=lambda number: number in (1, 3, 4, 5, 8), batch_size=3)
    faults = run_pass(range(10), read_batch, found.append, **options)
    assert sorted(found) == [[], [0, 2], [6]]
    assert faults == {'v7': 'odd', 'v9': 'odd'}


def test_payloads_that_are_kept_are_not_read_again():
    """Of ten videos in threes, the second and the last batch; in the order of the videos first."""
    found = []
    options = dict(batch_size=3, num_workers=2, skip_bad=True, kept={9: ['kept 9'], 3: ['kept 3']})
    faults = run_pass(range(10), read_batch, found.append, **options)
    assert found[:2] == [['kept 3'], ['kept 9']] and sorted(found[2:]) == [[0, 2], [6, 8]]
    assert faults == {'v1': 'odd', 'v7': 'odd'}


def in_each_process(rank):
    """The body of each of two processes."""
    asked, found = [], []

    def attempt(work):
        try:
            return work()
        except Exception as error:
            return type(error).__name__, str(error)

    def done(number):
        asked.append(number)
        return number < 1

    def stop(faults):
        return attempt(lambda: run_pass(range(2), partial(read, faults=faults), name=name))

    options = dict(done=done, batch_size=3, skip_bad=True)
    faults = list(run_pass(range(10), read_batch, found.append, **options))
    stopped = [stop({1: RuntimeError('odd')}), stop({0: KeyError('imgs')})]
    # The others of the group wait longer than those of training.
    distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=0.5), distributed.group.WORLD)
    first = [
        from_main_process(lambda: time.sleep(1) or rank),
        attempt(lambda: from_main_process(lambda: 1 / rank)),
    ]
    return faults, found, asked, stopped, first


def test_two_processes(tmp_path):
    """Each takes every other batch; what stops one stops all; the first works for all."""
    ranks = run_in_processes(in_each_process, tmp_path)
    faults, found, asked, stopped, first = zip(*ranks, strict=True)
    assert faults == (['v1', 'v3', 'v5', 'v7', 'v9'],) * 2  # in the order of the videos
    assert found == ([[2], [6, 8]], [[4], []])
    assert asked == (list(range(10)), [])
    one, other = stopped
    assert one[0] == other[0] and one[0][1].startswith('v1 cannot be read (RuntimeError: odd)')
    assert one[1] == ('KeyError', "'imgs'") and other[1] == ('UserError', "KeyError: 'imgs'")
    assert first == (
        [0, ('ZeroDivisionError', 'division by zero')],
        [0, ('UserError', 'ZeroDivisionError: division by zero')],
    )


def test_run_together_alone():
    assert run_together(lambda: 3) == [3]
    with pytest.raises(ZeroDivisionError):
        run_together(lambda: 1 / 0)


def read_and_die(number):
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    yield number


def test_a_worker_that_is_lost():
    with pytest.raises(
        UserError, match='^v4: .* ended here .*; if the memory was .* to continue$'
    ) as e:
        run_pass(range(20), read_and_die, name=name, num_workers=2, skip_bad=True)
    assert '\n' not in str(e.value)


def read_settings(number):
    threads = cv2.getNumThreads(), torch.get_num_threads()
    yield os.getpid(), threads, signal.getsignal(signal.SIGINT)


def test_ctrl_c_is_raised_by_the_main_process_and_the_workers_end():
    """They have one thread each, and leave Ctrl-C to it."""
    workers = set()

    def consume(payload):
        process, *settings = payload
        assert settings == [(1, 1), signal.SIG_IGN]
        workers.add(process)
        if len(workers) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pass(range(1000), read_settings, consume, num_workers=2)
    for process in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_the_bar(monkeypatch):
    """It goes forward by the parts of a video, and by whole videos of a batch."""
    advanced = []
    monkeypatch.setattr(
        passes.Progress, 'advance', lambda self, task, advance: advanced.append(advance)
    )
    run_pass(range(2), partial(read, faults={1: RuntimeError()}), skip_bad=True)
    assert advanced == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 1 / 3, 2 / 3])
    advanced.clear()
    run_pass(range(5), read_batch, batch_size=3, skip_bad=True)
    assert advanced == [3, 2]


def test_workers_may_be_spawned():
    stream = passes._Stream([(0, [7])], partial(read, parts=1), name, False, 1)
    (_, part), (_, payload), (number, end) = pickle.loads(pickle.dumps(stream))
    assert (part, payload[:2], number, end) == (1.0, (7, 0), 0, 1.0)


@pytest.mark.parametrize(
    ('error', 'lost'),
    [
        (
            RuntimeError('DataLoader worker (pid 31) is killed by signal: Killed. '),
            (31, 'is killed by signal: Killed'),
        ),
        (
            RuntimeError('DataLoader worker (pid(s) 31, 45) exited unexpectedly'),
            (31, 'exited unexpectedly'),
        ),
        (ValueError('DataLoader worker (pid 31) is killed by signal: Killed. '), None),
        (RuntimeError('another one'), None),
    ],
)
def test_messages_of_torch_about_a_lost_worker(error, lost):
    assert lost_worker(error) == lost


def test_report(tmp_path):
    path = tmp_path / 'new' / 'bad_videos.txt'
    report_faults(path, {'a b.mp4': 'is empty', 'c\nd.mp4': 'cut short'}, 3)
    assert path.read_text() == 'a b.mp4\tis empty\nc\\nd.mp4\tcut short\n'
    report_faults(path, {}, 3)
    assert not path.exists()
    with pytest.raises(UserError, match='bad_videos.txt: none of the videos can be read; this'):
        report_faults(path, {'a': 'is empty'}, 1)
    assert path.read_text() == 'a\tis empty\n'
