"""The online kNN probe: what it measures, on one process and two, and that training ignores it."""

import json
import random
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from processes import run_in_processes
from stubs import Notes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_vclr import TinyBackbone, build_tiny, tiny_config, write_videos

from mmssl_video.engine.hooks import OnlineKNNHook, ProgressBarHook, online_knn
from mmssl_video.errors import UserError
from mmssl_video.evaluation import knn_accuracy
from mmssl_video.evaluation.encoder import build_encoder
from mmssl_video.evaluation.extract import extract_features
from mmssl_video.evaluation.loader import feature_pipeline
from mmssl_video.video import VideoReader

EPOCHS = 3
NUM_VIDEOS = 11
LABELS = [0, 0, 1, 1, 2, 2, 0, 1, 1, 2, 2]  # neighbours agree for some, not for all


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Videos, a list of all of them, and lists of seven to vote and four to be classified."""
    folder = write_videos(tmp_path_factory.mktemp('knn') / 'videos', NUM_VIDEOS)
    lines = [f'video_{number}.mp4 {label}\n' for number, label in enumerate(LABELS)]
    for name, chosen in (('all', lines), ('gallery', lines[:7]), ('query', lines[7:])):
        (folder.parent / f'{name}.txt').write_text(''.join(chosen))
    return folder


def hook_cfg(videos, ann_file='all', **kwargs):
    return dict(
        type='OnlineKNNHook',
        ann_file=str(videos.parent / f'{ann_file}.txt'),
        data_root=str(videos),
        **dict(k=3, batch_size=2, num_workers=0) | kwargs,
    )


def build_hook(videos, **kwargs):
    cfg = hook_cfg(videos, **kwargs)
    cfg.pop('type')
    return OnlineKNNHook(**cfg)


class Scalars(list):
    """A visualizer that keeps them, with their steps."""

    def add_scalars(self, scalars, step, file_path):
        self.append((step, scalars))


def stub_runner(videos, model=None, hooks=()):
    """After the last of three epochs."""
    cfg = tiny_config(videos, videos.parent, 'knn stub')
    cfg.data_root = str(videos)
    return SimpleNamespace(
        cfg=cfg,
        model=model or build_tiny(5),
        epoch=EPOCHS - 1,
        max_epochs=EPOCHS,
        train_loop=EpochBasedTrainLoop.__new__(EpochBasedTrainLoop),
        hooks=list(hooks),
        logger=Notes(),
        visualizer=Scalars(),
        timestamp='now',
    )


def probe(runner, hook):
    """The scalars of one probe."""
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    ((step, scalars),) = runner.visualizer
    assert step == EPOCHS
    return scalars


def expected_accuracy(runner, *lists, k=3, temperature=0.07, num_frames=None, batch_size=4):
    """Of features that are extracted by themselves; one list is classified by itself."""
    pipeline, root = feature_pipeline(runner.cfg, num_frames), runner.cfg.data_root
    sets = [
        extract_features(runner.model.eval(), pipeline, str(path), root, batch_size, num_workers=0)
        for path in lists
    ]
    if len(sets) == 1:
        return knn_accuracy(*sets, *sets, k, temperature, leave_one_out=True)
    return knn_accuracy(*sets, k, temperature)


# What it measures -------------------------------------------------------------------------------


def test_one_list_is_classified_by_itself(videos):
    """Read by workers, and told in one line."""
    runner = stub_runner(videos)
    scalars = probe(runner, build_hook(videos, num_workers=2))
    expected = expected_accuracy(runner, videos.parent / 'all.txt')['top1']
    assert scalars == {'knn/top1': expected} and 0 < expected < 100
    assert runner.logger == [f'online kNN, epoch 3: top-1 {expected:.1f} (chance 33.3), k 3']


def test_one_list_votes_on_the_other(videos, tmp_path):
    """Also with six classes, another temperature and number of frames."""
    lists = [tmp_path / 'gallery.txt', tmp_path / 'query.txt']
    for path, first, labels in ((lists[0], 0, [0, 1, 2, 3, 4, 5, 0]), (lists[1], 7, [1, 0, 5, 3])):
        lines = [f'video_{number}.mp4 {label}\n' for number, label in enumerate(labels, first)]
        path.write_text(''.join(lines))
    runner = stub_runner(videos)
    hook = OnlineKNNHook(
        str(lists[0]),
        str(videos),
        str(lists[1]),
        k=5,
        temperature=0.5,
        num_frames=2,
        num_workers=0,
    )
    scalars = probe(runner, hook)
    expected = expected_accuracy(runner, *lists, k=5, temperature=0.5, num_frames=2)
    assert scalars == {'knn/top1': expected['top1'], 'knn/top5': expected['top5']}
    assert expected['top5'] > 0


def test_lists_that_share_videos_and_features_that_tie_are_warned_of(videos):
    model = build_tiny(5)
    for parameter in model.backbone.parameters():
        torch.nn.init.zeros_(parameter)
    runner = stub_runner(videos, model)
    probe(runner, build_hook(videos, query_ann_file=str(videos.parent / 'query.txt')))
    shared, _, tied = runner.logger
    assert shared.startswith('OnlineKNNHook: 4 videos are in both sets, by name;')
    assert tied.startswith(
        'online kNN, epoch 3: for 100.0 % of the videos, neighbours or classes tie'
    )


def test_a_video_that_becomes_unreadable_is_left_out(videos, tmp_path, left_out):
    for number in range(NUM_VIDEOS):
        (tmp_path / f'{number}.mp4').write_bytes((videos / f'video_{number}.mp4').read_bytes())
    lines = [f'{number}.mp4 {label}\n' for number, label in enumerate(LABELS)]
    (tmp_path / 'all.txt').write_text(''.join(lines))
    (tmp_path / 'rest.txt').write_text(''.join(lines[:4] + lines[5:]))
    runner = stub_runner(tmp_path)
    hook = OnlineKNNHook(str(tmp_path / 'all.txt'), str(tmp_path), k=3, num_workers=0)
    hook.before_train(runner)
    (tmp_path / '4.mp4').write_bytes(b'\0' * 100)
    hook.after_train_epoch(runner)
    expected = expected_accuracy(runner, tmp_path / 'rest.txt')['top1']
    assert runner.visualizer == [(EPOCHS, {'knn/top1': expected})]
    assert len(left_out) == 1 and '4.mp4 cannot be read' in left_out[0]


def count_reads(monkeypatch):
    """Paths that are opened in this process, and frames that the backbone gets."""
    opened, encoded = [], []
    initialise = VideoReader.__init__

    def opening(self, source, **kwargs):
        opened.append(Path(source).name)
        initialise(self, source, **kwargs)

    monkeypatch.setattr(VideoReader, '__init__', opening)
    forward = TinyBackbone.forward

    def encoding(self, images):
        encoded.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(TinyBackbone, 'forward', encoding)
    return opened, encoded


def test_videos_on_both_lists_are_encoded_once(videos, tmp_path, monkeypatch):
    """Of the queries, five are in the gallery, one of these twice; labels are theirs."""
    numbers = [10, 2, 0, 6, 2, 5, 4, 9]
    lines = [f'video_{number}.mp4 {label % 2}\n' for label, number in enumerate(numbers)]
    (tmp_path / 'query.txt').write_text(''.join(lines))
    runner = stub_runner(videos)
    hook = build_hook(videos, ann_file='gallery', query_ann_file=str(tmp_path / 'query.txt'))
    hook.before_train(runner)
    opened, encoded = count_reads(monkeypatch)
    hook.after_train_epoch(runner)
    assert len(opened) == len({*opened}) == 7 + 2
    assert sum(encoded) == 9 * encoded[0] // 2
    expected = expected_accuracy(runner, videos.parent / 'gallery.txt', tmp_path / 'query.txt')
    assert runner.visualizer == [(EPOCHS, {'knn/top1': expected['top1']})]


@pytest.mark.parametrize(('videos_kept', 'num_workers'), [(0, 0), (5, 0), (11, 2)])
def test_frames_are_kept_where_they_fit(videos, monkeypatch, videos_kept, num_workers):
    """Whole batches, of two videos and of the last one; features are those of the new weights."""
    size = 6 * 3 * 32 * 32  # bytes of a video
    runner = stub_runner(videos)
    hook = build_hook(videos, keep_gib=videos_kept * size / 2**30, num_workers=num_workers)
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    assert len(hook.loaders[0].kept) == {0: 0, 5: 3, 11: 6}[videos_kept]
    for parameter in runner.model.backbone.parameters():
        parameter.data += 0.1
    opened, encoded = count_reads(monkeypatch)
    hook.after_train_epoch(runner)
    assert len(opened) == {0: 11, 5: 6, 11: 0}[videos_kept] and sum(encoded) == 11 * 6
    expected = expected_accuracy(runner, videos.parent / 'all.txt', batch_size=2)
    assert runner.visualizer[1] == (EPOCHS, {'knn/top1': expected['top1']})


# What is refused before training ----------------------------------------------------------------

TWO = ['video_1.mp4 0', 'video_2.mp4 1']


@pytest.mark.parametrize(
    ('lines', 'arguments', 'words'),
    [
        (None, {}, 'list.txt: no such annotation list'),
        (['gone.mp4 0'], {}, 'list.txt, line 1: {root}/gone.mp4 does not exist'),
        (['video_0.mp4', *TWO], {}, "list.txt: 'labels' of 1 of 3"),
        (
            ['video_0.mp4 0', *TWO],
            {},
            'cannot find 3 neighbours in {list}, it has 2 videos besides the query itself',
        ),
        (TWO, dict(k=0), 'cannot find 0 neighbours'),
        (TWO, dict(k=1, temperature=0), 'temperature is 0;'),
        (TWO, dict(k=1, query_ann_file='gone.txt'), 'gone.txt: no such annotation list'),
    ],
)
def test_faults_are_found_before_training(videos, tmp_path, lines, arguments, words):
    path = tmp_path / 'list.txt'
    if lines is not None:
        path.write_text('\n'.join(lines))
    hook = build_hook(videos, **arguments)
    hook.ann_files[0] = str(path)
    with pytest.raises(UserError) as error:
        hook.before_train(stub_runner(videos))
    assert words.format(root=videos, list=path) in str(error.value)
    assert '\n' not in str(error.value)


def test_runs_that_it_cannot_probe_are_refused(videos):
    runner = stub_runner(videos)
    runner.cfg.pop('feature_pipeline')
    with pytest.raises(UserError, match='has neither feature_pipeline nor test_pipeline'):
        build_hook(videos).before_train(runner)
    runner = stub_runner(videos)
    runner.train_loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    with pytest.raises(UserError, match='needs an EpochBasedTrainLoop, not IterBasedTrainLoop'):
        build_hook(videos).before_train(runner)


def test_many_videos_are_warned_of(videos, monkeypatch):
    monkeypatch.setattr(online_knn, 'MANY_PAIRS', 0)
    runner = stub_runner(videos)
    build_hook(videos).before_train(runner)
    (warning,) = runner.logger
    assert warning.endswith('; a few thousand are enough')


def test_files_are_named_as_the_training_videos_are(videos, tmp_path):
    """Raw frames under a name of their own."""
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        for number in range(4):
            (tmp_path / folder / f'f{number}.png').write_bytes(b'never opened')
    (tmp_path / 'list.txt').write_text('a 4 0\nb 4 1\n')
    runner = stub_runner(videos)
    runner.cfg.feature_pipeline = [dict(type='RawFrameDecode')]
    runner.cfg.train_dataloader.dataset.update(filename_tmpl='f{}.png', start_index=0)
    hook = OnlineKNNHook(str(tmp_path / 'list.txt'), str(tmp_path), k=1)
    hook.before_train(runner)
    info = hook.loaders[0].dataset.get_data_info(1)
    assert (info['filename_tmpl'], info['start_index']) == ('f{}.png', 0)
    assert info['frame_dir'] == str(tmp_path / 'b')


# What it leaves alone ---------------------------------------------------------------------------


def test_random_states_and_modes_stay(videos):
    """Of the process, and of the model; the pipeline draws."""

    def draws():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    model = build_tiny(5, backbone=dict(type='TinyBackbone', norm=True))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    runner, hook = stub_runner(videos, model), build_hook(videos)
    runner.cfg.feature_pipeline.insert(4, dict(type='Flip', flip_ratio=0.5))
    runner.cfg.feature_pipeline.insert(4, dict(type='ColorJitter'))
    before = draws()
    hook.before_train(runner)
    for _ in range(2):
        hook.after_train_epoch(runner)
        assert draws() == before
    assert all(module.training for module in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


class Watch(Hook):
    """Notes the losses."""

    def before_train(self, runner):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({key: value.item() for key, value in outputs.items()})


def train(videos, folder, *hooks):
    """Three epochs; workers, which start anew in each, take their seed from the process's state."""
    cfg = tiny_config(videos, folder, f'knn {folder}', epochs=EPOCHS, momentum=0.9)
    cfg.model.backbone.norm = True
    cfg.custom_hooks = list(hooks)
    cfg.train_dataloader.num_workers = 1
    cfg.visualizer = dict(
        type='Visualizer',
        vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
    )
    runner, watch = Runner.from_cfg(cfg), Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    return watch.losses, runner


@pytest.fixture(scope='module')
def with_hook(videos, tmp_path_factory):
    """A run with a probe every second epoch, and at the end."""
    return train(videos, tmp_path_factory.mktemp('with'), hook_cfg(videos, interval=2))


def test_training_goes_on_as_without_the_hook(with_hook, videos, tmp_path):
    losses, runner = train(videos, tmp_path)
    assert with_hook[0] == losses
    assert len({loss['loss'] for loss in losses}) == len(losses) == EPOCHS * 2
    for key, value in runner.model.state_dict().items():
        assert torch.equal(with_hook[1].model.state_dict()[key], value), key


def test_the_probe_is_that_of_the_epoch_s_checkpoint(with_hook, videos):
    """The line in the log against features extracted from the file; JSON, TensorBoard alike."""
    runner = with_hook[1]
    log = Path(f'{runner.log_dir}/{runner.timestamp}.log').read_text()
    lines = re.findall(r'online kNN, epoch (\d): top-1 ([\d.]+) \(chance 33.3\), k 3', log)
    assert [epoch for epoch, _ in lines] == ['2', '3']
    pipeline, expected = feature_pipeline(runner.cfg), {}
    for epoch, top1 in lines:
        model = build_encoder(runner.cfg, f'{runner.work_dir}/epoch_{epoch}.pth')
        features = extract_features(model, pipeline, hook_cfg(videos)['ann_file'], str(videos))
        accuracy = knn_accuracy(features, features, 3, leave_one_out=True)['top1']
        assert float(top1) == pytest.approx(accuracy, abs=0.051)
        expected[int(epoch)] = pytest.approx(accuracy, rel=1e-6)

    folder = f'{runner.log_dir}/vis_data'
    for name in ('scalars', runner.timestamp):
        records = [json.loads(line) for line in open(f'{folder}/{name}.json')]
        assert {r['step']: r['knn/top1'] for r in records if 'knn/top1' in r} == expected
    accumulator = EventAccumulator(folder).Reload()
    assert {e.step: e.value for e in accumulator.Scalars('knn/top1')} == expected


# On a terminal ----------------------------------------------------------------------------------


def test_no_bar_without_a_terminal(videos, capsys, monkeypatch):
    for variable in ('FORCE_COLOR', 'TTY_COMPATIBLE'):
        monkeypatch.delenv(variable, raising=False)
    probe(stub_runner(videos), build_hook(videos))
    assert capsys.readouterr().err == ''


def test_the_bar_of_training_waits(videos, capsys, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('COLUMNS', '100')
    bar = ProgressBarHook()
    runner = stub_runner(videos, hooks=[bar])
    runner.iter, runner.max_iters = 2, 4
    bar.before_train(runner)
    capsys.readouterr()
    probe(runner, build_hook(videos))
    shown = re.findall('Online kNN|Pretraining', capsys.readouterr().err)
    bar.after_train(runner)
    probed = [i for i, name in enumerate(shown) if name == 'Online kNN']
    assert probed == list(range(probed[0], probed[-1] + 1))
    assert shown[-1] == 'Pretraining'


# Two processes ----------------------------------------------------------------------------------


def probes(videos, model):
    """By itself, 11 videos; and of one video by 7: both leave processes with unequal shares."""
    found = []
    one_by_seven = dict(ann_file='gallery', query_ann_file=str(videos.parent / 'one.txt'), k=2)
    for lists in ({}, one_by_seven):
        runner, hook = stub_runner(videos, model), build_hook(videos, **lists)
        hook.before_train(runner)
        hook.after_train_epoch(runner)
        found.append([*runner.logger, *runner.visualizer])
    return found


def process(rank, videos):
    """The body of each process."""
    return probes(videos, MMDistributedDataParallel(build_tiny(5), device_ids=None))


def test_two_processes_find_what_one_does(videos, tmp_path):
    (videos.parent / 'one.txt').write_text('video_9.mp4 0\n')
    first, second = run_in_processes(process, tmp_path, videos)
    assert first == probes(videos, build_tiny(5))
    assert second == [[], []]  # only the main process computes and logs
