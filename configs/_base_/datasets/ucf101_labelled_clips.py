# Labelled clips of UCF101 at 112 pixels, as in VCOP's fine-tuning: one clip of 16 frames of a video
# for training, 10 clips and a centre crop for the test. The environment variable SPLIT, 1 if it is
# not set, chooses one of the three splits.
_base_ = '../pipelines/video.py'

sample_train = dict(type='SampleFrames', clip_len=16, frame_interval=1, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 10}
resize = dict(type='Resize', scale=(171, 128), keep_ratio=False)
crop = dict(type='RandomCrop', size=112)
crop_centre = dict(type='CenterCrop', crop_size=112)
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    resize,
    crop,
    _base_.flip,
    _base_.shape_clips,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_val,
    _base_.decode_video,
    resize,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
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
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='VideoDataset',
        ann_file='data/ucf101/ucf101_train_split_{{$SPLIT:1}}_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        ann_file='data/ucf101/ucf101_val_split_{{$SPLIT:1}}_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        ann_file='data/ucf101/ucf101_val_split_{{$SPLIT:1}}_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
