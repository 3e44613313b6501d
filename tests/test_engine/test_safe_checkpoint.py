"""A run that is killed loses nothing that it had saved, and goes on where it was."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS
from mmengine.runner import BaseLoop, Runner
from tiny_vclr import tiny_config, write_videos

from mmssl_video.checkpoints import work_dir as checkpoints
from mmssl_video.checkpoints.work_dir import find_checkpoint
from mmssl_video.engine import training
from mmssl_video.errors import UserError
from mmssl_video.files import reserve_folder

EPOCHS = 3
ITERS = 3  # an epoch: 14 videos in batches of 4, the rest dropped


class Watch(Hook):
    """Notes losses and videos, and sends this process SIGTERM in the forward of an iteration."""

    priority = 'VERY_HIGH'

    def __init__(self, sigterm_at=None):
        self.sigterm_at = sigterm_at
        self.losses, self.videos = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.videos.append([sample.filename for sample in data_batch['data_samples']])
        if runner.iter + 1 == self.sigterm_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())


def config(videos, work_dir, name, num_workers=0, epochs=EPOCHS, **checkpoint):
    cfg = tiny_config(videos, work_dir, name, epochs=epochs, momentum=0.9)
    cfg.model.backbone.norm = True
    cfg.custom_hooks.append(dict(type='MomentumScheduleHook', end=1.0))
    cfg.default_hooks.checkpoint = dict(type='SafeCheckpointHook', interval=1, **checkpoint)
    cfg.train_dataloader.num_workers = num_workers
    cfg.train_dataloader.persistent_workers = num_workers > 0
    cfg.train_dataloader.dataset.pipeline[-1].meta_keys = ('filename',)
    return cfg


class Killed(BaseException):
    """What kill -9 is to the code after it: it does not run."""


@HOOKS.register_module()
class FailingHook(Hook):
    def after_train_iter(self, *args, **kwargs):
        raise ZeroDivisionError


class Improving(BaseLoop):
    """A validation whose metric is better in each epoch."""

    def run(self):
        self.runner.call_hook('after_val_epoch', metrics=dict(acc=self.runner.epoch))


def train(cfg, **watch):
    """Runs to the end or the signal; what was seen, and the runner."""
    runner, watch = Runner.from_cfg(cfg), Watch(**watch)
    runner.register_hook(watch)
    if 'save_best' in cfg.default_hooks.checkpoint:
        runner._val_loop = Improving(runner, [])
    try:
        runner.train()
    finally:
        if runner.train_dataloader.num_workers:
            runner.train_dataloader._iterator._shutdown_workers()
    return watch, runner


def resumed(cfg):
    found = find_checkpoint(cfg.work_dir)
    cfg.resume, cfg.load_from = True, str(found)
    return cfg


def saved(folder):
    return sorted(path.name for path in Path(folder).glob('*.pth'))


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('safe') / 'videos', 14)


@pytest.fixture(scope='module')
def unbroken(videos, tmp_path_factory):
    return train(config(videos, tmp_path_factory.mktemp('unbroken'), 'safe unbroken'))


@pytest.mark.parametrize(
    ('iteration', 'num_workers'),
    [
        pytest.param(5, 2, id='within an epoch, with workers'),
        pytest.param(6, 0, id='in the last iteration of an epoch'),
        pytest.param(9, 0, id='in the last of all'),
    ],
)
def test_sigterm_saves_and_the_run_goes_on_bit_for_bit(
    unbroken, videos, tmp_path, iteration, num_workers
):
    name = f'sigterm {iteration} {num_workers}'
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        train(config(videos, tmp_path, f'{name} first', num_workers), sigterm_at=iteration)
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    # Epochs that were done, and the interruption's.
    done = [f'epoch_{epoch + 1}.pth' for epoch in range((iteration - 1) // ITERS)]
    assert saved(tmp_path) == [*done, f'iter_{iteration}.pth']

    torch.rand(17)  # the state that another process would start from
    rest, runner = train(resumed(config(videos, tmp_path, f'{name} second', num_workers)))
    watch, whole = unbroken
    assert rest.videos == watch.videos[iteration:]
    assert rest.losses == watch.losses[iteration:]
    assert (runner.epoch, runner.iter) == (EPOCHS, EPOCHS * ITERS)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[key], value), key
    # The interruption's checkpoint has given way to that of the epoch.
    assert saved(tmp_path) == [f'epoch_{epoch + 1}.pth' for epoch in range(EPOCHS)]


def test_sigterm_in_a_resumed_epoch_keeps_the_place(unbroken, videos, tmp_path, monkeypatch):
    """In a work directory that is named by a relative path."""
    monkeypatch.chdir(tmp_path)
    for iteration in (4, 5):
        cfg = config(videos, 'run', f'sigterm twice {iteration}')
        with pytest.raises(SystemExit):
            train(resumed(cfg) if iteration == 5 else cfg, sigterm_at=iteration)
    assert saved('run') == ['epoch_1.pth', 'iter_5.pth']
    cfg = config(videos, 'run', 'sigterm twice, on')
    cfg.resume = True  # MMEngine finds the checkpoint itself
    rest, _ = train(cfg)
    assert rest.losses == unbroken[0].losses[5:]
    assert saved('run') == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_an_epoch_goes_on_in_its_order_without_a_fixed_seed(videos, tmp_path):
    """Also without ``ReproducibleHook``, as in the configs of MMAction2."""

    def unseeded(name):
        cfg = config(videos, tmp_path, name)
        cfg.custom_hooks.pop(0)
        cfg.randomness = dict(seed=None)
        return cfg

    with pytest.raises(SystemExit):
        runner = Runner.from_cfg(unseeded('unseeded first'))
        runner.register_hook(first := Watch(sigterm_at=5))
        runner.train()
    rest, _ = train(resumed(unseeded('unseeded second')))
    assert len(set(sum(first.videos[3:5] + rest.videos[:1], []))) == 3 * 4


def test_a_run_goes_on_after_the_best_epoch(unbroken, videos, tmp_path):
    """Its checkpoint is written once more after validation, when the next epoch has begun."""
    best = dict(save_best='acc', rule='greater')
    train(config(videos, tmp_path, 'best, whole', **best))
    cfg = config(videos, tmp_path, 'best, on', **best)
    cfg.resume, cfg.load_from = True, str(tmp_path / 'epoch_2.pth')
    assert train(cfg)[0].losses == unbroken[0].losses[2 * ITERS :]


def test_sigterm_after_an_error_is_for_whom_it_was_before(videos, tmp_path, monkeypatch):
    received = []
    before = signal.signal(signal.SIGTERM, lambda *args: received.append(args))
    try:
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(Watch, 'after_train_iter', lambda *args, **kwargs: 1 / 0)
            train(config(videos, tmp_path, 'sigterm after an error'))
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(received) == 1
        assert not saved(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)


@DATA_SAMPLERS.register_module()
class Groups:
    """A batch sampler in its own way: without a ``batch_size``."""

    def __init__(self, sampler, batch_size):
        self.sampler, self.step = sampler, batch_size

    def __iter__(self):
        order = list(self.sampler)
        return (order[i : i + self.step] for i in range(0, ITERS * self.step, self.step))

    def __len__(self):
        return ITERS


def test_a_batch_sampler_of_another_kind(videos, tmp_path):
    """All hooks take it; a run that was interrupted repeats the epoch, and says so."""

    def grouped(name):
        cfg = config(videos, tmp_path, name)
        cfg.train_dataloader.pop('drop_last')
        cfg.train_dataloader.batch_sampler = dict(type='Groups')
        cfg.custom_hooks += [dict(type='CollapseMonitorHook'), dict(type='BadVideosHook')]
        return cfg

    with pytest.raises(SystemExit):
        train(grouped('groups first'), sigterm_at=5)
    rest, runner = train(resumed(grouped('groups second')))
    assert [len(batch) for batch in rest.videos] == [4] * 6
    assert runner.iter == 5 + 6
    logs = [path.read_text() for path in sorted(tmp_path.glob('*/*.log'))]
    told = 'epoch 2 starts again, because a Groups cannot skip the 2 batches that are done'
    assert told in ''.join(logs)


def test_accumulated_gradients_are_not_lost(videos, tmp_path):
    def accumulating(folder, name):
        cfg = config(videos, folder, name)
        cfg.optim_wrapper.accumulative_counts = 2
        return cfg

    whole = train(accumulating(tmp_path / 'a', 'accumulated whole'))[1]
    with pytest.raises(SystemExit):
        train(accumulating(tmp_path / 'b', 'accumulated first'), sigterm_at=5)
    assert 'iter_6.pth' in saved(tmp_path / 'b')
    rest = train(resumed(accumulating(tmp_path / 'b', 'accumulated second')))[1]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[key], value), key


def test_killed_while_writing_the_only_checkpoint(videos, tmp_path, monkeypatch):
    """With ``max_keep_ckpts=1``, the older one is there until the newer one is."""
    replace = os.replace

    def killed(source, target):
        if Path(target).name == 'epoch_2.pth':
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr('mmssl_video.files.os.replace', killed)
        train(config(videos, tmp_path, 'killed', max_keep_ckpts=1))
    assert saved(tmp_path) == ['epoch_1.pth']
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'

    (tmp_path / '.epoch_2.pth.123.tmp').write_bytes(b'half')  # what a real kill leaves
    _, runner = train(resumed(config(videos, tmp_path, 'killed, on', max_keep_ckpts=1)))
    assert runner.iter == EPOCHS * ITERS
    assert saved(tmp_path) == [f'epoch_{EPOCHS}.pth']
    assert not list(tmp_path.glob('.*.tmp'))


def test_processes_that_ask_each_other_wait_as_long_as_configured(videos, tmp_path, monkeypatch):
    groups = []
    hook = 'mmssl_video.engine.hooks.safe_checkpoint'
    monkeypatch.setattr(f'{hook}.get_world_size', lambda: 2)
    monkeypatch.setattr(f'{hook}.distributed.new_group', lambda **told: groups.append(told))
    cfg = config(videos, tmp_path, 'timeout', epochs=1)
    cfg.env_cfg = dict(dist_cfg=dict(timeout=77))
    train(cfg)
    assert groups == [dict(backend='gloo', timeout=timedelta(seconds=77))]


def test_in_another_thread(videos, tmp_path):
    """Only the main one gets signals."""
    thread = threading.Thread(target=train, args=[config(videos, tmp_path, 'thread', epochs=1)])
    thread.start()
    thread.join()
    assert saved(tmp_path) == ['epoch_1.pth']


def test_one_run_at_a_time_in_a_folder(videos, tmp_path):
    """Another one would remove what the first is writing; one that is killed does not stay."""
    fork = multiprocessing.get_context('fork')
    here, there = fork.Pipe()

    def other():
        lock = reserve_folder(tmp_path)
        there.send(lock.name)
        there.recv()  # until it is killed

    process = fork.Process(target=other, daemon=True)
    process.start()
    assert here.recv() == str(tmp_path / '.lock')
    writing = tmp_path / '.epoch_1.pth.123.tmp'
    writing.write_bytes(b'half')
    match = rf'^{tmp_path}: process {process.pid} on .* choose another folder$'
    with pytest.raises(UserError, match=match):
        train(config(videos, tmp_path, 'second', epochs=1))
    assert writing.exists() and not saved(tmp_path)
    process.kill()
    process.join()
    train(config(videos, tmp_path, 'third', epochs=1))
    assert saved(tmp_path) == ['epoch_1.pth']
    cfg = config(videos, tmp_path, 'failed')
    cfg.launcher = 'none'
    cfg.custom_hooks.append(dict(type='FailingHook'))
    with pytest.raises(ZeroDivisionError):
        training.train(cfg)
    other = fork.Process(target=lambda: sys.exit(reserve_folder(tmp_path) is None))
    other.start()
    other.join()
    assert other.exitcode == 0  # runs that have ended or failed have freed it


def test_the_best_is_removed_after_the_next_best_is_written(videos, tmp_path, monkeypatch):
    runner = Runner.from_cfg(config(videos, tmp_path, 'best', save_best='acc', rule='greater'))
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'save_best'))
    runner.train_loop  # noqa: B018  builds it
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    hook.before_train(runner)
    hook.after_val_epoch(runner, {'acc': 0.1})
    seen, save = [], runner.save_checkpoint

    def save_and_look(*args, **kwargs):
        seen.append(saved(tmp_path))
        save(*args, **kwargs)

    monkeypatch.setattr(runner, 'save_checkpoint', save_and_look)
    runner.train_loop._epoch = 1
    hook.after_val_epoch(runner, {'acc': 0.2})
    hook.after_train(runner)
    assert seen == [['best_acc_epoch_0.pth']]
    assert saved(tmp_path) == ['best_acc_epoch_1.pth']


@pytest.fixture(scope='module')
def run(videos, tmp_path_factory):
    """The folder of a run with three checkpoints."""
    return Path(train(config(videos, tmp_path_factory.mktemp('run'), 'found'))[1].work_dir)


@pytest.fixture
def folder(run, tmp_path):
    """A copy of it, elsewhere."""
    return Path(shutil.copytree(run, tmp_path / 'copy'))


@pytest.mark.parametrize('pointer', [None, '', '/gone/epoch_7.pth'])
def test_the_newest_is_found(folder, pointer):
    """Whether its pointer is missing, empty, or of a file that is gone."""
    (folder / 'last_checkpoint').unlink()
    if pointer is not None:
        (folder / 'last_checkpoint').write_text(pointer)
    assert find_checkpoint(folder) == folder / 'epoch_3.pth'


def test_one_of_another_folder_and_name(videos, tmp_path):
    elsewhere = dict(out_dir=str(tmp_path / 'large'), filename_tmpl='model_{}.pth')
    (tmp_path / 'large' / 'run').mkdir(parents=True)
    half = tmp_path / 'large' / 'run' / '.model_9.pth.123.tmp'  # what a kill leaves
    half.touch()
    train(config(videos, tmp_path / 'run', 'elsewhere', epochs=1, **elsewhere))
    newest = tmp_path / 'large' / 'run' / 'model_1.pth'
    assert find_checkpoint(tmp_path / 'run') == newest and not half.exists()
    newest.unlink()
    with pytest.raises(UserError, match=f'run/last_checkpoint names {newest}, which does not '):
        find_checkpoint(tmp_path / 'run')


def test_one_that_is_cut_short_is_passed_over(folder, monkeypatch):
    newest = folder / 'epoch_3.pth'
    newest.write_bytes(newest.read_bytes()[:-1000])
    log = []
    monkeypatch.setattr(checkpoints, 'print_log', lambda message, *_: log.append(message))
    assert find_checkpoint(folder) == folder / 'epoch_2.pth'
    assert len(log) == 1 and log[0].startswith(f'skipped: {newest}: cannot be read')


def test_weights_alone_are_passed_over(folder):
    state = torch.load(folder / 'epoch_1.pth', weights_only=False)['state_dict']
    torch.save(dict(state_dict=state), folder / 'epoch_3.pth')
    (folder / 'backbone.pth').write_bytes(b'')  # not one of a run
    assert find_checkpoint(folder) == folder / 'epoch_2.pth'


def test_nothing_is_started_over_checkpoints_that_cannot_be_read(folder):
    for path in folder.glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(UserError, match=r'any of its 3 checkpoints; .*epoch_3.pth: cannot be read'):
        find_checkpoint(folder)


def test_no_checkpoint_is_none(tmp_path):
    assert find_checkpoint(tmp_path) is None
    assert find_checkpoint(tmp_path / 'missing') is None


def test_the_checkpoint_of_another_run_stays(videos, tmp_path):
    with pytest.raises(SystemExit):
        train(config(videos, tmp_path / 'a', 'another first'), sigterm_at=5)
    cfg = config(videos, tmp_path / 'b', 'another second')
    cfg.resume, cfg.load_from = True, str(tmp_path / 'a' / 'iter_5.pth')
    train(cfg)
    assert saved(tmp_path / 'a') == ['epoch_1.pth', 'iter_5.pth']
    assert saved(tmp_path / 'b') == ['epoch_2.pth', 'epoch_3.pth']
