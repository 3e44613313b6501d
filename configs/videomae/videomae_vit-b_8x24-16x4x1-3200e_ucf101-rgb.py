_base_ = [
    '../_base_/models/videomae.py',
    '../_base_/datasets/videomae_clips.py',
    '../_base_/schedules/videomae_1600e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=dict(videomae=dict(mask=dict(ratio=0.75))))

train_dataloader = dict(
    batch_size=24,
    dataset=dict(
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
    ),
)

# 3e-4 for 256 videos, the floor 1e-5.
train_cfg = dict(max_epochs=3200)
optim_wrapper = dict(optimizer=dict(lr=2.25e-4))
param_scheduler = [{**_base_.param_scheduler[0], 'eta_min': 7.5e-6}]
auto_scale_lr = dict(base_batch_size=192)
