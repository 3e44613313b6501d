# The budget of the small recipes of order and prediction: 16 epochs, some minutes on a CPU. From
# random weights, SGD learns next to nothing of an order in that time.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=16)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-5),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=1,
        start_factor=0.01,
        begin=0,
        end=16,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
