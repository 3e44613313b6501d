"""BMN on features of ours: configs, a step, training and test on features that tell the action."""

import json
import re
from copy import deepcopy
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmaction.evaluation import average_recall_at_avg_proposals
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from tiny_vclr import REPOSITORY, call_tool

from mmssl_video.engine.hooks import ResultsInWorkDirHook
from mmssl_video.visualization import read_scalars

FOLDER = REPOSITORY / 'configs' / 'downstream' / 'localization'
CONFIGS = sorted(path.name for path in FOLDER.glob('*.py'))
SMALL = 'bmn_tsn-r18_1x4-512x100-20e_generated-feature.py'
NAME = re.compile(
    r'bmn_(?P<backbone>tsn-r50|slowonly-r50|r2plus1d18|tsn-r18)_(?P<gpus>\d)x(?P<batch>\d)'
    r'-(?P<channels>\d+)x(?P<bins>\d+)-(?P<epochs>\d+)e_(activitynet|generated)-feature.py'
)
WIDTHS = {'tsn-r50': 2048, 'slowonly-r50': 2048, 'r2plus1d18': 512, 'tsn-r18': 512}
BINS, CHANNELS = 20, 8  # of the made-up features
# The full model takes seconds to build and to run.
SMALL_MODEL = dict(num_samples=2, num_samples_per_bin=1)
SMALL_MODEL |= dict(hidden_dim_1d=8, hidden_dim_2d=4, hidden_dim_3d=8)


@cache
def _read(name):
    return Config.fromfile(FOLDER / name)


def load(name):
    cfg = deepcopy(_read(name))
    init_default_scope(cfg.default_scope)
    return cfg


def write_features(folder, split, count, bins, channels, interval):
    """Features whose channel 0 is 1 within actions; one or two actions of whole bins a video."""
    (folder / 'csv').mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([len(split), count])
    frames, seconds = 10 * interval + 3, 50.0
    covered = seconds * 10 * interval / frames
    annotations = {}
    for number in range(count):
        features = rng.normal(0, 0.1, (bins, channels))
        half = bins // 2
        segments = []
        for offset in range(0, half * int(rng.integers(1, 3)), half):
            start = offset + int(rng.integers(1, half // 2))
            end = start + int(rng.integers(2, half // 2))
            features[start:end, 0] += 1
            segments.append([start / bins * covered, end / bins * covered])
        name = f'v_{split}{number}'
        header = ','.join(f'f{i}' for i in range(channels))
        path = folder / 'csv' / f'{name}.csv'
        np.savetxt(path, features, delimiter=',', header=header, comments='', fmt='%.4f')
        annotations[name] = dict(
            duration_second=seconds,
            duration_frame=frames,
            feature_frame=10 * interval,
            annotations=[dict(segment=segment, label='Jump') for segment in segments],
        )
    path = folder / f'anet_anno_{split}.json'
    path.write_text(json.dumps(annotations))
    return path


# Configs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', CONFIGS)
def test_name_and_recipe_agree(name):
    cfg, parts = load(name), NAME.fullmatch(name)
    assert int(parts['channels']) == cfg.model.feat_dim == WIDTHS[parts['backbone']]
    assert int(parts['bins']) == cfg.model.temporal_dim
    assert int(parts['epochs']) == cfg.train_cfg.max_epochs
    # Rates and epochs: VCLR, App. A.2.2.
    assert (cfg.optim_wrapper.optimizer.type, cfg.optim_wrapper.optimizer.lr) == ('Adam', 1e-3)
    (schedule,) = cfg.param_scheduler
    epochs, milestone = (20, 16) if name == SMALL else (9, 7)
    assert int(parts['epochs']) == epochs == schedule.get('end', epochs)
    assert (schedule.type, schedule.milestones, schedule.gamma) == ('MultiStepLR', [milestone], 0.1)
    assert int(parts['gpus']) * int(parts['batch']) == (4 if name == SMALL else 16)
    assert int(parts['batch']) == cfg.train_dataloader.batch_size
    assert cfg.auto_scale_lr.base_batch_size == int(parts['gpus']) * int(parts['batch'])
    assert cfg.work_dir == f'./work_dirs/{name[:-3]}'
    folders = set()
    for split in ('train', 'val', 'test'):
        data = cfg[f'{split}_dataloader'].dataset
        first = data.pipeline[0]
        assert first == cfg[f'{split}_pipeline'][0]
        assert (first.channels, first.bins) == (cfg.model.feat_dim, cfg.model.temporal_dim)
        assert first.interval == cfg.model.get('feature_extraction_interval', 16)
        assert data.pipeline[1:] == cfg[f'{split}_pipeline'][1:]
        folder, _, file = data.ann_file.rpartition('/')
        assert file == f'anet_anno_{"train" if split == "train" else "val"}.json'
        assert data.data_prefix.video == f'{folder}/csv'
        folders.add(folder)
    assert len(folders) == 1 and folders.pop().endswith(parts['backbone'])


@pytest.mark.parametrize('name', CONFIGS)
def test_a_step_of_the_config_helps(name, tmp_path):
    cfg = load(name)
    interval = cfg.model.get('feature_extraction_interval', 16)
    data = cfg.train_dataloader.dataset
    data.ann_file = str(write_features(tmp_path, 'train', 2, 100, cfg.model.feat_dim, interval))
    data.data_prefix.video = str(tmp_path / 'csv')
    dataset = DATASETS.build(data)
    batch = pseudo_collate([dataset[0], dataset[1]])

    torch.manual_seed(0)
    model = MODELS.build(cfg.model | SMALL_MODEL)
    optim = build_optim_wrapper(model, cfg.optim_wrapper)

    def loss():
        torch.manual_seed(1)  # BMN draws the proposals that count
        return model(**batch, mode='loss')['loss']

    before = loss()
    optim.update_params(before)
    assert loss() < before

    data = cfg.test_dataloader.dataset
    data.ann_file = str(tmp_path / 'anet_anno_train.json')
    data.data_prefix.video = str(tmp_path / 'csv')
    batch = pseudo_collate([DATASETS.build(data)[0]])
    with torch.no_grad():
        (result,) = model.eval()(**batch, mode='predict')
    # Proposals are whole bins of what the features cover: BMN's interval is the annotation's.
    bin_length = 50 * 10 * interval / (10 * interval + 3) / 100
    borders = np.array([p['segment'] for p in result['proposal_list']]) / bin_length
    np.testing.assert_allclose(borders, borders.round(), atol=1e-4)
    assert result['video_name'] == 'v_train0'


def test_background_videos_train(tmp_path):
    """Videos without an action, and those whose actions are shorter than any proposal."""
    cfg = load(SMALL)
    cfg.model.update(feat_dim=CHANNELS, temporal_dim=BINS, **SMALL_MODEL)
    data = cfg.train_dataloader.dataset
    data.pipeline[0].update(channels=CHANNELS, bins=BINS)
    data.ann_file = str(write_features(tmp_path, 'train', 3, BINS, CHANNELS, 4))
    data.data_prefix.video = str(tmp_path / 'csv')
    annotations = json.loads((tmp_path / 'anet_anno_train.json').read_text())
    annotations['v_train0']['annotations'] = []
    annotations['v_train1']['annotations'] = [dict(segment=[3.1, 3.2], label='Jump')]
    (tmp_path / 'anet_anno_train.json').write_text(json.dumps(annotations))
    videos = DATASETS.build(data)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)

    batch = pseudo_collate([videos[0], videos[0]])
    loss = model(**batch, mode='loss')['loss']
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    # Nothing is right: cross entropies of zeros, with the weights 0.5 r / (r - 1) for r = 21.
    maps, start, end = model(**batch, mode='tensor')
    wrong = [-np.log1p(1e-5 - x.detach().numpy()) for x in (start, end, maps[:, 1])]
    cells = np.tril(np.ones((BINS, BINS)))[::-1]  # lengths and starts within the video
    expected = wrong[0].mean() + wrong[1].mean()
    expected += (wrong[2] * cells).sum() / (1 + 2 * cells.sum())
    assert loss.item() == pytest.approx(0.525 * expected, rel=1e-5)

    for numbers in ((1, 1), (0, 1), (0, 2)):
        batch = pseudo_collate([videos[number] for number in numbers])
        assert model(**batch, mode='loss')['loss'].isfinite()


# From features to AR@AN ---------------------------------------------------------------------------


def write_config(folder):
    """The small config, smaller yet, on made-up features."""
    cfg = load(SMALL)
    cfg.model.update(feat_dim=CHANNELS, temporal_dim=BINS, num_samples=3)
    cfg.model.update(hidden_dim_1d=32, hidden_dim_2d=16, hidden_dim_3d=96)
    for split, count in (('train', 16), ('val', 9), ('test', 9)):
        path = write_features(folder, split, count, BINS, CHANNELS, interval=4)
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.ann_file = str(path)
        loader.dataset.data_prefix.video = str(folder / 'csv')
        loader.dataset.pipeline[0].update(channels=CHANNELS, bins=BINS)
    # Names of their own: MMEngine keeps loggers and message hubs by them.
    cfg.experiment_name = folder.name
    cfg.train_cfg.update(max_epochs=12, val_interval=12)
    cfg.optim_wrapper.optimizer.lr = 3e-3
    cfg.param_scheduler[0].update(end=12, milestones=[10])
    cfg.default_hooks.logger.interval = 4
    cfg.work_dir = str(folder / 'work')
    cfg.dump(folder / 'bmn.py')
    return str(folder / 'bmn.py')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Folder of a trained run: ``bmn.py``, ``work``."""
    folder = tmp_path_factory.mktemp('bmn')
    with pytest.MonkeyPatch.context() as monkeypatch:
        args = (write_config(folder), '--seed', 0)
        assert call_tool('train', *args, monkeypatch=monkeypatch) == 0
    return folder


def metrics_of(work_dir):
    """What the one test run in this folder has found."""
    (file,) = work_dir.glob('*/*.json')
    # The last line: MMEngine names a run by its second, and two of one name share a file.
    result = json.loads(file.read_text().splitlines()[-1])
    return {key: result[key] for key in ('auc', 'AR@1', 'AR@5', 'AR@10', 'AR@100')}


def proposals_of(work_dir):
    return json.loads((work_dir / 'results.json').read_text())['results']


def random_recall(annotations, count=100):
    """Average recall of proposals drawn at random, at 5 and 10 a video."""
    rng = np.random.default_rng(0)
    truth, proposals = {}, {}
    for name, video in annotations.items():
        truth[name] = np.array([[*a['segment'], 0] for a in video['annotations']])
        cuts = np.sort(rng.random((count, 2)), axis=1) * video['duration_second']
        proposals[name] = np.column_stack([cuts, rng.random(count)])
    total = count * len(truth)
    recall = average_recall_at_avg_proposals(truth, proposals, total, 100)[1]
    return {'AR@5': recall[4], 'AR@10': recall[9]}


def test_proposals_find_what_the_features_tell(trained, tmp_path, tool_runner):
    """--work-dir chooses where the proposals go; those of validation stay."""
    results = proposals_of(trained / 'work')
    assert results.keys() == {f'val{i}' for i in range(9)}
    args = (trained / 'bmn.py', trained / 'work/epoch_12.pth', '--work-dir', tmp_path)
    assert tool_runner('test')(*args)[0] == 0
    chance = random_recall(json.loads((trained / 'anet_anno_test.json').read_text()))
    found = metrics_of(tmp_path)
    for key, value in chance.items():
        assert found[key] > value + 0.2, (key, found, chance)
    assert proposals_of(tmp_path).keys() == {f'test{i}' for i in range(9)}
    assert proposals_of(trained / 'work') == results


def test_a_checkpoint_of_another_model_is_not_tested(trained, tmp_path, tool_runner):
    """The tool checks it, whatever the hooks of the config; the parameter is BMN's first."""
    torch.save(dict(state_dict={'backbone.conv1.weight': torch.zeros(1)}), tmp_path / 'other.pth')
    args = (trained / 'bmn.py', tmp_path / 'other.pth', '--work-dir', tmp_path)
    status, said = tool_runner('test')(*args)
    assert (
        status == 2 and 'other.pth: does not fit the model of the config: sample_mask' in said.err
    )


def test_only_a_relative_path_starts_at_the_work_dir(tmp_path):
    hook = ResultsInWorkDirHook()
    outs = ['results.json', 'a/b.json', '', str(tmp_path / 'mine.json')]
    metrics = [SimpleNamespace(out=out) for out in outs] + [SimpleNamespace()]
    evaluator = SimpleNamespace(metrics=metrics)
    runner = SimpleNamespace(work_dir='/w', val_evaluator=evaluator, test_evaluator=evaluator)
    for _ in range(2):
        hook.before_val(runner)
        hook.before_test(runner)
        outs[:2] = ['/w/results.json', '/w/a/b.json']
        assert [metric.out for metric in metrics[:-1]] == outs


def test_two_processes_train_and_test_as_one(trained, forks, tmp_path, tool_runner):
    """Of nine videos, one is read by both and counts once."""

    def launch(tool, *args):
        args = trained / 'bmn.py', *args
        ranks = forks.start_ranks(tool, *args, log=tmp_path / 'log', world=2)
        assert forks.wait(*ranks) == [0, 0], (tmp_path / 'log.0').read_text()

    both, one, two = (tmp_path / name for name in ('both', 'one', 'two'))
    short = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    launch('train.py', '--amp', '--work-dir', both, '--seed', 0, *short)
    validation = f'test_dataloader.dataset.ann_file={trained}/anet_anno_val.json'
    args = both / 'epoch_1.pth', '--cfg-options', validation, '--work-dir'
    launch('test.py', *args, two)
    assert tool_runner('test')(trained / 'bmn.py', *args, one)[0] == 0
    found = metrics_of(one)
    assert metrics_of(two) == pytest.approx(found, abs=1e-6)
    assert read_scalars(both)['auc'][1] == pytest.approx([found['auc']], abs=1e-6)
    assert proposals_of(one).keys() == proposals_of(two).keys()
