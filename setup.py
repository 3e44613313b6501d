"""Installs mmssl_video; ``configs/`` and ``tools/`` go along under ``mmssl_video/.mim``.

Only bounds that are needed stand here. The exact versions that are tested stand in
``tools/constraints.txt``.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'mmssl_video/version.py').read_text())[1]
# Where MMEngine looks for what `mmssl_video::vclr/...` names, as in MMAction2.
MIM_FILES = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Adds ``.mim``: links for ``pip install -e``, so that edits count, copies in a wheel."""

    def run(self):
        """Builds the package, then ``.mim``."""
        super().run()
        base = ROOT if self.editable_mode else Path(self.build_lib)
        mim = base / 'mmssl_video' / '.mim'
        mim.mkdir(parents=True, exist_ok=True)
        for name in MIM_FILES:
            source, target = ROOT / name, mim / name
            if target.is_symlink() or target.is_file():
                target.unlink()
            elif target.is_dir():
                shutil.rmtree(target)
            if self.editable_mode:
                target.symlink_to(os.path.relpath(source, mim))
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy2(source, target)


# The machines that decord has a wheel for. MMAction2 asks for it, so pip cannot install that
# elsewhere but by --no-deps; nothing of ours needs decord.
DECORD = 'platform_machine == "AMD64" or (platform_machine == "x86_64" and sys_platform == "linux")'
FAISS = ['faiss-cpu']
LOOK = ['captum']
DOCS = ['sphinx>=8.2', 'myst-parser', 'furo']
TESTS = ['pytest', 'pytest-xdist', 'hypothesis', 'safetensors', *FAISS, *LOOK]

setup(
    name='mmssl_video',
    version=VERSION,
    description='Self-supervised video pretraining as a plugin of MMAction2',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',  # numpy 1 has no wheels for 3.13
    packages=find_packages(include=['mmssl_video', 'mmssl_video.*']),
    package_data={'mmssl_video': ['**/*.j2', 'py.typed']},
    cmdclass={'build_py': BuildWithMim},
    install_requires=[
        'torch>=2.1',
        'mmengine>=0.10.4,<1',
        f'mmaction2>=1.2.0,<1.3; {DECORD}',  # 1.1 has another data-sample API
        # Either mmcv or mmcv-lite, so neither can stand here; see the extra `lite`.
        'numpy<2',  # MMAction2's colour jitter, pose and localization code fails with 2
        'setuptools<82',  # MMEngine needs pkg_resources, which 82 dropped
        'importlib_metadata',  # MMAction2 imports it without declaring it
        'packaging',
        f'decord>=0.6.0; {DECORD}',
        'av>=17',  # threads of the conversion to RGB can be set
        'scikit-learn',
        'threadpoolctl',
        'scipy',
        'matplotlib',
        'einops',
        'jinja2',
        'pillow',
        'rich',
        'tensorboard',
    ],
    extras_require={
        'lite': ['mmcv-lite>=2.0.0,<2.2'],
        'faiss': FAISS,  # retrieval in galleries of millions
        'look': LOOK,  # Grad-CAM
        'video': ['moviepy<2'],  # MMAction2's video output; it imports moviepy.editor
        'tests': TESTS,
        'docs': DOCS,
        'dev': [*TESTS, *DOCS, 'ruff'],
    },
    zip_safe=False,
)
