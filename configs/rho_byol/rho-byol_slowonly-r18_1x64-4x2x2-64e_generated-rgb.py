_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # A target that changes faster loses all but a few dimensions before the network has learned.
    momentum=0.998,
    heads=dict(
        byol=dict(
            type='BYOLHead',
            projector=_base_.projector_without_shift,
            predictor=_base_.predictor,
        )
    ),
)
# In batches of 16, some seeds learn nothing (docs/choosing.md).
train_dataloader = dict(batch_size=64)
auto_scale_lr = dict(base_batch_size=64)
train_cfg = dict(max_epochs=64)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]
