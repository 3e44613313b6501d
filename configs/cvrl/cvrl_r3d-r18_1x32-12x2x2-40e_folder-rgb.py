# CVRL on the videos of a folder.
_base_ = [
    '../_base_/models/folder_r3d.py',
    '../_base_/datasets/folder_clips.py',
    '../_base_/schedules/folder_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=dict(simclr=dict(type='SimCLRHead', projector=_base_.projector)))
