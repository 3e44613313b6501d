# VideoMAE's clips with frames 2 apart.
_base_ = 'videomae_clips.py'

sample_clips = dict(type='SampleClips', num_views=1, clip_len=16, frame_interval=2)
train_pipeline = [
    _base_.open_video,
    sample_clips,
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
sample_features = dict(
    type='SampleFrames', clip_len=16, frame_interval=2, num_clips=10, test_mode=True
)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
