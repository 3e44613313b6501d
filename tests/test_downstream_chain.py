"""The whole way, command by command: videos → pretraining → export → recognizers and features.

The way to actions in untrimmed videos is that of tools/demo.py, in test_tools/test_demo.py.
"""

import json
import re
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from config_helpers import steps_of
from mmengine.config import Config
from PIL import Image
from tiny_vclr import load_tool

from mmssl_video.datasets.collection import write_list
from mmssl_video.evaluation import FeatureSet
from mmssl_video.generated.scenes import CLASSES, write_splits
from mmssl_video.visualization import read_scalars

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FINETUNE = 'downstream/finetune'
# Recognizer → key of PRETRAINING.
RECOGNIZERS = {
    'tsn_r18_1x8-1x1x3-20e_generated-rgb.py': 'frames',
    'tsm_r18_1x8-1x1x8-20e_generated-rgb.py': 'frames',
    'slowonly-r18_1x8-4x2x1-20e_generated-rgb.py': 'clips',
}
PRETRAINING = {
    'frames': 'vclr/vclr_r18_demo.py',
    'clips': 'mocov2/mocov2_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py',
}
# The first stage of the network alone; TSM needs all four of its own.
FIRST_STAGE = dict(num_stages=1, out_indices=(0,), dilations=(1,), inflate=(0,))
FIRST_STAGE |= dict(spatial_strides=(1,), temporal_strides=(1,))
PARTS = 'train', 'val', 'test'
NO_WORKERS = dict(num_workers=0, persistent_workers=False)
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
def small(videos):
    """``small(path, kind)`` -> a recipe of small pictures, without workers."""

    def write(path, kind):
        cfg = Config.fromfile(CONFIGS / path)
        channels = 512
        if kind == 'clips':
            cfg.model.backbone.update(FIRST_STAGE)
            channels = 16
        for head in cfg.model.get('heads', {}).values():
            head.projector.in_channels = channels
            if 'queue_size' in head:
                head.queue_size = 8
        if 'cls_head' in cfg.model:
            cfg.model.cls_head.update(in_channels=channels, num_classes=3)
        pipelines = [cfg.get('feature_pipeline', [])]
        for loader in filter(None, (cfg.get(f'{part}_dataloader') for part in PARTS)):
            loader.update(NO_WORKERS)
            pipelines.append(loader.dataset.pipeline)
        for _, step in chain.from_iterable(map(steps_of, pipelines)):
            if step.type == 'Resize':
                step.update(scale=(32, 32), keep_ratio=False)
            elif step.type == 'CenterCrop':
                step.crop_size = 32
        cfg.dump(videos / Path(path).name)
        return videos / Path(path).name

    return write


@pytest.fixture(scope='module')
def pretrained(videos, small, run):
    """One epoch of pretraining: config and checkpoint, of frames and of clips."""
    found = {}
    for kind, path in PRETRAINING.items():
        config, work_dir = small(path, kind), videos / 'runs' / kind
        run(
            *('train', config, '--work-dir', work_dir, '--seed', 0, '--cfg-options'),
            f'train_dataloader.dataset.ann_file={videos}/unlabelled.txt',
            f'train_dataloader.dataset.data_prefix.video={videos}',
            *('train_dataloader.batch_size=4', 'train_cfg.max_epochs=1'),
        )
        found[kind] = config, work_dir / 'epoch_1.pth'
    return found


@pytest.mark.parametrize('recipe', RECOGNIZERS)
def test_finetune_loads_all_trains_and_tests_alike(videos, small, pretrained, run, recipe):
    kind = RECOGNIZERS[recipe]
    config, checkpoint = small(f'{FINETUNE}/{recipe}', kind), pretrained[kind][1]
    if recipe.startswith('tsn'):  # by way of the exported file, the others as they are
        run('export_backbone', checkpoint, videos / 'backbone.pth')
        checkpoint = videos / 'backbone.pth'
    options = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    options += ['default_hooks.checkpoint.interval=1']
    for part in PARTS:
        data, name = f'{part}_dataloader.dataset', 'train' if part == 'train' else 'test'
        options += [f'{data}.ann_file={videos}/{name}.txt', f'{data}.data_prefix.video={videos}']
    work_dir, test_dir = (videos / name / Path(recipe).stem for name in ('runs', 'tests'))
    run(
        *('train', config, '--work-dir', work_dir, '--seed', 0),
        *('--cfg-options', f'load_from={checkpoint}', *options),
    )
    log = next(work_dir.glob('*/*.log')).read_text()
    loaded, total = re.search(r'backbone: (\d+) of (\d+) tensors from', log).groups()
    # Of 20 convolutions, or 5, and their normalisations.
    assert loaded == total == {'frames': '100', 'clips': '25'}[kind]
    before = torch.load(checkpoint, weights_only=False)['state_dict']
    after = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']
    change = after['backbone.conv1.conv.weight'] - before['backbone.conv1.conv.weight']
    assert 0 < change.abs().max() < 0.1  # it started there, and was trained

    run(
        *('test', config, work_dir / 'epoch_1.pth', '--work-dir', test_dir),
        *('--cfg-options', *options),
    )
    (result,) = test_dir.glob('*/*.json')
    top1 = json.loads(result.read_text().splitlines()[-1])['acc/top1']
    assert round(6 * top1) == pytest.approx(6 * top1)
    if recipe.startswith('tsm'):  # whose pipelines of validation and test are one
        assert top1 == read_scalars(work_dir)['acc/top1'][1][-1]


def test_features_svm_probe_and_retrieval(videos, pretrained, run):
    for part in ('train', 'test'):
        run(
            *('extract_features', *pretrained['frames'], videos / f'{part}.npz'),
            *('--ann-file', videos / f'{part}.txt', '--data-root', videos),
            *('--workers', 0, '--num-frames', 2),
        )
    train, test = videos / 'train.npz', videos / 'test.npz'
    features = FeatureSet.load(train)
    assert features.features.shape == (9, 512) and features.labels.tolist() == [0, 1, 2] * 3
    pictures = ['--visualize', videos / 'sheet.png', '--gallery-root', videos]
    pictures += ['--query-root', videos]
    for tool, key in (('linear_svm', 'top1'), ('linear_probe', 'top1'), ('retrieval', 'R@1')):
        more = pictures if tool == 'retrieval' else []
        run(tool, train, test, '--out', videos / f'{tool}.json', *more)
        assert 0 <= json.loads((videos / f'{tool}.json').read_text())[key] <= 100
    assert min(Image.open(videos / 'sheet.png').size) > 300
