# Table 8, the baseline: InfoNCE of two clips of a video, as in CoCLR. Each tuple has one clip.
_base_ = [
    '../_base_/models/s3d.py',
    '../_base_/datasets/vclr_clips_128.py',
    '../_base_/schedules/adam_300e.py',
    '../_base_/default_runtime.py',
]

projector = dict(type='ProjectionMLP', in_channels=1024, hidden_channels=1024, out_channels=128)
model = dict(
    heads=dict(
        clip=dict(
            type='InterFrameHead',
            projector=projector,
            queue_size=2048,
            temperature=0.07,
            key_view=1,
        )
    )
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=1, clip_len=32, views=(0, 1)),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        pipeline=train_pipeline,
    ),
)
