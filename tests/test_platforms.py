"""Machines that decord has no wheel for: what is asked for, and that nothing needs it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

import mmssl_video

ROOT = Path(__file__).parents[1]
MACHINES = {  # sys_platform, platform_machine: whether decord 0.6.0 has a wheel
    ('linux', 'x86_64'): True,
    ('win32', 'AMD64'): True,
    ('linux', 'aarch64'): False,
    ('darwin', 'arm64'): False,
    ('darwin', 'x86_64'): False,
    ('win32', 'ARM64'): False,
}


@pytest.mark.skipif(not (ROOT / 'setup.py').is_file(), reason='no source checkout')
@pytest.mark.parametrize('machine', MACHINES, ids=' '.join)
def test_decord_is_asked_for_where_it_has_a_wheel(machine, monkeypatch):
    """And MMAction2, which asks for it without a marker, is left to `pip install --no-deps`."""
    declared = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **kwargs: declared.update(kwargs))
    runpy.run_path(str(ROOT / 'setup.py'))
    environment = dict(zip(('sys_platform', 'platform_machine'), machine, strict=True), extra='')
    wanted = {
        requirement.name
        for requirement in map(Requirement, declared['install_requires'])
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }
    assert {'av', 'torch', 'mmengine'} <= wanted
    with_wheel = {'decord', 'mmaction2'} if MACHINES[machine] else set()
    assert wanted & {'decord', 'mmaction2'} == with_wheel


def test_what_is_said_without_mmaction(monkeypatch):
    find_spec = mmssl_video.util.find_spec
    monkeypatch.setattr(
        mmssl_video.util, 'find_spec', lambda name: None if name == 'mmaction' else find_spec(name)
    )
    with pytest.raises(ImportError, match='needs mmaction2: run `pip install .*with --no-deps'):
        mmssl_video._check_dependencies()


WITHOUT_DECORD = """
import sys
sys.modules['decord'] = None  # its import fails
import mmssl_video
from mmaction.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

init_default_scope('mmaction')
dataset = Config.fromfile('configs/vclr/vclr_r18_demo.py').train_dataloader.dataset
for ann_file in ('', sys.argv[2]):
    dataset.update(data_prefix=dict(video=sys.argv[1]), ann_file=ann_file)
    print(tuple(DATASETS.build(dataset)[0]['inputs'].shape))
try:
    TRANSFORMS.build(dict(type='DecordInit'))(dict(filename=sys.argv[1] + '/z.mp4'))
except ImportError as error:
    print(error)
"""


def test_training_samples_without_decord(video_folder, tmp_path):
    """A recipe's own pipeline, from a folder and a list; transforms of decord say what to do."""
    (tmp_path / 'list.txt').write_text('z.mp4 0\n')
    command = [sys.executable, '-W', 'ignore', '-c', WITHOUT_DECORD, video_folder]
    command.append(tmp_path / 'list.txt')
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *shapes, message = done.stdout.splitlines()
    assert len(shapes) == 2 and len(set(shapes)) == 1 and 'pip install decord' in message
