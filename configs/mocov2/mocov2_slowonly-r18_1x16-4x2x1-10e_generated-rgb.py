# MoCo v2 as on images: one clip, augmented twice.
_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_5e.py',
    '../_base_/default_runtime.py',
]

# A fraction of the data: a longer queue would hold the query's own video.
model = dict(heads=dict(moco=dict(type='MoCoHead', projector=_base_.projector, queue_size=128)))

train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=1, clip_len=4, frame_interval=2, views=(0, 0)),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
