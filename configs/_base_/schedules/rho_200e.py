# The ρ family: 200 epochs, 35 of them warm-up, which ends on the cosine at 0.926 of its peak. Rates
# are for 64 videos. No weight decay on batch normalisation.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=35,
        start_factor=0.01,  # from 0.001
        cosine_from='start',
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=64)
