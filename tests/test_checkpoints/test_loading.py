"""Checkpoints are loaded without running code: fault 2 of `mmssl_video.compat`."""

import io
import itertools
import os
import pickle
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from head_helpers import refused
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, checkpoint
from mmengine.utils import digit_version
from torch import nn

from mmssl_video.checkpoints.loading import TRUST_VARIABLE, load_checkpoint_file

NEW_TORCH = digit_version(torch.__version__) >= digit_version('2.6.0')


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


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def runs_code(path):
    """Makes the file when it is unpickled."""
    return Calls(os.system, f'touch {path}')


def test_mmengine_checkpoint_loads_safely(own_checkpoint, any_torch):
    safe = load_checkpoint_file(own_checkpoint)
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
        loaded = load_checkpoint_file(tmp_path / 'x.pth')
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
    loaded = load_checkpoint_file(tmp_path / 'other.pth')
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
    contents = {'state_dict': {}, 'x': runs_code(mark)}
    torch.save(contents, path, _use_new_zipfile_serialization=new_format)
    with refused(rf'{path}.*posix\.system.*MMSSL_TRUST_CHECKPOINT=1'):
        load_checkpoint_file(path)
    assert not mark.exists()

    assert load_checkpoint_file(path, trust=True)['x'] == 0
    assert mark.exists()
    mark.unlink()
    monkeypatch.setenv('MMSSL_TRUST_CHECKPOINT', '1')
    load_checkpoint_file(path)
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
    with refused('could run code'):
        load_checkpoint_file(tmp_path / 'evil.pth')


def test_tar_of_torch_0_1_does_not_run_code(tmp_path, any_torch):
    mark = tmp_path / 'mark'
    with tarfile.open(tmp_path / 'old.pth', 'w') as tar:
        for name in ('storages', 'tensors', 'pickle'):
            content = pickle.dumps(runs_code(mark), protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with refused('old.pth'):
        load_checkpoint_file(tmp_path / 'old.pth')
    assert not mark.exists()


def test_safetensors_are_read(tmp_path, monkeypatch):
    safetensors = pytest.importorskip('safetensors.torch')
    path = tmp_path / 'model.safetensors'
    state = {'x.weight': torch.randn(2, 3), 'x.bias': torch.arange(3)}
    safetensors.save_file(state, path)
    for trusted, device in itertools.product((False, True), ('cpu', torch.device('cpu'), None)):
        loaded = load_checkpoint_file(path, trusted, device)
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], state[key]) for key in state)
    (tmp_path / 'cut.safetensors').write_bytes(b'<html>404</html>')
    with refused('cut.safetensors: cannot be read .* fetch it again'):
        load_checkpoint_file(tmp_path / 'cut.safetensors')
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with refused('model.safetensors: needs safetensors; pip install'):
        load_checkpoint_file(path)


def test_what_is_no_checkpoint_is_named(tmp_path, any_torch, own_checkpoint):
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'text.pth').write_text('<html>404</html>')
    (tmp_path / 'cut.pth').write_bytes(own_checkpoint.read_bytes()[:2000])
    torch.save(torch.ones(2), tmp_path / 'tensor.pth')
    for words in (
        'empty.pth: cannot be read .* fetch it again',
        'text.pth: cannot be read .* fetch it again',
        'cut.pth: cannot be read .* fetch it again',
        'none.pth: no such checkpoint file',
        'tensor.pth: holds a Tensor, not a dict',
    ):
        with refused(words):
            load_checkpoint_file(tmp_path / words.split(':')[0])


def test_what_may_not_be_read_is_not_taken_for_cut_short(tmp_path, monkeypatch):
    torch.save({}, tmp_path / 'x.pth')

    def deny(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(Path, 'open', deny)
    with refused(r'x.pth: may not be read \(permission denied\); make it readable$'):
        load_checkpoint_file(tmp_path / 'x.pth')


def test_runner_loads_weights_safely(tmp_path, own_checkpoint):
    run = tiny_run(tmp_path / 'a', load_from=str(own_checkpoint))
    run.load_or_resume()
    weights = torch.load(own_checkpoint, weights_only=False)['state_dict']
    torch.testing.assert_close(dict(run.model.state_dict()), dict(weights), rtol=0, atol=0)

    torch.save({'state_dict': weights, 'x': runs_code(tmp_path / 'mark')}, tmp_path / 'evil.pth')
    run = tiny_run(tmp_path / 'b', load_from=str(tmp_path / 'evil.pth'))
    with refused('evil.pth: holds posix.system'):
        run.load_or_resume()
    assert not (tmp_path / 'mark').exists()


class Settings:
    value = 3


def test_resume_loads_safely_too(tmp_path, monkeypatch):
    run = tiny_run(tmp_path / 'run')
    run.message_hub.update_info('settings', Settings())  # as some hook might
    run.train()
    path = str(tmp_path / 'run' / 'epoch_1.pth')

    again = tiny_run(tmp_path / 'run', epochs=2)
    with refused('Settings'):
        again.resume(path)
    monkeypatch.setenv(TRUST_VARIABLE, '1')
    again.resume(path)
    assert again.epoch == 1 and again.message_hub.get_info('settings').value == 3


def test_downloads_are_loaded_safely(tmp_path, own_checkpoint, monkeypatch):
    torch.save({'x': runs_code(tmp_path / 'mark')}, tmp_path / 'evil.pth')
    files = {
        'https://host/a/good.pth?v=1': own_checkpoint,
        'http://host/evil.pth': tmp_path / 'evil.pth',
    }
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
    with refused('evil.pth'):
        load('http://host/evil.pth', 'cpu')
    assert not (tmp_path / 'mark').exists()
