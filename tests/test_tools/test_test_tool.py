"""test.py: what it makes and checks before a test."""

import pytest
from tiny_vclr import REPOSITORY

CONFIG = REPOSITORY / 'configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py'


@pytest.mark.parametrize(
    ('options', 'folder'),
    [
        ('--work-dir {0}/file', 'file'),
        ('--show-dir {0}/file/pictures', 'file/pictures'),
        ('--dump {0}/file/predictions.pkl', 'file'),
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line(options, folder, tmp_path, tool_runner):
    for name in ('file', 'any.pth'):
        (tmp_path / name).touch()
    options = f'--work-dir {{0}}/work {options}'.format(tmp_path).split()
    status, said = tool_runner('test')(CONFIG, tmp_path / 'any.pth', *options)
    assert status == 2 and 'Traceback' not in said.err
    assert f'error: {tmp_path}/{folder}: cannot be made as a folder (' in said.err
