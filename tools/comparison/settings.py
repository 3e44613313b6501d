"""The rows of each table, and the videos that they need."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmssl_video.errors import UserError
from mmssl_video.generated import fixed_scenes, moving_objects

SIZES = (50, 15, 10)  # videos per class in each split
OBJECT_SIZES = (60, 24, 12)


@dataclass
class Setting:
    """One row of a table.

    Attributes:
        title: First column of the row.
        config: Path below ``configs/``.
        options: Changes to the config.
        paper: The paper's figure, if there is one; the order of rows is compared with it.
        baseline: ``'random'`` or a key of `TRIVIAL`; these are not trained.
        videos: A key of `generated_sets`, or a folder of real videos.
        task: Name of a head; the table has its accuracy on held-out videos.
        finetune: Whether the network is also fine-tuned, with all labels and with a few.
    """

    title: str
    config: str
    options: dict = field(default_factory=dict)
    paper: float | None = None
    baseline: str | None = None
    videos: str = 'scenes'
    task: str | None = None
    finetune: bool = False

    @property
    def slug(self) -> str:
        """Name of the folder with the runs."""
        off = '-'.join(key.rsplit('.', 1)[1] for key in self.options)
        name = f'{self.baseline or Path(self.config).stem}{"-without-" + off if off else ""}'
        if self.baseline == 'random':
            name += f'-{Path(self.config).stem.split("_generated")[0]}'  # clips as in the recipe
        return f'{Path(self.videos).name}/{name}'

    @property
    def real(self) -> bool:
        """Whether the videos are real, from a folder."""
        return self.videos not in generated_sets()


def small(
    method: str,
    name: str,
    views: str = '4x2x2',
    backbone: str = 'slowonly-r18',
    epochs: int = 16,
    batch: int = 16,
) -> str:
    """Return the path of a small recipe."""
    return f'{method}/{name}_{backbone}_1x{batch}-{views}-{epochs}e_generated-rgb.py'


def on_objects(title: str, method: str, name: str, views: str, task: str) -> Setting:
    """Return the row of a small recipe for order or prediction."""
    backbone = 'slowonly-r18' if views.startswith('1x') else 'r3d-r18'  # of frames or clips
    return Setting(title, small(method, name, views, backbone), videos='objects', task=task)


def vclr_losses(*names: str) -> dict:
    """Return the options for VCLR with only these objectives."""
    heads = ('inter', 'intra', 'video', 'order')
    return {f'model.heads.{head}': None for head in heads if head not in names}


VCLR = small('vclr', 'vclr', '4x2x3')
CVRL = small('cvrl', 'cvrl')
SHUFFLE_LEARN = small('shuffle_learn', 'shuffle-learn', '1x1x5')
VCOP = small('vcop', 'vcop', '4x2x3', 'r3d-r18')
VIDEOMAE = 'videomae/videomae_vit-t_1x16-8x2x1-100e_generated-rgb.py'
OBJECTS = 'Order family and prediction, on moving objects'
BASELINES = [
    Setting('random weights', CVRL, baseline='random'),
    Setting('mean frame', CVRL, baseline='mean_frame'),
    Setting('frame difference', CVRL, baseline='frame_difference'),
]
METHODS = [
    *BASELINES,
    Setting('MoCo v2, one clip twice', small('mocov2', 'mocov2', '4x2x1')),
    Setting('MoCo v2, two clips', small('mocov2', 'mocov2')),
    Setting('VINCE', small('vince', 'vince', '4x2x4')),
    Setting('SeCo', small('seco', 'seco', '4x2x3')),
    Setting('VCLR', VCLR),
    Setting('SimCLR', small('simclr', 'simclr')),
    Setting('VICReg', small('vicreg', 'vicreg')),
    Setting('CVRL', CVRL),
    Setting('VCLR + CVRL', small('vclr', 'vclr-cvrl', '4x2x8')),
    Setting('ρ-MoCo, ρ = 3', small('rho_moco', 'rho-moco', '4x2x3')),
    Setting('ρ-BYOL, ρ = 2', small('rho_byol', 'rho-byol', epochs=64, batch=64)),
    Setting('ρ-SimCLR, ρ = 3', small('rho_simclr', 'rho-simclr', '4x2x3')),
    Setting('ρ-SwAV, ρ = 2', small('rho_swav', 'rho-swav')),
    Setting('NNCLR', small('nnclr', 'nnclr', epochs=32)),
    Setting('IIVCL', small('iivcl', 'iivcl')),
]
OBJECT_ROWS = [
    Setting('random weights, clips', VCOP, baseline='random', videos='objects'),
    Setting('random weights, frames', SHUFFLE_LEARN, baseline='random', videos='objects'),
    Setting('random weights, tokens', VIDEOMAE, baseline='random', videos='objects'),
    Setting('mean frame', VCOP, baseline='mean_frame', videos='objects'),
    Setting('frame difference', VCOP, baseline='frame_difference', videos='objects'),
    on_objects('Shuffle & Learn', 'shuffle_learn', 'shuffle-learn', '1x1x5', 'order'),
    on_objects('OPN', 'opn', 'opn', '1x1x4', 'order'),
    on_objects('O3N', 'o3n', 'o3n', '4x2x6', 'odd_one'),
    on_objects('VCOP', 'vcop', 'vcop', '4x2x3', 'order'),
    on_objects('PacePred', 'pace', 'pace', '4x1x1', 'pace'),
    on_objects('SpeedNet', 'speednet', 'speednet', '4x1x2', 'speed'),
    on_objects('3D-RotNet', 'rotnet3d', 'rotnet3d', '4x2x1', 'rotation'),
    on_objects('DPC', 'dpc', 'dpc', '4x1x6', 'dpc'),
    on_objects('MemDPC', 'memdpc', 'memdpc', '4x1x6', 'memdpc'),
    on_objects('VCLR on DPC', 'vclr', 'vclr-dpc', '4x1x12', 'dpc'),
    Setting('VideoMAE, 100 epochs', VIDEOMAE, videos='objects'),
]


def augmentations(videos: str) -> list[Setting]:
    """Return the rows of CVRL, Table 4: temporal, spatial augmentation, temporal consistency."""
    return [
        Setting('random weights', CVRL, baseline='random', videos=videos),
        Setting('TA', small('cvrl', 'cvrl-ta'), paper=24.8, videos=videos),
        Setting('SA', small('cvrl', 'cvrl-sa', '4x2x1'), paper=40.4, videos=videos),
        Setting('TA + SA', small('cvrl', 'cvrl-ta-sa'), paper=49.2, videos=videos),
        Setting('TA + SA + TC', CVRL, paper=58.8, videos=videos),
    ]


def losses(videos: str) -> list[Setting]:
    """Return the rows of VCLR, Table 6: its objectives."""
    figures = {
        'intra': None,
        'order': 51.8,
        'inter': 59.0,
        'inter + intra': 60.7,
        'inter + intra + order': 61.2,
        'video': 62.1,
        'inter + intra + video': 63.5,
        'inter + intra + video + order': 64.1,
    }
    return [
        Setting(title, VCLR, vclr_losses(*title.split(' + ')), paper, videos=videos)
        for title, paper in figures.items()
    ]


def on_folder(folder: str) -> list[Setting]:
    """Return the rows for real videos: one recipe for each idea."""
    clips = 'cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgb.py'
    differences = 'cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py'
    vclr = 'vclr/vclr_r18_demo.py'
    recipes = {
        'VCLR, frames (video-level)': vclr,
        'CVRL, clips': clips,
        'NNCLR, differences (neighbours)': 'nnclr/nnclr_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py',
        'VCOP, differences (order)': 'vcop/vcop_r3d-r18_1x32-4x2x3-40e_folder-rgbdiff.py',
        'PacePred, differences (pace)': 'pace/pace_r3d-r18_1x32-8x1x1-40e_folder-rgbdiff.py',
        'VCLR, differences (contrast and order)': (
            'vclr/vclr_r3d-r18_1x32-4x2x3-40e_folder-rgbdiff.py'
        ),
        'CVRL, differences': differences,
        'VideoMAE, 100 epochs': 'videomae/videomae_vit-t_1x16-8x2x1-100e_folder-rgb.py',
    }
    rows = [
        Setting('mean frame', clips, baseline='mean_frame', videos=folder),
        Setting('frame difference', clips, baseline='frame_difference', videos=folder),
    ]
    for name, config in (('frames', vclr), ('clips', clips), ('differences', differences)):
        rows.append(
            Setting(
                f'random weights, {name}',
                config,
                baseline='random',
                videos=folder,
                finetune=config == differences,
            )
        )
    return rows + [
        Setting(title, config, videos=folder, finetune=config == differences)
        for title, config in recipes.items()
    ]


# Figures with the same protocol: Kinetics-400, linear.
ORDERS = {
    'Frame-level methods, ResNet-50 (figures of VCLR)': {'VINCE': 49.1, 'SeCo': 61.9, 'VCLR': 64.1},
    'ρ family, SlowOnly-50, ρ = 2 (ours: 3 for MoCo and SimCLR)': {
        'ρ-SimCLR, ρ = 3': 61.5,
        'ρ-SwAV, ρ = 2': 62.6,
        'ρ-MoCo, ρ = 3': 66.6,
        'ρ-BYOL, ρ = 2': 67.4,
    },
}


def tables(folders: Sequence[str] = ()) -> dict[str, list[Setting]]:
    """Return the rows of each table by its title, with folders of real videos first.

    Raises:
        UserError: If the name of a folder is that of another one or of a generated set.
    """
    names = ['Methods', 'fixed scenes', OBJECTS, *generated_sets()]
    for folder in folders:
        if (name := Path(folder).name) in names:
            raise UserError(
                f'--videos {folder}: the name {name} is taken by another folder or a generated '
                'set; give a link to the folder that has another name'
            )
        names.append(name)
    real = {Path(folder).name: on_folder(folder) for folder in folders}
    ablations = {}
    for videos in ('fixed', *folders):
        name = 'fixed scenes' if videos == 'fixed' else Path(videos).name
        ablations[f'Augmentation of CVRL, {name}'] = augmentations(videos)
        ablations[f'Losses of VCLR, {name}'] = losses(videos)
    return {**real, 'Methods': METHODS, **ablations, OBJECTS: OBJECT_ROWS}


def settings_by_slug(folders: Sequence[str] = ()) -> dict[str, Setting]:
    """Return each row once; tables share some."""
    return {row.slug: row for rows in tables(folders).values() for row in rows}


def generated_sets() -> dict[str, dict]:
    """Return the arguments of `write_splits` for each generated set."""
    return {
        'scenes': dict(sizes=SIZES),
        'fixed': dict(
            sizes=SIZES,
            classes=fixed_scenes.CLASSES,
            render=fixed_scenes.render_fixed_scene,
        ),
        'objects': dict(
            sizes=OBJECT_SIZES,
            classes=moving_objects.CLASSES,
            render=moving_objects.render_object,
        ),
    }
