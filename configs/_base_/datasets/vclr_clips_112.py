# VCLR's tuples with clips: 16 frames, 2 apart, from each segment, at 112 pixels. One draw per clip
# preserves its motion.
_base_ = 'frames.py'

sample_tuples_16x2 = dict(type='SampleSegmentTuples', num_segments=3, clip_len=16, frame_interval=2)
resize = dict(type='Resize', scale=(112, 112), keep_ratio=False)
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[
        _base_.crop,
        resize,
        _base_.flip,
        _base_.jitter,
        _base_.grayscale,
        _base_.blur,
    ],
)
train_pipeline = [
    _base_.open_video,
    sample_tuples_16x2,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
# Features of a whole video: 10 clips, centre crop.
sample_features = dict(
    type='SampleFrames', clip_len=16, frame_interval=2, num_clips=10, test_mode=True
)
resize_short = dict(type='Resize', scale=(-1, 128))
crop_centre = dict(type='CenterCrop', crop_size=112)
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
    batch_size=16,
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=train_pipeline,
    ),
)
