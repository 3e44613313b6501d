_base_ = '../dpc/dpc_r3d-r18_1x16-4x1x6-16e_generated-rgb.py'

model = dict(
    heads=dict(
        _delete_=True,
        memdpc=dict(
            type='MemDPCHead',
            in_channels=128,
            memory_size=64,
            feature_channels=64,
            num_predicted=2,
            map_size=(2, 2),
            # From the authors' 0.1, the predictions would stay the same under SGD.
            init_gain=1.0,
        ),
    )
)
