"""Each fault in `mmssl_video.compat`: that it is gone and, where cheap, that it was there."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import textwrap
from importlib.machinery import PathFinder
from pathlib import Path
from unittest import mock

import mmaction
import mmaction.models.localizers
import mmengine
import mmengine.runner.runner
import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import Flip
from mmaction.models import ResNetTSM, TSNHead
from mmaction.registry import OPTIM_WRAPPERS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import LoggerHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner, checkpoint
from torch import nn

from mmssl_video import compat
from mmssl_video.errors import UserError

ROOT = Path(__file__).parents[1]
CLIPS = ROOT.parent / 'shared' / 'data' / 'clips'
MMACTION = Path(mmaction.__file__).parent
WHEEL_LACKS_DRN = PathFinder.find_spec('drn', [str(MMACTION / 'models/localizers')]) is None
NEW_TORCH = compat.digit_version(torch.__version__) >= compat.digit_version('2.6.0')


def run_python(code, *path):
    """The output of a fresh interpreter that finds the folders `path` first."""
    path = os.pathsep.join(map(str, path))
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )


def test_apply_twice_changes_nothing():
    before = [
        checkpoint.load_from_local,
        LocalBackend.put,
        ResNetTSM.init_weights,
    ]
    compat.apply()
    after = [
        checkpoint.load_from_local,
        LocalBackend.put,
        ResNetTSM.init_weights,
    ]
    assert before == after
    for function in after:
        assert not hasattr(function._mmssl_upstream, '_mmssl_upstream')


# 1 ------------------------------------------------------------------------------------------
@pytest.mark.skipif(not WHEEL_LACKS_DRN, reason='this MMAction2 is complete')
def test_models_import_without_drn():
    failed = run_python('import mmaction.models')
    assert 'mmaction.models.localizers.drn' in failed.stderr
    with pytest.raises(UserError, match='install mmaction2 from source'):
        mmaction.models.localizers.DRN()


@pytest.mark.skipif(not WHEEL_LACKS_DRN, reason='this MMAction2 is complete')
def test_no_stub_where_drn_is(tmp_path):
    source = tmp_path / 'mmaction'
    shutil.copytree(MMACTION, source, ignore=shutil.ignore_patterns('.mim', '__pycache__'))
    (source / 'models/localizers/drn').mkdir()
    (source / 'models/localizers/drn/drn.py').write_text('class DRN:\n    real = True\n')
    (source / 'models/localizers/drn/__init__.py').touch()
    code = 'import mmssl_video, mmaction.models.localizers as m; print(m.__file__, m.DRN.real)'
    done = run_python(code, tmp_path, ROOT)
    assert done.stdout.splitlines()[-1:] == [f'{source}/models/localizers/__init__.py True'], (
        done.stderr
    )


# 2 ------------------------------------------------------------------------------------------
class Tiny(BaseModel):
    """One weight, so that a run writes a checkpoint at once."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)

    def forward(self, x, mode='tensor'):
        """The loss of a batch [N, 2]."""
        return {'loss': self.fc(x).pow(2).mean()}


def tiny_run(work_dir, epochs=1, **kwargs):
    """A Runner over 4 samples; its checkpoints hold all that MMEngine's do."""
    return Runner(
        model=Tiny(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(x=torch.ones(2))] * 4,
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=2),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        default_scope='mmaction',
        log_level='ERROR',
        experiment_name=f'{Path(work_dir).name}_{os.urandom(4).hex()}',
        **kwargs,
    )


@pytest.fixture(scope='module')
def own_checkpoint(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('run')
    tiny_run(work_dir).train()
    return work_dir / 'epoch_1.pth'


@pytest.fixture(params=['this torch', 'torch 2.5'])
def any_torch(request, monkeypatch):
    """Both ways to load safely, whichever torch is installed."""
    if request.param == 'torch 2.5':
        monkeypatch.setattr(torch, '__version__', '2.5.1')
    elif not NEW_TORCH:
        pytest.skip('this torch is older than 2.6')


class RunsCode:
    """Makes the file `path` when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """What pickle calls."""
        return os.system, (f'touch {self.path}',)


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        """What pickle calls."""
        return self.call[0], self.call[1:]


@pytest.mark.skipif(not NEW_TORCH, reason='torch < 2.6 loads anything')
def test_upstream_cannot_load_its_own_checkpoint(own_checkpoint):
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load_from_local._mmssl_upstream(str(own_checkpoint), 'cpu')


def test_mmengine_checkpoint_loads_safely(own_checkpoint, any_torch):
    safe = compat.load_checkpoint_file(own_checkpoint)
    full = torch.load(own_checkpoint, weights_only=False)
    torch.testing.assert_close(safe['state_dict'], full['state_dict'], rtol=0, atol=0)
    assert safe['meta']['epoch'] == 1 and safe['meta']['iter'] == 2
    losses = safe['message_hub']['log_scalars']['train/loss']
    assert isinstance(losses, HistoryBuffer)
    np.testing.assert_array_equal(
        losses.data, full['message_hub']['log_scalars']['train/loss'].data
    )
    assert losses.mean() == pytest.approx(losses.data[0].mean())
    buffer = safe['optimizer']['state'][0]['momentum_buffer']
    assert torch.equal(buffer, full['optimizer']['state'][0]['momentum_buffer'])


def test_other_contents_load_safely(tmp_path, any_torch):
    contents = {
        'half': torch.arange(4, dtype=torch.bfloat16),
        'shared': (shared := torch.rand(3), shared[1:]),
        'parameter': nn.Parameter(torch.rand(2)),
        'shape': torch.Size([1, 2]),
        'type': torch.float16,
        'array': np.arange(3, dtype=np.int16),
        'number': np.float32(0.5),
        'flags': np.array([True, False]),
        'plain': {'bytes': b'\xff', 'list': [1, 2.5, None, 'text'], 'big': 2**80},
    }
    for new_format in (True, False):
        torch.save(contents, tmp_path / 'x.pth', _use_new_zipfile_serialization=new_format)
        loaded = compat.load_checkpoint_file(tmp_path / 'x.pth')
        for key in ('half', 'parameter'):
            assert torch.equal(loaded[key], contents[key])
        assert loaded['shared'][0][1:].data_ptr() == loaded['shared'][1].data_ptr()
        for key in ('array', 'number', 'flags'):
            np.testing.assert_array_equal(loaded[key], contents[key])
        for key in ('shape', 'type', 'plain'):
            assert loaded[key] == contents[key]


def test_numpy_2_names_are_known(tmp_path, any_torch):
    pickled = pickle.dumps({'a': np.arange(3.0), 'b': np.float64(2)}, protocol=2)
    old, new = b'numpy.core.multiarray', b'numpy._core.multiarray'
    if old not in pickled:
        old, new = new, old
    pickled = pickled.replace(old, new)
    torch.save({'x': torch.ones(1)}, tmp_path / 'plain.pth')
    rewrite_pickle(tmp_path / 'plain.pth', tmp_path / 'other.pth', pickled)
    loaded = compat.load_checkpoint_file(tmp_path / 'other.pth')
    np.testing.assert_array_equal(loaded['a'], [0, 1, 2])
    assert loaded['b'] == 2


def rewrite_pickle(source, target, pickled):
    """A copy of a checkpoint file with another pickle in it."""
    reader = torch._C.PyTorchFileReader(str(source))
    writer = torch._C.PyTorchFileWriter(str(target))
    for name in reader.get_all_records():
        if name.startswith(('.', 'version')):  # written by the writer itself
            continue
        record = pickled if name == 'data.pkl' else reader.get_record(name)
        writer.write_record(name, record, len(record))
    writer.write_end_of_file()


@pytest.mark.parametrize('new_format', [True, False])
def test_code_in_a_checkpoint_does_not_run(tmp_path, any_torch, new_format, monkeypatch):
    path, mark = tmp_path / 'evil.pth', tmp_path / 'mark'
    contents = {'state_dict': {}, 'x': RunsCode(mark)}
    torch.save(contents, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(UserError) as caught:
        compat.load_checkpoint_file(path)
    assert str(path) in str(caught.value) and 'posix.system' in str(caught.value)
    assert 'MMSSL_TRUST_CHECKPOINT=1' in str(caught.value) and '\n' not in str(caught.value)
    assert not mark.exists()

    assert compat.load_checkpoint_file(path, trusted=True)['x'] == 0
    assert mark.exists()
    mark.unlink()
    monkeypatch.setenv('MMSSL_TRUST_CHECKPOINT', '1')
    compat.load_checkpoint_file(path)
    assert mark.exists()


@pytest.mark.parametrize(
    'call',
    [
        (eval, '1'),
        (getattr, HistoryBuffer, '__init__'),
        (getattr, HistoryBuffer, 'statistics'),
        (getattr, 'text', '__class__'),
        (torch.storage._load_from_bytes, b''),
        (torch.load, 'file'),
        (__import__, 'os'),
    ],
)
def test_no_way_round_the_list(tmp_path, any_torch, call):
    torch.save({'x': Calls(*call)}, tmp_path / 'evil.pth')
    with pytest.raises(UserError, match='could run code'):
        compat.load_checkpoint_file(tmp_path / 'evil.pth')


def test_tar_of_torch_0_1_does_not_run_code(tmp_path, any_torch):
    mark = tmp_path / 'mark'
    with tarfile.open(tmp_path / 'old.pth', 'w') as tar:
        for name in ('storages', 'tensors', 'pickle'):
            content = pickle.dumps(RunsCode(mark), protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(UserError):
        compat.load_checkpoint_file(tmp_path / 'old.pth')
    assert not mark.exists()


def test_what_is_no_checkpoint_is_named(tmp_path, any_torch, own_checkpoint):
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'text.pth').write_text('<html>404</html>')
    (tmp_path / 'cut.pth').write_bytes(own_checkpoint.read_bytes()[:2000])
    for name in ('empty.pth', 'text.pth', 'cut.pth'):
        with pytest.raises(UserError, match=f'{name}: cannot be read .* fetch it again') as caught:
            compat.load_checkpoint_file(tmp_path / name)
        assert '\n' not in str(caught.value)
    with pytest.raises(UserError, match='none.pth: no such checkpoint file'):
        compat.load_checkpoint_file(tmp_path / 'none.pth')
    torch.save(torch.ones(2), tmp_path / 'tensor.pth')
    with pytest.raises(UserError, match='tensor.pth: holds a Tensor, not a dict'):
        compat.load_checkpoint_file(tmp_path / 'tensor.pth')


def test_runner_loads_weights_safely(tmp_path, own_checkpoint):
    run = tiny_run(tmp_path / 'a', load_from=str(own_checkpoint))
    run.load_or_resume()
    weights = torch.load(own_checkpoint, weights_only=False)['state_dict']
    torch.testing.assert_close(dict(run.model.state_dict()), dict(weights), rtol=0, atol=0)

    torch.save({'state_dict': weights, 'x': RunsCode(tmp_path / 'mark')}, tmp_path / 'evil.pth')
    run = tiny_run(tmp_path / 'b', load_from=str(tmp_path / 'evil.pth'))
    with pytest.raises(UserError, match='evil.pth: holds posix.system'):
        run.load_or_resume()
    assert not (tmp_path / 'mark').exists()


class Settings:
    """An object that some hook might keep in the message hub."""

    value = 3


def test_resume_goes_on(tmp_path, own_checkpoint):
    shutil.copytree(own_checkpoint.parent, tmp_path / 'run')
    run = tiny_run(tmp_path / 'run', epochs=3, resume=True)
    run.load_or_resume()
    run.train()
    assert (run.epoch, run.iter) == (3, 6)
    assert len(run.message_hub.get_scalar('train/loss').data[0]) == 6


def test_resume_loads_safely_too(tmp_path, monkeypatch):
    run = tiny_run(tmp_path / 'run')
    run.message_hub.update_info('settings', Settings())
    run.train()
    path = str(tmp_path / 'run' / 'epoch_1.pth')

    again = tiny_run(tmp_path / 'run', epochs=2)
    with pytest.raises(UserError, match='Settings'):
        again.resume(path)
    monkeypatch.setenv(compat.TRUST_VARIABLE, '1')
    again.resume(path)
    assert again.epoch == 1 and again.message_hub.get_info('settings').value == 3


def test_downloads_are_loaded_safely(tmp_path, own_checkpoint, monkeypatch):
    torch.save({'x': RunsCode(tmp_path / 'mark')}, tmp_path / 'evil.pth')
    files = {'https://host/a/good.pth?v=1': own_checkpoint, 'http://host/evil.pth': None}
    files['http://host/evil.pth'] = tmp_path / 'evil.pth'
    fetched = []

    def download(url, target, progress):
        fetched.append(url)
        shutil.copy(files[url], target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    load = checkpoint.CheckpointLoader.load_checkpoint
    for _ in range(2):
        assert load('https://host/a/good.pth?v=1', 'cpu')['meta']['epoch'] == 1
    assert fetched == ['https://host/a/good.pth?v=1']
    assert (tmp_path / 'hub/checkpoints/good.pth').is_file()
    with pytest.raises(UserError, match='evil.pth'):
        load('http://host/evil.pth', 'cpu')
    assert not (tmp_path / 'mark').exists()


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


@cpu_only
def test_prepare_launch_keeps_what_is_set(monkeypatch):
    with pytest.raises((AttributeError, RuntimeError, AssertionError)):
        torch.cuda.set_device(0)
    monkeypatch.setattr(torch.cuda, 'set_device', torch.cuda.set_device)
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
    cfg = Config(dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', static_graph=True)))
    compat.prepare_launch(cfg, 'slurm')
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel', static_graph=True, device_ids=None
    )


@cpu_only
def test_prepare_launch_drops_sync_bn_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'set_device', torch.cuda.set_device)
    cfg = Config(dict(sync_bn='torch'))
    with pytest.warns(UserWarning, match='sync_bn is ignored on a CPU'):
        compat.prepare_launch(cfg, 'pytorch')
    assert 'sync_bn' not in cfg


TWO_PROCESSES = """
import sys, torch
import mmssl_video
from mmssl_video.compat import prepare_launch
from mmengine.config import Config
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner

@MODELS.register_module()
class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.fc.weight)
    def forward(self, x, mode):
        return {'loss': self.fc(x).mean()}

cfg = Config(dict(
    default_scope='mmengine', launcher='pytorch', work_dir=sys.argv[1], log_level='ERROR',
    model=dict(type='Tiny'), train_cfg=dict(by_epoch=False, max_iters=1),
    env_cfg=dict(dist_cfg=dict(backend='nccl')),
    train_dataloader=dict(
        dataset=[dict(x=torch.full((1,), float(i))) for i in range(4)], batch_size=2,
        num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate')),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)), default_hooks=dict(checkpoint=None)))
prepare_launch(cfg, cfg.launcher)
runner = Runner.from_cfg(cfg)
runner.train()
weights = torch.cat(all_gather(runner.model.module.fc.weight.data.flatten())).tolist()
if get_rank() == 0:
    print('weights', weights, torch.distributed.get_backend(), get_world_size())
"""


@cpu_only
def test_two_processes_train_on_a_cpu(tmp_path):
    (tmp_path / 'two.py').write_text(TWO_PROCESSES)
    # As dist_train.sh starts them.
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--standalone']
    done = subprocess.run(
        [*command, '--nproc_per_node=2', tmp_path / 'two.py', tmp_path / 'work'],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=120,
    )
    # d loss / d weight is the mean of the inputs 0, 1, 2, 3 over both processes: 1 - 1.5.
    assert 'weights [-0.5, -0.5] gloo 2' in done.stdout, done.stderr[-2000:]


# 9 ------------------------------------------------------------------------------------------
def test_bf16_training_step():
    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if not torch.cuda.is_available():
        with pytest.raises(AssertionError):
            AmpOptimWrapper(optimizer=optimizer, dtype='bfloat16')
    wrapper = OPTIM_WRAPPERS.build(dict(type='Bf16OptimWrapper', optimizer=optimizer))
    x, before = torch.randn(4, 2), model.fc.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model.fc(x)
        wrapper.update_params(output.float().pow(2).mean())
    assert output.dtype == torch.bfloat16 and model.fc(x).dtype == torch.float32
    assert model.fc.weight.dtype == torch.float32
    predicted = x @ before.T + model.fc.bias.detach()
    assert not torch.equal(model.fc.weight, before) and torch.isfinite(predicted).all()
    assert set(wrapper.state_dict()) == {'state', 'param_groups'}


# 23 -----------------------------------------------------------------------------------------
def test_bf16_gradients_of_3d_convolutions():
    """In a process of its own: oneDNN asks once whether it may use AMX."""
    script = """
import torch
from torch import nn
from mmssl_video.compat import Bf16OptimWrapper

torch.manual_seed(0)
for kernel, padding, shape in (((3, 1, 1), (1, 0, 0), (64, 4, 56, 56)),
                               ((3, 7, 7), (1, 3, 3), (3, 1, 64, 64))):
    conv = nn.Conv3d(shape[0], 64, kernel, padding=padding)
    wrapper = Bf16OptimWrapper(torch.optim.SGD(conv.parameters(), lr=0.1))
    clips, direction = torch.randn(2, *shape), torch.randn(2, 64, *shape[1:])
    (conv(clips) * direction).sum().backward()
    exact = conv.weight.grad.clone()
    conv.zero_grad()
    with wrapper.optim_context(conv):
        features = conv(clips)
    (features * direction).sum().backward()
    print(features.dtype, (conv.weight.grad - exact).norm().item() < 0.01 * exact.norm().item())
"""
    environment = {k: v for k, v in os.environ.items() if k != 'ONEDNN_MAX_CPU_ISA'}
    environment['CUDA_VISIBLE_DEVICES'] = ''
    command = [sys.executable, '-W', 'ignore', '-c', script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split('\n') == ['torch.bfloat16 True'] * 2 + [''], done.stderr[-2000:]


def test_networks_of_images_keep_amx(monkeypatch):
    monkeypatch.setattr(compat, 'get_device', lambda: 'cpu')
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')  # so that it is as before at the end
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA')
    for conv, setting in ((torch.nn.Conv2d, None), (torch.nn.Conv3d, 'AVX512_CORE_BF16')):
        compat.Bf16OptimWrapper(torch.optim.SGD(conv(1, 1, 1).parameters(), lr=0.1))
        assert os.environ.get('ONEDNN_MAX_CPU_ISA') == setting
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')
    compat.Bf16OptimWrapper(torch.optim.SGD(conv(1, 1, 1).parameters(), lr=0.1))
    assert os.environ['ONEDNN_MAX_CPU_ISA'] == 'AVX2'


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
def test_config_base_of_an_editable_package(tmp_path):
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
    code = textwrap.dedent(f"""
        import mmssl_video
        from mmengine.config import Config
        from mmengine.config.utils import MODULE2PACKAGE
        MODULE2PACKAGE['mmpretend'] = 'mmpretend'
        print(Config.fromfile({str(tmp_path / 'leaf.py')!r}).value)
    """)
    # Metadata in one folder, the package in another: what `pip install -e` leaves.
    done = run_python(code, tmp_path / 'site', source, ROOT)
    assert done.stdout.splitlines()[-1:] == ['3'], done.stderr


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
def test_flip_leaves_its_frames():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    results = dict(imgs=[image, image], img_shape=(2, 2), modality='RGB')
    for out in Flip(flip_ratio=1.0)(results)['imgs']:
        assert np.array_equal(out, image[:, ::-1])
    assert np.array_equal(image.ravel(), np.arange(12))
