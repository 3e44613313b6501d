# MoCo v2 with two clips of a video.
_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_5e.py',
    '../_base_/default_runtime.py',
]

# A fraction of the data: a longer queue would hold the query's own video.
model = dict(heads=dict(moco=dict(type='MoCoHead', projector=_base_.projector, queue_size=128)))
