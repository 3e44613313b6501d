# The budget of all small recipes: 5 epochs, which is a minute or two on a CPU.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=0.5,
        start_factor=0.01,
        begin=0,
        end=5,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
