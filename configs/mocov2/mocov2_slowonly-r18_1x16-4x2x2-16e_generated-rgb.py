# MoCo v2 with two clips of a video.
_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=dict(moco=dict(type='MoCoHead', **_base_.contrast, queue_size=16)))
