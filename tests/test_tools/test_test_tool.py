"""test.py: what it makes and checks before a test."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from tiny_vclr import REPOSITORY, write_videos

from mmssl_video.engine.hooks import backbone_load

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


@pytest.mark.parametrize('hooks', [[], [dict(type='BackboneLoadHook')]])
def test_a_checkpoint_is_checked_once(hooks, tmp_path, tool_runner, monkeypatch):
    """Whether or not the config has the hook."""
    checked = []
    monkeypatch.setattr(backbone_load, 'check_model', lambda *args: checked.append(args[2]))
    videos = write_videos(tmp_path / 'videos', 2)
    (tmp_path / 'test.txt').write_text('video_0.mp4 0\nvideo_1.mp4 1\n')
    cfg = Config.fromfile(CONFIG)
    cfg.custom_hooks = hooks
    backbone = dict(num_stages=1, out_indices=(0,), strides=(1,), dilations=(1,))
    cfg.model.backbone.update(backbone)
    cfg.model.cls_head.update(num_classes=2, in_channels=64)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    dataset = dict(ann_file=str(tmp_path / 'test.txt'), data_prefix=dict(video=str(videos)))
    cfg.test_dataloader.dataset.update(dataset)
    cfg.dump(tmp_path / 'tsn.py')
    checkpoint = str(tmp_path / 'tsn.pth')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    assert tool_runner('test')(tmp_path / 'tsn.py', checkpoint, '--work-dir', tmp_path)[0] == 0
    assert checked == [checkpoint]
