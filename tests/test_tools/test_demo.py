"""The demo: which videos it takes for what, and one small run from videos to report."""

import json
import os
import re
import shlex
import shutil
import signal
import time
from functools import partial, partialmethod
from pathlib import Path
from types import SimpleNamespace

import demo_stages as demo
import numpy as np
import pytest
from mmengine.config import Config
from tiny_vclr import call_tool, write_videos
from torch import nn

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, linear_probe
from mmssl_video.evaluation.frozen import FrozenResult

SMALL = 'configs/{0}_slowonly-r18_1x16-4x2x{1}-16e_generated-rgb.py'
LOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'
CONTRAST = demo.ROOT / SMALL.format('simclr/simclr', 2)


def own_recipe():
    return demo.load_recipe(demo.ROOT / demo.CONFIG)


def lines(path):
    return path.read_text().splitlines()


def touch(folder, *names):
    """Files that look like videos to whoever does not decode them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'\0')


@pytest.fixture
def classes(tmp_path):
    """Two class folders, with three films of three clips each."""
    clips = [f'{film}_{clip}.mp4' for film in ('one', 'two', 'three') for clip in range(3)]
    touch(tmp_path / 'v', *(f'{name}/{clip}' for name in ('run', 'sit') for clip in clips))
    return tmp_path / 'v'


def test_lists_of_a_folder(classes, tmp_path, capsys):
    """In the work directory, without labels in the first; the report's commands name files."""
    videos, work_dir = demo.find_videos(classes, tmp_path / 'out', 0, own_recipe())
    gallery, query = lines(videos.gallery_list), lines(videos.query_list)
    assert {path.parent for path in (videos.pretrain_list, videos.query_list)} == {work_dir}
    assert videos.class_names == ['run', 'sit'] and videos.num_pretrain == 12
    assert len(gallery + query) == 18 and len(query) == 6
    assert all(line.startswith(videos.class_names[int(line[-1])]) for line in gallery + query)
    assert lines(videos.pretrain_list) == [line.split()[0] for line in gallery]
    told = ' '.join(capsys.readouterr().err.split())
    assert videos.notes[0] in told and 'Clips of one source' in told
    cfg = demo.load_recipe(CONTRAST)
    commands = demo.next_commands(videos, tmp_path / 'x.pth', cfg)
    commands = ' '.join(command for _, command in commands)
    assert f'VIDEO_DIR --config {CONTRAST.relative_to(demo.ROOT)}' in commands
    for path in re.findall(r'--ann-file (\S+)|--data-root (\S+)|(tools/\w+\.\w+)', commands):
        assert (demo.ROOT / next(filter(None, path))).exists()


def test_commands_for_paths_that_a_shell_would_split(tmp_path):
    root, work_dir = tmp_path / "my $x & y's, z", tmp_path / 'a run, of two'
    videos = demo.Videos(root, work_dir)
    videos.class_names = ['run', 'sit']
    cfg = demo.load_recipe(CONTRAST)
    commands = demo.next_commands(videos, work_dir / 'epoch_1.pth', cfg)
    words = [shlex.split(command) for _, command in commands]
    assert ['--data-root', str(root)] in [each[-2:] for each in words]
    files = {word for each in words for word in each if str(tmp_path) in word}
    assert {str(Path(file).relative_to(tmp_path)) for file in files} == {
        root.name,
        f'{work_dir.name}/epoch_1.pth',
        f'{work_dir.name}/gallery.txt',
        f'{work_dir.name}/query.txt',
        f'{work_dir.name}/settings/{CONTRAST.name}',
        f'{work_dir.name}/finetune/finetune_all.py',
    }


def test_a_folder_without_labels(tmp_path):
    touch(tmp_path / 'v', 'a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm')
    videos, _ = demo.find_videos(tmp_path / 'v', tmp_path / 'out', 0, own_recipe())
    assert lines(videos.pretrain_list) == ['a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm']
    assert videos.class_names == [] and videos.num_pretrain == 4
    assert lines(videos.gallery_list) == lines(videos.query_list) == []


def test_a_run_goes_on_unless_videos_lists_or_recipe_change(classes, tmp_path, capsys):
    def run(seed=0, cfg=None):
        cfg = cfg or own_recipe()
        work_dir = demo.find_videos(classes, tmp_path / 'out', seed, cfg)[1]
        return work_dir, 'a new run starts' in capsys.readouterr().err

    first, anew = run()
    assert not anew
    touch(classes, 'notes.txt', 'run/cover.jpg', 'x.zip', 'run/.hidden.mp4')
    assert run() == (first, False)
    other_seed, anew = run(seed=1)
    assert other_seed != first and not anew
    touch(classes, 'run/four_0.mp4')
    second, anew = run()
    assert second != first and anew
    assert run() == (second, False)
    (classes / 'run/four_0.mp4').unlink()
    assert run() == (first, False)  # what it was
    for name, film in (('train', 'one'), ('test', 'two')):
        clips = [f'{label}/{film}_{clip}.mp4' for label in ('run', 'sit') for clip in range(2)]
        entries = (f'{clip} {number // 2}\n' for number, clip in enumerate(clips))
        (classes / f'{name}.txt').write_text(''.join(entries))
    assert run()[0] not in (first, second)
    other, anew = run(cfg=demo.load_recipe(CONTRAST))
    assert other.name.startswith('simclr_slowonly-r18') and not anew
    changed = demo.load_recipe(CONTRAST)
    changed.optim_wrapper.optimizer.lr = 0.5
    assert run(cfg=demo.load_recipe(CONTRAST)) == (other, False) != run(cfg=changed)


# Recipes --------------------------------------------------------------------------------------


def test_the_own_recipe_for_few_videos():
    """100 of 600 videos: 6 times the epochs, batches and queues of a quarter of them at most."""
    cfg = own_recipe()
    demo.fit_recipe(cfg, 100)
    assert cfg.train_cfg.max_epochs == 120 and cfg.train_dataloader.batch_size == 25
    warmup, cosine = cfg.param_scheduler
    assert (warmup['begin'], warmup['end'], cosine['begin'], cosine['end']) == (0, 12, 12, 120)
    assert cfg.model.heads.inter.queue_size == cfg.model.heads.video.queue_size == 25
    assert cfg.default_hooks.checkpoint.interval == 6
    cfg = own_recipe()
    demo.fit_recipe(cfg, 100_000)
    assert cfg.train_cfg.max_epochs == 3 and cfg.param_scheduler[1]['end'] == 3
    assert cfg.train_dataloader.batch_size == cfg.model.heads.inter.queue_size == 32


@pytest.mark.parametrize(('name', 'views'), [('mocov2/mocov2', 2), ('rho_moco/rho-moco', 3)])
def test_another_recipe_for_few_videos(name, views):
    """24 videos: its epochs, batches of 6, and a queue of as many of these as before."""
    cfg = demo.load_recipe(demo.ROOT / SMALL.format(name, views))
    epochs, batch = cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size
    (head,) = cfg.model.heads.values()
    num_batches = head.queue_size / batch
    demo.fit_recipe(cfg, 24)
    assert cfg.train_dataloader.batch_size == 6 and head.queue_size == 6 * num_batches
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.train_dataloader.dataset.bad_videos == 'skip'


def test_all_of_a_schedule_is_scaled():
    cfg = Config(
        dict(
            train_cfg=dict(max_epochs=100),
            param_scheduler=[
                dict(type='WarmupCosineLR', warmup=10, begin=0, end=100),
                dict(type='MultiStepLR', by_epoch=True, milestones=[50, 90], end=100),
                dict(type='LinearLR', by_epoch=False, begin=0, end=50),
            ],
        )
    )
    demo.set_epochs(cfg, 30)
    cosine, steps, iterations = cfg.param_scheduler
    assert (cosine.warmup, cosine.begin, cosine.end) == (3, 0, 30)
    assert list(steps.milestones) == [15, 27] and steps.end == 30
    assert iterations.end == 50 and cfg.train_cfg.max_epochs == 30


def test_a_recipe_with_a_removed_head(tmp_path):
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(f"_base_ = '{demo.ROOT / demo.CONFIG}'\nmodel = dict(heads=dict(order=None))")
    cfg = demo.load_recipe(recipe)
    demo.fit_recipe(cfg, 100)
    assert cfg.model.heads.keys() == {'inter', 'intra', 'video'}
    assert cfg.model.heads.inter.queue_size == 25
    commands = dict(demo.next_commands(demo.Videos(tmp_path, tmp_path), tmp_path / 'a.pth', cfg))
    assert 'See the predictions of hidden tokens' not in commands


def test_what_is_no_recipe(tmp_path):
    with pytest.raises(UserError, match='no such config file'):
        demo.load_recipe(tmp_path / 'absent.py')
    with pytest.raises(UserError, match='model.heads is missing'):
        demo.load_recipe(demo.ROOT / demo.FINETUNE)


# Sentences ------------------------------------------------------------------------------------


def test_what_does_no_worse_than_pretraining_is_told():
    """Each baseline by the figures in which it does; pictures alike far above chance."""
    metrics = {
        'pretrained': {'R@1': 30.0, 'R@5': 50.0, 'svm_top1': 40.0, 'probe_top1': 45.0},
        'random': {'R@1': 30.0, 'R@5': 10.0, 'svm_top1': 39.9, 'probe_top1': 10.0},
        'mean_frame': {'R@1': 10.0, 'R@5': 90.0, 'svm_top1': 10.0, 'probe_top1': 10.0},
        'frame_difference': {'R@1': 20.0, 'R@5': 30.0, 'svm_top1': 41.0, 'probe_top1': 46.0},
        'chance': {'R@1': 5.0, 'R@5': 20.0, 'svm_top1': 5.0, 'probe_top1': 5.0},
    }
    assert demo.compare(metrics) == [
        'The same network with random weights does as well or better: Retrieval R@1 30.0 '
        '(pretrained 30.0); see docs/choosing.md.',
        'The frame difference, with no learning, does as well or better: Linear SVM top-1 41.0 '
        '(pretrained 40.0), Linear probe top-1 46.0 (pretrained 45.0); see docs/choosing.md.',
    ]
    better = {'R@1': 70.0, 'R@5': 95.0, 'svm_top1': 80.0, 'probe_top1': 80.0}
    assert demo.compare(metrics | {'pretrained': better}) == []
    pictures = demo.compare(
        metrics | {'pretrained': better, 'mean_frame': metrics['mean_frame'] | {'R@1': 31.0}}
    )
    assert len(pictures) == 1 and 'R@1 of 31.0 (chance 5.0)' in pictures[0]


@pytest.mark.parametrize(('sizes', 'num_costs'), [((6, 2), 4), ((6, 1), 1), ((4, 3), 1)])
def test_costs_of_the_probe(sizes, num_costs, monkeypatch):
    """One is chosen by cross-validation only if every fold leaves two classes to learn."""
    labels = np.repeat([0, 1], sizes)
    found = FeatureSet(np.eye(len(labels)), labels, [f'{n}.mp4' for n in range(len(labels))])
    monkeypatch.setattr(demo, 'feature_pipeline', lambda cfg: [])
    result = FrozenResult({}, {}, found, found, None)
    monkeypatch.setattr(demo, 'evaluate_frozen', lambda *_, **__: result)
    costs = []

    def probe(train, test, C):
        costs.append(C)
        return linear_probe(train, test, C)

    monkeypatch.setattr(demo, 'linear_probe', probe)
    metrics, _ = demo.evaluate(demo.Videos(Path(), Path()), {'pretrained': None}, None)
    assert np.size(costs[0]) == num_costs
    assert metrics['chance']['probe_top1'] == 50


# Runs -----------------------------------------------------------------------------------------


def test_a_changed_recipe_has_a_work_directory_of_its_own(tmp_path, monkeypatch):
    """The demo's own recipe, changed in its file, with the generated videos."""
    cfg = Config.fromfile(demo.ROOT / demo.CONFIG)
    monkeypatch.setattr(demo, 'CONFIG', tmp_path / 'vclr.py')
    monkeypatch.setattr(demo, 'generate_videos', lambda *_: None)
    work_dirs = []

    def pretrain(videos, work_dir, seed, cfg):
        work_dirs.append(work_dir)
        raise UserError('the end of this test')

    monkeypatch.setattr(demo, 'pretrain', pretrain)
    args = SimpleNamespace(video_dir=None, config=None, out=tmp_path / 'out', seed=3)
    for rate in (0.001, 0.001, 0.5):
        cfg.optim_wrapper.optimizer.lr = rate
        cfg.dump(demo.CONFIG)
        with pytest.raises(UserError, match='the end'):
            demo.run(args)
    first, again, changed = work_dirs
    assert first == again != changed and first.parent == tmp_path / 'out'
    assert re.fullmatch(r'pretrain-[0-9a-f]{8}-seed3', first.name)


def test_a_training_stopped_in_its_last_validation_is_repeated(tmp_path, monkeypatch):
    """Its last checkpoint is there, its result is not."""
    scalars = tmp_path / '20260101_000000/vis_data/scalars.json'
    touch(tmp_path, 'epoch_3.pth', 'last_checkpoint', scalars.relative_to(tmp_path))
    scalars.write_text('{"loss": 1.0, "step": 5}\n')
    started = []

    def run(children, command, **_):
        started.append([(tmp_path / name).exists() for name in ('epoch_3.pth', 'last_checkpoint')])
        touch(tmp_path, 'epoch_3.pth')
        scalars.write_text('{"acc/top1": 0.5, "step": 3}\n')
        return 0

    monkeypatch.setattr(demo.Children, 'run', run)
    monkeypatch.setattr(demo, 'MODELS', SimpleNamespace(build=lambda _: nn.Identity()))
    cfg = Config(dict(train_cfg=dict(max_epochs=3), optim_wrapper=dict(), model=dict()))
    demo.train(cfg, 'a.py', tmp_path, 0, 'Training')
    assert started == []
    for _ in range(2):
        demo.train(cfg, 'a.py', tmp_path, 0, 'Training', 'acc/top1')
        assert started == [[False, False]]


@pytest.mark.parametrize(
    ('config', 'wrapper', 'fast'),
    [
        (demo.CONFIG, 'OptimWrapper', True),
        (demo.CONFIG, 'AmpOptimWrapper', False),
        (demo.FOLDER_CONFIG, 'OptimWrapper', False),
        (demo.BMN, 'OptimWrapper', False),
    ],
)
def test_a_training_is_in_bfloat16_where_that_is_fast(config, wrapper, fast, tmp_path, monkeypatch):
    """Here not with 3D convolutions, and not if the recipe has a precision."""
    commands = []
    monkeypatch.setattr(
        demo.Children, 'run', lambda children, command, **_: commands.append(command)
    )
    monkeypatch.setattr(demo, 'is_bfloat16_fast', lambda in_3d: not in_3d)
    cfg = Config.fromfile(demo.ROOT / config)
    cfg.optim_wrapper.type = wrapper
    demo.train(cfg, 'a.py', tmp_path, 0, 'Training')
    assert ['--amp' in command for command in commands] == [fast]


@pytest.mark.parametrize(
    ('settings', 'precision'),
    [
        ({}, 'float32'),
        ({'type': 'Bf16OptimWrapper'}, 'bfloat16'),
        ({'type': 'AmpOptimWrapper'}, 'AmpOptimWrapper'),
    ],
)
def test_precision_of_a_training(settings, precision, tmp_path):
    Config(dict(optim_wrapper=settings)).dump(tmp_path / 'a.py')
    assert demo.precision_of(tmp_path / 'a.py') == precision


@pytest.fixture
def run_demo(forks, monkeypatch):
    """``run_demo(*arguments, kill=None)``: exit status; its trainings are forks that start at once.

    Each that has written the first of its checkpoints in a folder that ``kill`` names is killed.
    """

    def train(children, command, stdout, cwd, kill):
        work_dir = Path(command[command.index('--work-dir') + 1])
        process = forks.start('train.py', *command[2:], out=stdout.name, cwd=cwd)
        if kill and kill in str(work_dir):
            while not (work_dir / 'last_checkpoint').exists():
                time.sleep(0.01)
            os.killpg(process, signal.SIGKILL)
        return forks.wait(process)[0]

    def run(*arguments, kill=None):
        monkeypatch.setattr(demo.Children, 'run', partialmethod(train, kill=kill))
        return call_tool('demo', *arguments, monkeypatch=monkeypatch)

    return run


@pytest.fixture
def make_small(monkeypatch, tmp_path):
    """Leave the demo a few small videos, two epochs, and the first stage of its network."""
    monkeypatch.setattr(demo, 'CLASSES', demo.CLASSES[:2])
    for name, number in (('PRETRAIN', 4), ('GALLERY', 4), ('QUERY', 2)):
        monkeypatch.setattr(demo, f'NUM_{name}', number)
    monkeypatch.setattr(demo, 'NUM_UNTRIMMED', dict(train=2, val=1))
    for name, small in (
        ('write_splits', dict(size=(64, 48), num_frames=12)),
        ('write_untrimmed', dict(seconds=(6, 7))),
        ('evaluate_frozen', dict(num_workers=0)),
    ):
        monkeypatch.setattr(demo, name, partial(getattr(demo, name), **small))
    sheet = demo.grad_cam_sheet  # each row takes a second
    monkeypatch.setattr(
        demo, 'grad_cam_sheet', lambda path, rows, title: sheet(path, rows[:1], title)
    )
    configs = {
        name: Config.fromfile(demo.ROOT / getattr(demo, name))
        for name in ('CONFIG', 'FINETUNE', 'BMN')
    }
    for name, cfg in configs.items():
        cfg.train_cfg.max_epochs, cfg.default_hooks.checkpoint.interval = 2, 1
        cfg.param_scheduler = [dict(type='ConstantLR', factor=1.0)]
        for loader in filter(None, map(cfg.get, LOADERS)):
            loader.update(num_workers=0, persistent_workers=False)
            if name == 'BMN':
                loader.dataset.pipeline[0].channels = 64
    pretraining, finetuning, bmn = (cfg.model for cfg in configs.values())
    for model in (pretraining, finetuning):
        model.backbone.update(num_stages=1, out_indices=(0,), strides=(1,), dilations=(1,))
    configs['CONFIG'].train_dataloader.batch_size = 4
    configs['CONFIG'].feature_pipeline[1].num_clips = 2
    configs['BMN'].train_dataloader.batch_size = 2
    for head in pretraining.heads.values():
        head.projector.update(in_channels=64, hidden_channels=32)
    finetuning.cls_head.in_channels = 64
    bmn.update(feat_dim=64, num_samples=2, num_samples_per_bin=1)
    bmn.update(hidden_dim_1d=8, hidden_dim_2d=4, hidden_dim_3d=8)
    for name, cfg in configs.items():
        monkeypatch.setattr(demo, name, tmp_path / getattr(demo, name).name)
        cfg.dump(getattr(demo, name))


def test_a_folder_by_a_recipe_of_clips(make_small, tmp_path, run_demo):
    """Differences of frames, one epoch; what is written is of this recipe."""
    config = tmp_path / 'differences.py'
    train, features = (
        f"[*_base_.{name}[:-2], dict(type='ClipDifferences'), *_base_.{name}[-2:]]"
        for name in ('train_pipeline', 'feature_pipeline')
    )
    config.write_text(
        f"_base_ = r'{CONTRAST}'\n"
        f'train_dataloader = dict(num_workers=0, persistent_workers=False, '
        f'dataset=dict(pipeline={train}))\n'
        f'feature_pipeline = {features}\n'
        'train_cfg = dict(max_epochs=1)\n'
        'param_scheduler = [dict(type="ConstantLR", factor=1.0)]\n'
    )
    videos, out = tmp_path / 'videos', tmp_path / 'out'
    for name in ('run', 'sit'):
        write_videos(videos / name, 6)
        for path, source in zip((videos / name).iterdir(), 'abcdef', strict=True):
            path.rename(path.with_stem(source))
    assert run_demo(videos, '--config', config, '--out', out) == 0
    metrics = json.loads((out / 'metrics.json').read_text())
    assert set(metrics['pretrained']) == {'R@1', 'R@5', 'svm_top1', 'probe_top1', 'finetune_top1'}
    page = (out / 'report.html').read_text()
    assert 'differences demo' in page and f'VIDEO_DIR --config {config}' in page
    (work_dir,) = out.glob('differences-videos-*')
    network = Config.fromfile(work_dir / 'finetune/pretrained/settings/finetune.py').model
    assert network.type == 'Recognizer3D' and network.cls_head.num_classes == 2
    assert len(lines(work_dir / 'finetune/all.txt')) == 8
    dataset = Config.fromfile(work_dir / demo.FINETUNE_ALL).train_dataloader.dataset
    assert dataset.ann_file == str(work_dir / 'finetune/all.txt')
    assert (work_dir / 'settings/differences.py').is_file()


def metrics_of(out):
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics.pop('seconds') > 0
    return metrics


@pytest.mark.slow
def test_from_videos_to_report(make_small, run_demo, tmp_path, monkeypatch):
    """The same after its trainings were killed; what was trained is not trained again."""
    out = tmp_path / 'out'
    assert run_demo('--seed', 5, '--out', out) == 0
    metrics = metrics_of(out)
    assert metrics['seed'] == 5
    frozen = {'R@1', 'R@5', 'svm_top1', 'probe_top1'}
    trained = {'finetune_top1', 'proposal_auc'}
    for features in ('pretrained', 'random', 'mean_frame', 'frame_difference', 'chance'):
        trivial = features in ('mean_frame', 'frame_difference')
        assert set(metrics[features]) == frozen | (set() if trivial else trained)
        assert all(0 <= value <= 100 for value in metrics[features].values())
    assert metrics['pretrained'] != metrics['random']
    page = (out / 'report.html').read_text()
    assert all(f'>{name}<' in page for name in ('inter', 'intra', 'video'))
    for title in ('Nearest neighbours', 'What it looks at', 'Map of the features'):
        assert f'>{title}</h2>' in page
    assert page.count('data:image/png;base64,') == 3 and '>Actions in long videos</h2>' in page
    assert not re.search(r'(src|href)="https?:', page)
    # Pretraining; fine-tuning and BMN, each from two starts.
    assert len(list(out.glob('pretrain-*-seed5/**/epoch_2.pth'))) == 5

    monkeypatch.setattr(demo, 'draw', lambda *_: [])  # pictures take half of what is left
    broken, trained = tmp_path / 'broken', {}
    for videos in ('videos-seed5', 'untrimmed-seed5'):
        shutil.copytree(out / videos, broken / videos)
    for training in ('broken/pretrain-', 'bmn-pretrained'):  # the first and a late one
        assert run_demo('--seed', 5, '--out', broken, kill=training) == 2
        for path in broken.rglob('epoch_2.pth'):
            trained.setdefault(path, path.stat().st_mtime_ns)
    assert run_demo('--seed', 5, '--out', broken) == 0
    assert len(trained) == 3
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    assert metrics_of(broken) == metrics
