"""Each fault in `mmssl_video.compat`: that it is gone and, where cheap, that it was there."""

import sys
from copy import deepcopy
from importlib.machinery import PathFinder
from pathlib import Path
from unittest import mock

import mmaction
import mmaction.models.localizers
import mmcv
import mmengine
import mmengine.runner.runner
import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import Flip
from mmaction.engine.hooks import VisualizationHook
from mmaction.models import ResNetTSM, TSNHead
from mmaction.structures import ActionDataSample
from mmaction.visualization import ActionVisualizer
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.fileio import LocalBackend
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner, checkpoint

from mmssl_video import compat
from mmssl_video.errors import UserError

MMACTION = Path(mmaction.__file__).parent
WHEEL_LACKS_DRN = PathFinder.find_spec('drn', [str(MMACTION / 'models/localizers')]) is None


def test_apply_twice_changes_nothing():
    def replaced():
        return [checkpoint.load_from_local, LocalBackend.put, ResNetTSM.init_weights]

    before = replaced()
    compat.apply()
    assert replaced() == before
    assert not any(hasattr(function._mmssl_upstream, '_mmssl_upstream') for function in before)


# 1 ------------------------------------------------------------------------------------------
@pytest.mark.skipif(not WHEEL_LACKS_DRN, reason='this MMAction2 is complete')
def test_models_import_without_drn():
    with pytest.raises(UserError, match='install mmaction2 from source'):
        mmaction.models.localizers.DRN()


@pytest.mark.skipif(not WHEEL_LACKS_DRN, reason='this MMAction2 is complete')
def test_no_stub_where_drn_is(tmp_path, monkeypatch):
    drn = 'mmaction.models.localizers.drn'
    for name in (drn, f'{drn}.drn'):
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / 'models/localizers/drn').mkdir(parents=True)
    (tmp_path / 'models/localizers/drn/__init__.py').touch()
    monkeypatch.setattr(mmaction.__spec__, 'submodule_search_locations', [str(tmp_path)])
    compat.mmaction.stub_missing_drn()
    assert drn not in sys.modules


# 4, 5, 6 ------------------------------------------------------------------------------------
@pytest.fixture
def broken_torchvision(tmp_path, monkeypatch):
    (tmp_path / 'torchvision.py').write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'torchvision', raising=False)
    yield
    sys.modules.pop('torchvision', None)


def test_broken_torchvision_counts_as_absent(broken_torchvision):
    collect_env = mmengine.runner.runner.collect_env
    with pytest.raises(RuntimeError, match='nms'):
        collect_env._mmssl_upstream()
    with pytest.warns(UserWarning, match='torchvision is broken'):
        assert 'TorchVision' not in collect_env()


def test_torchvision_addresses_without_torchvision(monkeypatch, broken_torchvision):
    expected = 'https://download.pytorch.org/models/resnet50-'
    assert checkpoint.get_torchvision_models()['resnet50'].startswith(expected)
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    assert checkpoint.get_torchvision_models()['resnet50'].startswith(expected)


def test_tsm_starts_from_scratch():
    model = ResNetTSM(18, num_segments=2, pretrained=None)
    before = model.conv1.conv.weight.clone()
    model.init_weights()
    assert not torch.equal(model.conv1.conv.weight, before)
    with pytest.raises(TypeError):
        ResNetTSM.init_weights._mmssl_upstream(ResNetTSM(18, num_segments=2, pretrained=None))


# 7, 8 ---------------------------------------------------------------------------------------
cpu_only = pytest.mark.skipif(torch.cuda.is_available(), reason='made for a CPU')


def test_prepare_launch_leaves_one_process_alone():
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    compat.prepare_launch(cfg, 'none')
    assert cfg.to_dict() == dict(env_cfg=dict(dist_cfg=dict(backend='nccl')))


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_prepare_launch_without_the_launcher(launcher, monkeypatch):
    for variable in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=f'`launcher={launcher}`: .* is not set, .*; start it with'):
        compat.prepare_launch(Config(), launcher)


@cpu_only
def test_prepare_launch_keeps_what_is_set(monkeypatch):
    with pytest.raises((AttributeError, RuntimeError, AssertionError)):
        torch.cuda.set_device(0)
    monkeypatch.setattr(torch.cuda, 'set_device', torch.cuda.set_device)
    for variable in ('RANK', 'SLURM_PROCID'):
        monkeypatch.setenv(variable, '0')
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=60))))
    compat.prepare_launch(cfg, 'pytorch')
    torch.cuda.set_device(0)
    assert cfg.env_cfg.dist_cfg == dict(backend='gloo', timeout=60)
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=False,
        device_ids=None,
    )
    wrapper = dict(type='MMDistributedDataParallel', static_graph=True)
    cfg = Config(dict(model_wrapper_cfg=wrapper, sync_bn='torch'))
    with pytest.warns(UserWarning, match='sync_bn is ignored on a CPU'):
        compat.prepare_launch(cfg, 'slurm')
    assert 'sync_bn' not in cfg
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel', static_graph=True, device_ids=None
    )


# 10 -----------------------------------------------------------------------------------------
def test_heads_take_bf16_scores():
    head = TSNHead(num_classes=3, in_channels=2)
    samples = [ActionDataSample().set_gt_label(label) for label in (0, 2)]
    scores = torch.tensor([[0.5, -1.0, 2.0], [0.25, 0.0, 1.0]])  # exact in bfloat16
    with pytest.raises(TypeError, match='BFloat16'):
        type(head).loss_by_feat._mmssl_upstream(head, scores.bfloat16(), samples)
    losses = head.loss_by_feat(scores.bfloat16(), samples)
    assert losses == head.loss_by_feat(scores, samples)
    assert losses['top1_acc'] == 0.5 and losses['loss_cls'].dtype == torch.float32


# 20 -----------------------------------------------------------------------------------------
def test_config_base_of_an_editable_package(tmp_path, monkeypatch):
    source = tmp_path / 'source'
    (source / 'mmpretend/.mim/configs/method').mkdir(parents=True)
    (source / 'mmpretend/__init__.py').touch()
    (source / 'mmpretend/.mim/configs/method/base.py').write_text('value = 3\n')
    (source / 'mmpretend/.mim/model-index.yml').write_text('Import: []\n')
    info = tmp_path / 'site/mmpretend-1.0.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmpretend\nVersion: 1.0\n')
    (info / 'top_level.txt').write_text('mmpretend\n')
    (tmp_path / 'leaf.py').write_text("_base_ = 'mmpretend::method/base.py'\n")
    # Metadata in one folder, the package in another: what `pip install -e` leaves.
    for folder in (source, tmp_path / 'site'):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(MODULE2PACKAGE, 'mmpretend', 'mmpretend')
    assert Config.fromfile(tmp_path / 'leaf.py').value == 3


# 24 -----------------------------------------------------------------------------------------
def test_text_that_cannot_be_written_leaves_the_file(tmp_path):
    path = tmp_path / 'metrics.json'
    mmengine.dump({'AR@1': 0.5}, path)
    with pytest.raises(UnicodeEncodeError):
        LocalBackend().put_text('\ud800', path)
    assert mmengine.load(path) == {'AR@1': 0.5} and list(tmp_path.iterdir()) == [path]
    with pytest.raises(UnicodeEncodeError):
        LocalBackend.put_text._mmssl_upstream(LocalBackend(), '\ud800', path)
    assert path.read_text() == ''


# 27 -----------------------------------------------------------------------------------------
@pytest.mark.parametrize('rank', [0, 1])
def test_one_process_writes_the_metrics_of_a_test(rank, tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: rank)
    runner = mock.Mock(log_dir=str(tmp_path), timestamp='now', test_dataloader=[])
    runner.log_processor.get_log_after_epoch.return_value = {'AR@1': 0.5}, ''
    hook = LoggerHook()
    hook.before_run(runner)
    hook.after_test_epoch(runner)
    assert [mmengine.load(file) for file in tmp_path.iterdir()] == [{'AR@1': 0.5}] * (rank == 0)


# 28 -----------------------------------------------------------------------------------------
def test_values_of_scalars_do_not_pile_up(monkeypatch):
    monkeypatch.setattr('mmssl_video.compat.mmengine.KEPT_VALUES', 4)
    hub = MessageHub('piling up')
    for value in range(10):
        hub.update_scalar('loss', value)
        hub.update_scalars(dict(acc=value, lr=dict(value=value, count=2)))
    for name in ('loss', 'acc', 'lr'):
        assert hub.get_scalar(name).data[0].tolist() == [6, 7, 8, 9]
    assert hub.get_scalar('loss').mean(2) == 8.5


def test_flip_leaves_its_frames():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    results = dict(imgs=[image, image], img_shape=(2, 2), modality='RGB')
    for out in Flip(flip_ratio=1.0)(results)['imgs']:
        assert np.array_equal(out, image[:, ::-1])
    assert np.array_equal(image.ravel(), np.arange(12))


# 29 -----------------------------------------------------------------------------------------
def test_predictions_are_drawn(tmp_path, monkeypatch):
    """Of frames [N, C, H, W] and of clips [N, C, T, H, W], in files and in a window."""
    texts, shown = [], []
    monkeypatch.setattr(
        ActionVisualizer, 'draw_texts', lambda _, text, **kwargs: texts.append(text)
    )
    monkeypatch.setattr(ActionVisualizer, 'show', lambda *args, **kwargs: shown.append(kwargs))
    ActionVisualizer.get_instance('drawn')
    sample = ActionDataSample().set_gt_label(2).set_pred_label(1)
    sample.set_pred_score(torch.tensor([0.25, 0.75, 0.0]))
    clips = torch.randint(256, (2, 3, 4, 16, 16), dtype=torch.uint8)
    frames = clips.transpose(1, 2).flatten(0, 1)
    for name, video in (('clips', clips), ('frames', frames)):
        hook = VisualizationHook(True, interval=1, show=True, out_dir=str(tmp_path / name))
        if name == 'clips':
            with pytest.raises((TypeError, RuntimeError)):
                hook._draw_samples._mmssl_upstream(hook, 0, dict(inputs=[video]), [sample])
        hook.after_test_iter(None, 0, dict(inputs=[video]), [sample])
        files = sorted(tmp_path.glob(f'{name}/0_0/frames_0/*.png'))
        assert len(files) == 8
        for file, frame in zip(files, frames, strict=True):
            picture = torch.from_numpy(mmcv.imread(file, channel_order='rgb'))
            assert torch.equal(picture, frame.permute(1, 2, 0))
    assert texts[0].splitlines()[1:] == ['Ground truth: 2', 'Prediction: 1, 0.75']
    assert len(texts) == len(shown) == 16


# 31 -----------------------------------------------------------------------------------------
def test_steps_of_adam_are_resumed_on_the_cpu(monkeypatch):
    """Torch leaves them where they are loaded, here on 'meta' in the place of a GPU."""
    monkeypatch.setattr('mmengine.runner.runner.get_device', lambda: 'meta')
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    meta = dict(epoch=1, iter=1)

    def load_checkpoint(filename, map_location):
        state = deepcopy(optimizer.state_dict())
        state['state'][0]['step'] = state['state'][0]['step'].to(map_location)
        return dict(meta=meta, message_hub={}, optimizer=state)

    for resume, device in ((Runner.resume._mmssl_upstream, 'meta'), (Runner.resume, 'cpu')):
        new = torch.optim.AdamW([weight])
        runner = mock.Mock(
            train_dataloader=mock.Mock(dataset=None), load_checkpoint=load_checkpoint
        )
        runner.build_optim_wrapper.return_value = new
        resume(runner, 'epoch_1.pth', resume_param_scheduler=False)
        devices = {key: str(value.device) for key, value in new.state[weight].items()}
        assert devices == dict(step=device, exp_avg='cpu', exp_avg_sq='cpu')


# 32 -----------------------------------------------------------------------------------------
def test_any_name_is_in_the_log_file(tmp_path, capfd):
    logger = MMLogger(name='any name', log_file=str(tmp_path / 'log'), log_level='INFO')
    sys.stdout.reconfigure(errors='backslashreplace')  # as the tools do
    logger.warning('dn/b\udcff.mp4 cannot be read')
    for handler in logger.handlers:
        handler.flush()
    assert 'dn/b\\udcff.mp4 cannot be read' in (tmp_path / 'log').read_text()
    assert 'Logging error' not in capfd.readouterr().err
