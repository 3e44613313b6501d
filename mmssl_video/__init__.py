"""Self-supervised video pretraining for MMAction2.

Importing the package checks the installed dependencies, works around the upstream faults listed in
`mmssl_video.compat` and registers datasets, transforms, models and hooks in MMAction2's
registries. A config imports it by
``custom_imports = dict(imports=['mmssl_video'], allow_failed_imports=False)``.
"""

from importlib import import_module, metadata, util

from .version import __version__

# Distributions with another name than their module.
_MODULES = {'mmaction2': 'mmaction', 'scikit-learn': 'sklearn', 'setuptools': 'pkg_resources'}


def _check_dependencies():
    """Compare the installed packages with the bounds that ``setup.py`` declares.

    Raises:
        ImportError: One line, for the first package that is missing or has a wrong version.
    """
    try:
        requirements = metadata.requires(__name__) or []
    except metadata.PackageNotFoundError:  # run from a source folder that is not installed
        requirements = []
    if util.find_spec('mmcv') is None:
        raise ImportError(
            'mmssl_video needs mmcv: run `pip install mmcv-lite==2.1.0`, or install the full mmcv '
            'if you need its GPU operators; never both'
        )
    if util.find_spec('mmaction') is None:
        raise ImportError(
            'mmssl_video needs mmaction2: run `pip install "mmaction2>=1.2.0,<1.3"`, with '
            '--no-deps on machines that decord has no wheel for'
        )
    from packaging.requirements import Requirement  # comes with mmcv, checked just above

    for wanted in map(Requirement, requirements):
        if wanted.marker and not wanted.marker.evaluate({'extra': ''}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            # A module without metadata, such as eva-decord for decord, is accepted.
            if util.find_spec(_MODULES.get(wanted.name, wanted.name)) is None:
                raise ImportError(
                    f'mmssl_video needs {wanted}, which is missing: run `pip install "{wanted}"`'
                ) from None
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            raise ImportError(
                f'mmssl_video needs {wanted}, but {wanted.name} {version} is installed: '
                f'run `pip install "{wanted}"`'
            )


_check_dependencies()

from . import compat  # noqa: E402

compat.apply()  # before anything of MMAction2's models is imported

from mmengine.config.utils import MODULE2PACKAGE  # noqa: E402

from . import datasets, engine, models  # noqa: E402

# Any config can now inherit one of ours: _base_ = 'mmssl_video::vclr/...py'.
MODULE2PACKAGE.setdefault(__name__, __name__)

# Imported on first use, since they import the libraries of evaluation.
_LAZY = {
    'Encoder': 'api',
    'FeatureSet': 'evaluation',
    'nearest_neighbours': 'evaluation',
    'pretrain': 'api',
    'retrieval': 'evaluation',
}

__all__ = ['__version__', 'compat', 'datasets', 'engine', 'models', *_LAZY]


def __getattr__(name: str) -> object:
    """Import a function or class of `_LAZY`."""
    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_LAZY[name]}'), name)
