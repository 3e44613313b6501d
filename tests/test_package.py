"""What an installed user gets, and what importing the package says when something does not fit."""

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import mmengine.hub
import pytest
from packaging.requirements import Requirement

import mmssl_video
from mmssl_video.version import __version__

ROOT = Path(__file__).parents[1]
NEEDS_SOURCE = pytest.mark.skipif(not (ROOT / 'setup.py').is_file(), reason='no source checkout')


def files_under(folder):
    """Relative paths of the files that a checkout of `folder` holds."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


# Modules that another module's test, or one of a whole way, goes through.
TESTED_IN = {
    'checkpoints/fitting.py': 'test_checkpoints/test_conversion.py',
    'checkpoints/work_dir.py': 'test_engine/test_safe_checkpoint.py',
    'compat/mmaction.py': 'test_compat.py',
    'compat/mmengine.py': 'test_compat.py',
    'compat/replace.py': 'test_compat.py',
    'compat/torch.py': 'test_engine/test_bf16.py',
    'datasets/transforms/photometric.py': 'test_datasets/test_transforms/test_augment.py',
    'datasets/transforms/video.py': 'test_datasets/test_unlabeled_videos.py',
    'datasets/transforms/view_sampler.py': 'test_datasets/test_transforms/test_all_samplers.py',
    'engine/hooks/batch_size.py': 'test_engine/test_objective_report.py',
    'engine/hooks/head_epoch.py': 'test_models/test_swav.py',
    'engine/hooks/results_in_work_dir.py': 'test_localization.py',
    'engine/hooks/unwrap.py': 'test_engine/test_bad_videos_hook.py',
    'engine/processes.py': 'test_tools/test_killed_runs.py',
    'evaluation/classification.py': 'test_evaluation/test_linear_svm.py',
    'evaluation/encoder.py': 'test_evaluation/test_extract.py',
    'evaluation/loader.py': 'test_evaluation/test_extract.py',
    'evaluation/store.py': 'test_evaluation/test_extract.py',
    'models/backbones/masked_vit.py': 'test_models/test_videomae_head.py',
    'models/encoding.py': 'test_models/test_ssl_recognizer.py',
    'models/masks.py': 'test_models/test_videomae_head.py',
    'models/memory_format.py': 'test_models/test_ssl_recognizer.py',
    'settings.py': 'test_engine/test_resume_check.py',
    'version.py': 'test_package.py',
    'video/cores.py': 'test_video/test_find.py',
    'video/index.py': 'test_video/test_reader_state.py',
    'video/packets.py': 'test_video/test_reader_state.py',
    'visualization/figures.py': 'test_visualization/test_feature_map.py',
}


@NEEDS_SOURCE
def test_every_module_has_its_test():
    """``tests/test_ROOM/`` has ``test_NAME*.py``, or the table above says where it is tested."""
    without = set()
    for module in (ROOT / 'mmssl_video').rglob('[!_]*.py'):
        name = module.relative_to(ROOT / 'mmssl_video')
        room = f'test_{name.parts[0]}' if len(name.parts) > 1 else ''
        if not any((ROOT / 'tests' / room).rglob(f'test_{name.stem}*.py')):
            without.add(name.as_posix())
    assert without == set(TESTED_IN)
    assert all((ROOT / 'tests' / test).is_file() for test in TESTED_IN.values())


def test_version_is_in_one_place():
    assert mmssl_video.__version__ == __version__
    try:
        assert metadata.version('mmssl_video') == __version__
    except metadata.PackageNotFoundError:
        pytest.skip('not installed')


def test_import_registers_in_mmaction():
    from mmaction.registry import DATASETS, HOOKS, MODELS, TRANSFORMS

    for registry in (DATASETS, HOOKS, MODELS, TRANSFORMS):
        ours = [c for c in registry.module_dict.values() if c.__module__.startswith('mmssl_video.')]
        assert ours, registry


@NEEDS_SOURCE
def test_wheel_holds_configs_and_tools(tmp_path, monkeypatch):
    # A copy, since building leaves files in the source folder.
    source = tmp_path / 'source'
    for name in files_under('configs') | files_under('tools') | files_under('mmssl_video'):
        if '.mim/' not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE'):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / 'model-index.yml').write_bytes((ROOT / 'model-index.yml').read_bytes())
    build = 'import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])'
    command = [sys.executable, '-c', build, tmp_path]  # as pip does
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / 'site')
    packed = {n.removeprefix('mmssl_video/.mim/') for n in names if '/.mim/' in n}
    assert packed == files_under('configs') | files_under('tools') | {'model-index.yml'}
    code = {n for n in names if n.startswith('mmssl_video/') and '/.mim/' not in n}
    assert code == {n for n in files_under('mmssl_video') if '/.mim/' not in n}
    assert not {n.split('/')[0] for n in names} & {'configs', 'tools', 'tests'}

    # MMEngine finds a packed config by name, without the checkout.
    config = sorted(n for n in packed if n.startswith('configs/vclr/') and n.endswith('.py'))[0]
    name = config.replace('configs/', 'mmssl_video::')
    monkeypatch.syspath_prepend(tmp_path / 'site')
    loaded = mmengine.hub.get_config(name)
    assert loaded.filename == f'{tmp_path}/site/mmssl_video/.mim/{config}'
    assert loaded.model.type


@pytest.mark.parametrize(
    'installed, message',
    [
        (dict(numpy='2.1.0'), r'needs numpy<2, but numpy 2.1.0 is installed: .*"numpy<2"'),
        (dict(setuptools='82.0.0'), r'needs setuptools<82, but setuptools 82.0.0'),
        (dict(torch='1.13.1'), r'needs torch>=2.1, but torch 1.13.1'),
        (dict(torch='2.9.0.dev2025+cu130', mmengine='0.10.7'), None),
        (dict(mmaction2='1.1.0'), r'needs mmaction2.*1.2.0.*, but mmaction2 1.1.0'),
        (dict(absent=None), r'needs absent>=1, which is missing: run `pip install "absent>=1"`'),
        (dict(optional=None), None),
        (dict(packaging=None), None),  # importable without metadata
    ],
    ids=str,
)
def test_dependency_check(monkeypatch, installed, message):
    requirements = ['torch>=2.1', 'mmengine<1,>=0.10.4', 'mmaction2<1.3,>=1.2.0', 'numpy<2']
    requirements += ['setuptools<82', 'packaging', 'optional>=1; extra == "video"']
    requirements += ['absent>=1'] if 'absent' in installed else []
    found = dict(torch='2.13.0+cpu', mmengine='0.10.7', mmaction2='1.2.0', numpy='1.26.4')
    found |= dict(setuptools='80.9.0', packaging='26.3') | installed

    def version(name):
        if found.get(name) is None:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(metadata, 'requires', lambda name: requirements)
    monkeypatch.setattr(metadata, 'version', version)
    if message is None:
        mmssl_video._check_dependencies()
        return
    with pytest.raises(ImportError, match=message) as caught:
        mmssl_video._check_dependencies()
    assert '\n' not in str(caught.value)


def test_either_mmcv_will_do(monkeypatch):
    find_spec = mmssl_video.util.find_spec
    monkeypatch.setattr(
        mmssl_video.util, 'find_spec', lambda name: None if name == 'mmcv' else find_spec(name)
    )
    with pytest.raises(ImportError, match='pip install mmcv-lite==2.1.0.*full mmcv'):
        mmssl_video._check_dependencies()


@NEEDS_SOURCE
def test_declared_bounds():
    """The exact pins lie within them, and nobody's mmcv or torch build is forced."""
    try:
        declared = [Requirement(line) for line in metadata.requires('mmssl_video')]
    except metadata.PackageNotFoundError:
        pytest.skip('not installed')
    pins = {}
    for line in (ROOT / 'tools/constraints.txt').read_text().splitlines():
        if line and not line.startswith('#'):
            name, version = line.split('==')
            pins[name] = version
    for wanted in declared:
        if wanted.name in pins:
            assert wanted.specifier.contains(pins[wanted.name]), wanted
    always = {wanted.name: str(wanted.specifier) for wanted in declared if not wanted.marker}
    assert always['torch'] == '>=2.1'
    assert not {'mmcv', 'mmcv-lite'} & set(always)
