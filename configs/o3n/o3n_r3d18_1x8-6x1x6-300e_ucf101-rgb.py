_base_ = [
    '../_base_/models/r3d18.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

# The paper's recipe was not read: picture size, crop and schedule are VCOP's.
model = dict(heads=dict(odd_one=dict(type='OddOneOutHead', in_channels=512, fusion='difference')))

sample_odd_one = dict(type='SampleOddOneOut', num_segments=6, clip_len=6)
pack_odd_one = dict(type='PackViews', algorithm_keys=('odd_one',))
train_pipeline = [
    _base_.open_video,
    sample_odd_one,
    _base_.decode_video,
    _base_.resize,
    _base_.augment,
    _base_.format_clips,
    pack_odd_one,
]
sample_features = dict(
    type='SampleFrames', clip_len=6, frame_interval=1, num_clips=10, test_mode=True
)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    _base_.resize,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
