_base_ = [
    '../_base_/models/r50.py',
    '../_base_/datasets/frames.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

# View 0 is the query frame. View 1 holds it again, augmented anew, and two frames of the other
# half.
projector = _base_.projector
model = dict(
    heads=dict(
        inter=dict(
            type='InterFrameHead',
            projector=projector,
            queue_size=131072,
            temperature=0.1,
            query_segment=0,
            key_view=1,
        ),
        intra=dict(
            type='IntraFrameHead',
            projector=projector,
            temperature=0.1,
            pairwise=True,
            query_segment=0,
            key_view=1,
        ),
        order=dict(type='SeCoOrderHead', projector=projector),
    ),
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleHalves'),
    _base_.decode_video,
    _base_.augment,
    _base_.format_frames,
    dict(type='PackViews', algorithm_keys=('query_in_second_half',)),
]
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=train_pipeline,
    ),
)

# The authors' code starts from MoCo v2 (200 epochs): convert it with tools/convert_weights.py and
# add --cfg-options load_from=MOCO_V2.pth
