_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# The queue holds a fraction of the data: in a longer one, a clip of the same video would be the
# neighbour.
model = dict(
    heads=dict(
        nnclr=dict(
            type='NNCLRHead',
            **_base_.contrast_without_shift,
            predictor=_base_.predictor,
            queue_size=256,
        )
    )
)

# Neighbours are random videos at first. The loss leaves chance after 6 to 20 epochs.
train_cfg = dict(max_epochs=32)
