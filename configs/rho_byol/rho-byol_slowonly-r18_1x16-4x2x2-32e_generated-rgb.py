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
train_cfg = dict(max_epochs=32)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]
