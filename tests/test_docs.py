"""Documents: links resolve, files in commands exist, a README lists the configs of its folder."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted(ROOT.glob('docs/*.md')), *sorted(ROOT.glob('configs/*/*.md'))]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_resolve(page):
    for link in re.findall(r'\]\(([^)#\s]+)', page.read_text()):
        if not link.startswith('http'):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_files_in_commands_exist(page):
    for path in re.findall(r'(?:tools|configs)/[\w./-]+\.(?:py|sh)', page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize('folder', sorted(ROOT.glob('configs/[!_]*')), ids=name_of)
def test_readme_lists_the_configs_of_its_folder(folder):
    rows = re.findall(r'^\| `([\w.-]+\.py)` \|', (folder / 'README.md').read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in folder.glob('*.py'))


def test_table_of_methods_names_every_folder():
    text = (ROOT / 'docs' / 'methods.md').read_text()
    for folder in ROOT.glob('configs/[!_]*'):
        assert f'](../configs/{folder.name}/README.md)' in text, folder.name
