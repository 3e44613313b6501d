# C3D on UCF101, as VCOP fine-tunes (Xu et al., Sec. 4.4).
_base_ = [
    '../../_base_/models/c3d.py',
    '../../_base_/datasets/ucf101_labelled_clips.py',
    '../../_base_/schedules/finetune_150e.py',
    'mmaction::_base_/default_runtime.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(
    type='Recognizer3D',
    cls_head=dict(
        type='I3DHead', num_classes=101, in_channels=4096, spatial_type=None, average_clips='prob'
    ),
)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=3))
