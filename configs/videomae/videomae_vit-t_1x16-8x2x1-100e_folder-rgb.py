# For a folder of a few hundred videos. Large frames are resized by means over areas.
_base_ = [
    '../_base_/models/small_masked.py',
    '../_base_/datasets/small_masked.py',
    '../_base_/schedules/small_masked_100e.py',
    '../_base_/default_runtime.py',
]

resize = dict(type='Resize', scale=(64, 64), keep_ratio=False, interpolation='area')
augment = dict(type='SharedAugment', share='clip', transforms=[_base_.crop, resize, _base_.flip])
train_pipeline = [
    _base_.open_video,
    _base_.sample_clips,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
resize_short = dict(type='Resize', scale=(-1, 72), interpolation='area')
feature_pipeline = [
    _base_.open_video,
    _base_.sample_features,
    _base_.decode_video,
    resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
