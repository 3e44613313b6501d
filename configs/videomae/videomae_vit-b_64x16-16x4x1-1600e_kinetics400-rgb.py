_base_ = [
    '../_base_/models/videomae.py',
    '../_base_/datasets/videomae_clips.py',
    '../_base_/schedules/videomae_1600e.py',
    '../_base_/default_runtime.py',
]
