_base_ = [
    '../_base_/models/vclr_r50.py',
    '../_base_/datasets/frames.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
    )
)

# The authors' code starts from MoCo v2 (200 epochs): convert it with tools/convert_weights.py and
# add --cfg-options load_from=MOCO_V2_FOR_VCLR.pth
