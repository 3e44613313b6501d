# Differences of frames instead of frames, for classes that are motions before a fixed camera:
# signs, gestures, exercises. Crops are large, since the place of a motion matters as much as its
# kind. There is no flip, since left and right differ.
_base_ = 'folder_clips.py'

differences = dict(type='ClipDifferences')
sample_clips = dict(type='SampleClips', num_views=2, clip_len=13, frame_interval=2)
crop = dict(type='RandomResizedCrop', area_range=(0.6, 1.0))
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[crop, _base_.resize, _base_.jitter, _base_.grayscale],
)
train_pipeline = [
    _base_.open_video,
    sample_clips,
    _base_.decode_video,
    augment,
    differences,
    _base_.format_clips,
    _base_.pack,
]
sample_features = dict(
    type='SampleFrames', clip_len=13, frame_interval=2, num_clips=3, test_mode=True
)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    differences,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
