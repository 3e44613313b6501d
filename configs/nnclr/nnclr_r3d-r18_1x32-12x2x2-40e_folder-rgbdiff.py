# NNCLR on differences of frames.
_base_ = [
    '../_base_/models/folder_r3d.py',
    '../_base_/datasets/folder_differences.py',
    '../_base_/schedules/folder_40e.py',
    '../_base_/default_runtime.py',
]

# For a few hundred videos: in a longer queue, a clip of the same video would be the neighbour.
model = dict(
    heads=dict(
        nnclr=dict(
            type='NNCLRHead',
            projector=_base_.projector,
            predictor=_base_.predictor,
            queue_size=128,
        )
    )
)
