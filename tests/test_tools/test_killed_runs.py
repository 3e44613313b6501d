"""Runs of train.py that are killed, stopped or broken, as real processes."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from head_helpers import example
from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from tiny_vclr import tiny_config, write_videos

from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError

EPOCHS = 6
ALL_HEADS = dict(  # beside the one of VCLR
    swav=example('SwAVHead', freeze_epochs=2, queue_size=8, queue_start_epoch=2),
    nnclr=example('NNCLRHead', queue_size=10),
    byol=example('BYOLHead'),
)


@HOOKS.register_module()
class FaultHook(Hook):
    """Does to its own process what goes wrong in others; registered by ``custom_imports``."""

    def __init__(self, fault, rank, iteration):
        self.fault, self.rank, self.iteration = fault, rank, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.rank, runner.iter + 1) == (self.rank, self.iteration):
            if self.fault == 'mistake':
                told = 'mmssl_video.errors.UserError: list.txt, line 7: no label'
                raise UserError(f'Caught UserError in DataLoader worker process 0.\n{told}\n')
            if self.fault == 'bug':
                raise ZeroDivisionError('by zero')
            if self.fault == 'worker':  # as a system without memory does
                multiprocessing.active_children()[0].kill()
                return
            os.kill(os.getpid(), getattr(signal, self.fault))


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('killed') / 'videos', 17, num_frames=6)


def write_config(videos, folder, heads=None, batch_size=4, fault=None, epochs=2, **loader):
    cfg = tiny_config(videos, folder / 'work', f'killed {folder}', epochs=epochs, momentum=0.9)
    cfg.env_cfg = dict(dist_cfg=dict(timeout=10 if fault else 120))
    if fault:
        cfg.custom_imports.imports.append('test_tools.test_killed_runs')
        cfg.custom_hooks.append(dict(type='FaultHook', **fault))
    cfg.model.backbone.norm = True
    cfg.model.heads.update(heads or {})
    cfg.optim_wrapper.optimizer = dict(type='AdamW', lr=0.003)
    cfg.param_scheduler[0].end = epochs
    cfg.train_dataloader.update(batch_size=batch_size, **loader)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    cfg.custom_hooks += [dict(type='HeadEpochHook'), dict(type='MomentumScheduleHook')]
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


def same(one, other):
    """Whether two contents of checkpoints are equal, tensors to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def losses(checkpoint):
    """Of all iterations, by name."""
    scalars = checkpoint['message_hub']['log_scalars']
    return {key: buffer.data[0].tolist() for key, buffer in scalars.items() if 'loss' in key}


@pytest.mark.slow
@pytest.mark.parametrize('world', [1, 2])
def test_killed_ten_times_at_random(world, forks, videos, tmp_path):
    """Losses, weights, target network, queues, optimiser, schedules: those of an unbroken run."""
    config = write_config(videos, tmp_path, ALL_HEADS, 4 // world, epochs=EPOCHS)

    def start(work_dir, *args):
        args = config, '--work-dir', tmp_path / work_dir, *args
        return forks.start_ranks('train.py', *args, log=tmp_path / work_dir, world=world)

    assert forks.wait(*start('whole')) == [0] * world
    draws, log = random.Random(world), tmp_path / 'parts.0'
    for number in range(10):
        log.write_text('')
        processes = start('parts', '--resume')
        # A process whose partner dies before they have met waits for it.
        wanted, deadline = draws.randrange(world - 1, 3), time.monotonic() + 120
        while log.read_text().count('Epoch(train)') < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(draws.uniform(0, 0.05))
        victim = draws.randrange(world)
        os.kill(processes[victim], (signal.SIGTERM, signal.SIGKILL)[number % 2])
        # In training, SIGTERM saves first.
        assert forks.wait(*processes)[victim] in (143, -signal.SIGTERM, -signal.SIGKILL)
    assert forks.wait(*start('parts', '--resume')) == [0] * world
    assert [path.name for path in (tmp_path / 'parts').glob('*.pth')] == [f'epoch_{EPOCHS}.pth']
    whole, parts = (
        load_checkpoint_file(tmp_path / folder / f'epoch_{EPOCHS}.pth')
        for folder in ('whole', 'parts')
    )
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert same(whole[part], parts[part]), part
    assert losses(whole) == losses(parts)


@pytest.mark.parametrize(
    ('fault', 'statuses', 'line'),
    [
        ('mistake', [2, 2], 'error: list.txt, line 7: no label'),
        ('bug', [2, 1], 'error: process 1 failed: ZeroDivisionError: by zero'),
        ('SIGKILL', [2, -9], 'error: process 1 ended without an error message in iteration 3: ki'),
        ('SIGSTOP', [2, -9], 'error: process 1 did not answer in iteration 3: stopped, or busy'),
    ],
)
def test_what_befalls_one_process_is_one_line_in_the_other(
    fault, statuses, line, forks, videos, tmp_path
):
    wanted = dict(fault=fault, rank=1, iteration=3)
    config = write_config(videos, tmp_path, batch_size=2, fault=wanted)
    first, second = forks.start_ranks('train.py', config, log=tmp_path / 'log', world=2)
    found = forks.wait(first)
    if fault == 'SIGSTOP':
        os.kill(second, signal.SIGKILL)
    assert found + forks.wait(second) == statuses
    output = (tmp_path / 'log.0').read_text()
    assert 'Traceback' not in output
    (told,) = [text for text in output.splitlines() if text.startswith('error: ')]
    assert told.startswith(line)


@pytest.mark.parametrize(
    ('fault', 'status'), [(None, 0), ('SIGTERM', 143), ('SIGINT', 130), ('bug', 1)], ids=str
)
def test_workers_end_with_their_run_and_in_silence(fault, status, forks, videos, tmp_path):
    fault = fault and dict(fault=fault, rank=0, iteration=3)
    loader = dict(num_workers=2, persistent_workers=True)
    config = write_config(videos, tmp_path, fault=fault, **loader)
    assert forks.wait(forks.start('train.py', config, out=tmp_path / 'log')) == [status]
    output = (tmp_path / 'log').read_text()
    assert 'Exception ignored' not in output
    assert output.count('Traceback') == (status == 1)


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_a_killed_worker_ends_the_run_with_one_line(context, forks, videos, tmp_path):
    fault = dict(fault='worker', rank=0, iteration=3)
    # No batch is ready.
    loader = dict(num_workers=1, prefetch_factor=1, multiprocessing_context=context)
    config = write_config(videos, tmp_path, fault=fault, **loader)
    assert forks.wait(forks.start('train.py', config, out=tmp_path / 'log')) == [2]
    output = (tmp_path / 'log').read_text()
    assert 'Traceback' not in output and 'Exception ignored' not in output
    (told,) = [text for text in output.splitlines() if text.startswith('error: ')]
    # Torch notices it in either of two places.
    ways = ('is killed by signal: Killed', 'exited unexpectedly')
    assert told in [
        f'error: a process that reads videos has ended ({way}); if the memory was full, lower '
        'num_workers of the data loader; then continue with --resume'
        for way in ways
    ]


def test_ragged_batches_of_two_processes(forks, videos, tmp_path):
    """Of 17 videos the sampler deals out 18, in four batches of four and one of two."""
    config = write_config(videos, tmp_path, batch_size=2, drop_last=False)
    ranks = forks.start_ranks('train.py', config, log=tmp_path / 'log', world=2)
    assert forks.wait(*ranks) == [0, 0]
    state = load_checkpoint_file(tmp_path / 'work/epoch_2.pth')['state_dict']
    assert state['heads.video.queue.pointer'] == 2 * 18 % 20
    lengths = state['heads.video.queue.embeddings'].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(20))
