# Clips of the ρ family: 8 frames, 8 apart, starts uniform over the video.
_base_ = '../pipelines/video.py'

sample_clips = dict(type='SampleClips', num_views=2, clip_len=8, frame_interval=8)
crop = dict(type='RandomResizedCrop', area_range=(0.2, 0.766), aspect_ratio_range=(3 / 4, 4 / 3))
resize = dict(type='Resize', scale=(224, 224), keep_ratio=False)
jitter = dict(
    type='ClipColorJitter', brightness=0.6, contrast=0.6, saturation=0.6, hue=0.15, prob=0.8
)
grayscale = dict(type='ClipGrayscale', prob=0.2)
blur = dict(type='ClipGaussianBlur', sigma_range=(0.1, 2.0), prob=0.5)
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[crop, resize, _base_.flip, jitter, grayscale, blur],
)
train_pipeline = [
    _base_.open_video,
    sample_clips,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
# Features of a whole video: 10 clips, centre crop.
sample_features = dict(
    type='SampleFrames', clip_len=8, frame_interval=8, num_clips=10, test_mode=True
)
resize_short = dict(type='Resize', scale=(-1, 256))
crop_centre = dict(type='CenterCrop', crop_size=224)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabeledVideoDataset',
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
