_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# 16 videos and 112 earlier ones use 32 prototypes equally. In so short a run, softer codes or
# learned prototypes would bring all embeddings equally near to all prototypes (loss ln 32).
model = dict(
    heads=dict(
        swav=dict(
            type='SwAVHead',
            projector=_base_.projector_without_shift,
            num_prototypes=32,
            epsilon=0.02,
            freeze_epochs=16,
            queue_size=112,
            queue_start_epoch=1,
        )
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type='HeadEpochHook')]
