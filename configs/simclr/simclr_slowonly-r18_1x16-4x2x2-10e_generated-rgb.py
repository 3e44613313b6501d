_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_5e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=dict(simclr=dict(type='SimCLRHead', projector=_base_.projector)))
