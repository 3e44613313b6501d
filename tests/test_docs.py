"""Documents: links resolve, files in commands exist, a README lists its configs, examples run."""

import argparse
import doctest
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
from head_helpers import N, batch, build_head, project, similarity
from mmengine.config import Config, DictAction
from tiny_vclr import load_tool

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page for place in ('*', 'docs/*', 'configs/**/*') for page in ROOT.glob(f'{place}.md')
)
EXAMPLES = sorted(
    '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    for path in ROOT.glob('mmssl_video/**/*.py')
    if '>>> ' in path.read_text()
)
METHODS = sorted(folder for folder in ROOT.glob('configs/[!_]*') if folder.name != 'downstream')
DOWNSTREAM = sorted(ROOT.glob('configs/downstream/[!_]*'))


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_resolve_and_files_in_commands_exist(page):
    text = page.read_text()
    links = [page.parent / link for link in re.findall(r'\]\(([^)#\s]+)', text) if ':' not in link]
    named = re.findall(r'(?<!\w)(?:tools|configs)/[\w./-]+\.(?:py|sh)', text)
    for path in [*links, *(ROOT / path for path in named)]:
        assert path.exists(), path


def commands(text):
    """The lines of code blocks, each whole, and the code within sentences."""
    for number, part in enumerate(text.split('```')):
        if number % 2:
            yield from part.replace('\\\n', ' ').splitlines()
        else:
            yield from (code.replace('\n', ' ') for code in re.findall('`([^`]+)`', part))


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_options_in_commands_are_read(page):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    for command in commands(page.read_text()):
        words = shlex.split(command, comments=True) if '--cfg-options' in command else []
        if len(words) > 1:  # more than its name
            options = parser.parse_known_args(words)[0].cfg_options
            assert all(re.fullmatch(r'[a-z]\w*(\.\w+)*', key) for key in options), command


LAUNCHED = {  # script: tool, number of the script's own words, and where they are
    'demo': ('demo', 0, 0),
    'dist_train': ('train', 1, 1),
    'dist_test': ('test', 1, 2),
    'dist_extract_features': ('extract_features', 1, 3),
    'slurm_train': ('train', 2, 0),
    'slurm_test': ('test', 2, 0),
}


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_commands_are_understood(page, tmp_path, monkeypatch):
    """Of the code blocks; each tool reads its arguments as it does in a shell."""
    for name in ('train.txt', 'test.txt'):  # of a folder that the comparison looks into
        (tmp_path / 'DIR' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'DIR' / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    for block in page.read_text().split('```')[1::2]:
        for command in block.replace('\\\n', ' ').splitlines():
            match = re.search(r'^[^#]*tools/([\w/]+)\.(py|sh)([^#|<>&;[]*)', command)
            if not match or match[1] in ('setup_env', 'run_tests'):
                continue
            tool, suffix, words = match[1], match[2], shlex.split(match[3])
            if suffix == 'sh':
                tool, number, place = LAUNCHED[tool]
                del words[place : place + number]
            monkeypatch.setattr(sys, 'argv', [tool, *words])
            try:
                load_tool(tool).parse_args()
            except SystemExit as stop:
                assert '--help' in words and stop.code == 0, command


def test_tests_that_are_named_exist():
    page = (ROOT / 'docs/reliability.md').read_text()
    named = re.findall(r'`(tests/[\w/]+\.py)::(\w+)`', page)
    assert len(named) == page.count('`tests/') > 30
    for path, test in named:
        assert re.search(rf'^def {test}\(', (ROOT / path).read_text(), re.MULTILINE), test


@pytest.mark.parametrize('folder', METHODS + DOWNSTREAM, ids=name_of)
def test_readme_lists_the_configs_of_its_folder(folder):
    rows = re.findall(r'^\| `([\w.-]+\.py)` \|', (folder / 'README.md').read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in folder.glob('*.py'))


@pytest.mark.parametrize(('page', 'folders'), [('methods', METHODS), ('downstream', DOWNSTREAM)])
def test_page_names_every_folder(page, folders):
    text = (ROOT / f'docs/{page}.md').read_text()
    for folder in folders:
        assert f'](../{name_of(folder)}/README.md)' in text, folder.name


def test_the_head_that_is_shown_is_one():
    page = (ROOT / 'docs/methods.md').read_text()
    (block,) = (part for part in page.split('```') if 'class AlignHead' in part)
    exec(block.removeprefix('python'), {'__name__': 'my_heads'})
    head = build_head('AlignHead')
    online, target, _ = batch(head)
    loss = 0
    for query, key in zip(online[0], target[1], strict=True):
        query = project(head.projector, query.mean(dim=0))
        key = project(head.target_projector.module, key.mean(dim=0))
        loss += (2 - 2 * similarity(query, key)) / N
    assert head.loss(online, target)['loss'].item() == pytest.approx(loss)


def is_part(part, whole):
    """Whether all that a page shows of a config is so in the config."""
    if isinstance(part, dict):
        return all(key in whole and is_part(value, whole[key]) for key, value in part.items())
    if isinstance(part, (list, tuple)):
        return len(part) == len(whole) and all(map(is_part, part, whole))
    return part == whole


def test_the_config_that_is_explained_is_as_it_is_shown():
    page = (ROOT / 'docs/config.md').read_text()
    cfg = Config.fromfile((ROOT / 'docs' / re.search(r'\]\((\S+\.py)\)', page)[1]).resolve())
    shown = {}
    for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL):
        exec(block, shown)
    del shown['__builtins__']
    assert len(shown) > 9
    for name, value in shown.items():
        assert is_part(value, cfg[name]), name


@pytest.mark.parametrize('module', EXAMPLES)
def test_examples_of_docstrings_run(module):
    """As `pytest --doctest-modules mmssl_video` runs them."""
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried and not failed
