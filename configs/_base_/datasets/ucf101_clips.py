# Clips of UCF101 split 1 at 112 pixels, as VCOP reads them: three consecutive clips, each with its
# own crop.
_base_ = '../pipelines/video.py'

sample_clips = dict(type='SampleConsecutiveClips', num_segments=3, clip_len=16, clip_gap=8)
resize = dict(type='Resize', scale=(171, 128), keep_ratio=False)
crop = dict(type='RandomCrop', size=112)
augment = dict(type='SharedAugment', share='clip', transforms=[crop])
train_pipeline = [
    _base_.open_video,
    sample_clips,
    _base_.decode_video,
    resize,
    augment,
    _base_.format_clips,
    _base_.pack,
]
# Features of a whole video: 10 clips, centre crop.
sample_features = dict(
    type='SampleFrames', clip_len=16, frame_interval=1, num_clips=10, test_mode=True
)
crop_centre = dict(type='CenterCrop', crop_size=112)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    resize,
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
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
