_base_ = [
    '../_base_/models/c3d.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=dict(order=dict(type='PermutationHead', in_channels=4096)))
