# VideoMAE's clips: 16 frames, 4 apart, from one random start; TSN's corner and scale crops, no
# flip.
_base_ = 'rho_clips.py'

sample_clips = dict(type='SampleClips', num_views=1, clip_len=16, frame_interval=4)
crop_corners = dict(
    type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66), num_fixed_crops=13
)
augment = dict(type='SharedAugment', share='clip', transforms=[crop_corners, _base_.resize])
train_pipeline = [
    _base_.open_video,
    sample_clips,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
sample_features = dict(
    type='SampleFrames', clip_len=16, frame_interval=4, num_clips=10, test_mode=True
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
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
