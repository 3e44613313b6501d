# The budget of all small recipes: 16 epochs, a few minutes on a CPU.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=16)
optim_wrapper = dict(
    type='OptimWrapper',
    # At 2e-3, BYOL, NNCLR and MemDPC stay at chance on some seeds.
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=1,
        start_factor=0.01,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
