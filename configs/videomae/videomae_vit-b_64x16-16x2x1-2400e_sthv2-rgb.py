_base_ = [
    '../_base_/models/videomae.py',
    '../_base_/datasets/videomae_clips_16x2.py',
    '../_base_/schedules/videomae_1600e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(
    dataset=dict(
        ann_file='data/sthv2/sthv2_train_list_videos.txt',
        data_prefix=dict(video='data/sthv2/videos'),
    )
)
train_cfg = dict(max_epochs=2400)
