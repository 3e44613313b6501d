# CVRL's pair of clips: 16 frames, 2 apart; short gaps are more frequent than long ones.
_base_ = 'rho_clips.py'

sample_pair = dict(type='SampleClipPair', clip_len=16, frame_interval=2, gap='decreasing')
crop = dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0))
jitter = dict(
    type='ClipColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8
)
blur = dict(type='ClipGaussianBlur', sigma_range=(0.1, 2.0), prob=1.0)
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[crop, _base_.resize, _base_.flip, jitter, _base_.grayscale, blur],
)
train_pipeline = [
    _base_.open_video,
    sample_pair,
    _base_.decode_video,
    augment,
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
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
