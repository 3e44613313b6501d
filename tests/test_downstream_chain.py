"""The whole way, command by command: videos → pretraining → export → every downstream result."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_vclr import load_tool

from mmssl_video.datasets.collection import write_list
from mmssl_video.evaluation import FeatureSet
from mmssl_video.generated.scenes import CLASSES, write_splits
from mmssl_video.generated.untrimmed import write_untrimmed
from mmssl_video.visualization import read_scalars

ROOT = Path(__file__).resolve().parents[1]
FINETUNE = 'configs/downstream/finetune'
# Recognizer → key of PRETRAINING.
RECOGNIZERS = {
    'tsn_r18_1x8-1x1x3-20e_generated-rgb.py': 'frames',
    'tsm_r18_1x8-1x1x8-20e_generated-rgb.py': 'frames',
    'slowonly-r18_1x8-4x2x1-20e_generated-rgb.py': 'clips',
}
# Config of pretraining and its options.
PRETRAINING = {
    'frames': (
        'configs/vclr/vclr_r18_demo.py',
        ['model.heads.inter.queue_size=8', 'model.heads.video.queue_size=8'],
    ),
    'clips': (
        'configs/mocov2/mocov2_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py',
        ['model.heads.moco.queue_size=8'],
    ),
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def run():
    """``run(tool, *arguments)`` calls the ``main`` of ``tools/<tool>.py``, in this process."""
    with pytest.MonkeyPatch.context() as patch:

        def call(tool, *arguments):
            patch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
            load_tool(tool).main()

        yield call


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """12 unlabelled, 9 labelled and 6 test videos of 3 classes, with their lists."""
    root = tmp_path_factory.mktemp('chain')
    splits = write_splits(
        root, 0, (4, 3, 2), classes=CLASSES[:3], size=(64, 64), num_frames=12, num_workers=1
    )
    for name, entries in zip(('unlabelled', 'train', 'test'), splits, strict=True):
        write_list(root / f'{name}.txt', entries)
    return root


@pytest.fixture(scope='module')
def pretrained(videos, run):
    """One epoch of pretraining: the checkpoints of frames and of clips."""
    checkpoints = {}
    for name, (config, options) in PRETRAINING.items():
        work_dir = videos / 'runs' / name
        run(
            'train',
            *(ROOT / config, '--work-dir', work_dir, '--seed', 0, '--cfg-options'),
            f'train_dataloader.dataset.ann_file={videos}/unlabelled.txt',
            f'train_dataloader.dataset.data_prefix.video={videos}',
            *('train_dataloader.batch_size=4', 'train_dataloader.num_workers=0'),
            'train_dataloader.persistent_workers=False',
            *('train_cfg.max_epochs=1', *options),
        )
        checkpoints[name] = work_dir / 'epoch_1.pth'
    return checkpoints


def data_options(videos, train_list='train.txt'):
    options = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    for part in ('train', 'val', 'test'):
        ann_file = train_list if part == 'train' else 'test.txt'
        options += [
            f'{part}_dataloader.dataset.ann_file={videos / ann_file}',
            f'{part}_dataloader.dataset.data_prefix.video={videos}',
            f'{part}_dataloader.num_workers=0',
            f'{part}_dataloader.persistent_workers=False',
        ]
    return options


@pytest.mark.parametrize('branch', ['online', 'target'])
def test_export_holds_the_branch(videos, pretrained, run, branch):
    out = videos / f'{branch}.pth'
    run('export_backbone', pretrained['frames'], out, '--branch', branch)
    exported = torch.load(out)['state_dict']
    source = torch.load(pretrained['frames'], weights_only=False)['state_dict']
    prefix = {'online': 'backbone.', 'target': 'target_backbone.module.'}[branch]
    assert len(exported) == 120  # 20 convolutions, 20 normalisations of 5 tensors
    for key, value in exported.items():
        assert torch.equal(value, source[prefix + key.removeprefix('backbone.')])


@pytest.mark.parametrize('config', RECOGNIZERS)
def test_finetune_loads_all_trains_and_tests_alike(videos, pretrained, run, config, capsys):
    work_dir = videos / 'runs' / Path(config).stem
    checkpoint = pretrained[RECOGNIZERS[config]]
    if config.startswith('tsn'):  # by way of the exported file, the others as they are
        run('export_backbone', checkpoint, videos / 'backbone.pth')
        checkpoint = videos / 'backbone.pth'
    options = [*data_options(videos), 'model.cls_head.num_classes=3', 'train_cfg.max_epochs=2']
    options += ['train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2']
    capsys.readouterr()
    run(
        *('train', ROOT / FINETUNE / config, '--work-dir', work_dir, '--seed', 0),
        *('--cfg-options', f'load_from={checkpoint}', *options),
    )
    log = next(work_dir.glob('*/*.log')).read_text()
    loaded, total = re.search(r'backbone: (\d+) of (\d+) tensors from', log).groups()
    assert loaded == total == '100'
    before = torch.load(checkpoint, weights_only=False)['state_dict']
    after = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
    change = after['backbone.conv1.conv.weight'] - before['backbone.conv1.conv.weight']
    assert 0 < change.abs().max() < 0.1  # it started there, and was trained

    test_dir = videos / 'runs' / f'{Path(config).stem}-test'
    run(
        *('test', ROOT / FINETUNE / config, work_dir / 'epoch_2.pth', '--work-dir', test_dir),
        *('--cfg-options', *options),
    )
    (result,) = test_dir.glob('*/*.json')
    top1 = json.loads(result.read_text().splitlines()[-1])['acc/top1']
    assert round(6 * top1) == pytest.approx(6 * top1)
    if config.startswith('tsm'):  # whose pipelines of validation and test are one
        assert top1 == read_scalars(work_dir)['acc/top1'][1][-1]


def test_features_svm_probe_retrieval_and_map(videos, pretrained, run):
    for part in ('train', 'test'):
        run(
            *('extract_features', ROOT / PRETRAINING['frames'][0], pretrained['frames']),
            *(videos / f'{part}.npz', '--ann-file', videos / f'{part}.txt'),
            *('--data-root', videos, '--workers', 0),
        )
    train, test = videos / 'train.npz', videos / 'test.npz'
    features = FeatureSet.load(train)
    assert features.features.shape == (9, 512) and features.labels.tolist() == [0, 1, 2] * 3
    for tool in ('linear_svm', 'linear_probe', 'retrieval'):
        more = []
        if tool == 'retrieval':
            more = ['--visualize', videos / 'sheet.png', '--gallery-root', videos]
            more += ['--query-root', videos]
        run(tool, train, test, '--out', videos / f'{tool}.json', *more)
        result = json.loads((videos / f'{tool}.json').read_text())
        assert 0 <= result['R@1' if tool == 'retrieval' else 'top1'] <= 100
    run('feature_map', train, '--out', videos / 'map.png')
    for name in ('sheet', 'map'):
        assert min(Image.open(videos / f'{name}.png').size) > 300


def test_few_labels(videos, run):
    run('subset_annotations', videos / 'train.txt', videos / 'few.txt', '--per-class', 1)
    few = (videos / 'few.txt').read_text().splitlines()
    assert sorted(line[-1] for line in few) == ['0', '1', '2']
    assert set(few) < set((videos / 'train.txt').read_text().splitlines())


def test_what_the_network_looks_at_and_is_fed(videos, pretrained, run):
    config = ROOT / PRETRAINING['frames'][0]
    video = videos / (videos / 'test.txt').read_text().split()[0]
    run('grad_cam', config, pretrained['frames'], video, '--out', videos / 'cam.png')
    run(
        *('browse_dataset', config, '--out', videos / 'views.png', '--num', 1, '--cfg-options'),
        f'train_dataloader.dataset.data_prefix.video={videos}',
    )
    for name in ('cam', 'views'):
        assert min(Image.open(videos / f'{name}.png').size) > 200


def test_actions_in_untrimmed_videos(videos, pretrained, run):
    root = videos / 'untrimmed'
    annotations = write_untrimmed(root, dict(train=4, val=2), 0, seconds=(8, 10), num_workers=1)
    features = root / 'features'
    run(
        *('extract_bmn_features', ROOT / PRETRAINING['frames'][0], pretrained['frames'], features),
        *('--ann-file', *annotations, '--data-root', root / 'videos', '--interval', 4),
        *('--workers', 0),
    )
    options = []
    for part in ('train', 'val', 'test'):
        name = 'train' if part == 'train' else 'val'
        options += [
            f'{part}_dataloader.dataset.ann_file={features}/anet_anno_{name}.json',
            f'{part}_dataloader.dataset.data_prefix.video={features}/csv',
            f'{part}_dataloader.num_workers=0',
            f'{part}_dataloader.persistent_workers=False',
        ]
    config = 'configs/downstream/localization/bmn_tsn-r18_1x4-512x100-20e_generated-feature.py'
    small = ['model.hidden_dim_1d=8', 'model.hidden_dim_2d=4', 'model.hidden_dim_3d=8']
    options += [*small, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    work_dir = videos / 'runs' / 'bmn'
    run(
        *('train', ROOT / config, '--work-dir', work_dir, '--seed', 0, '--cfg-options', *options),
        'default_hooks.checkpoint.interval=1',
    )
    trained = read_scalars(work_dir)
    run(
        *('test', ROOT / config, work_dir / 'epoch_1.pth', '--work-dir', work_dir / 'test'),
        *('--cfg-options', *options),
    )
    (result,) = (work_dir / 'test').glob('*/*.json')
    result = json.loads(result.read_text().splitlines()[-1])
    assert result['auc'] == trained['auc'][1][-1] and 0 < result['AR@100'] <= 1
    run(
        'visualize_proposals',
        *(work_dir / 'test/results.json', annotations[1], videos / 'proposals.png'),
        *('--data-root', root / 'videos'),
    )
    assert min(Image.open(videos / 'proposals.png').size) > 300
