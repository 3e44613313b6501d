r"""Plot extracted features as points in a plane, coloured by class.

    python tools/feature_map.py pretrained/test.npz random/test.npz --out map.png \
        --titles pretrained 'random weights' --class-names classes.txt

FEATURES are files or folders of tools/extract_features.py. Each gets a panel. Its caption has the
accuracy of k-nearest-neighbour classification on the features, not on the picture: t-SNE shows
neighbours, but neither distances nor sizes of groups.
"""

import argparse
import sys
from pathlib import Path

from command_line import Parser, count, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('features', nargs='+', metavar='FEATURES', help='.npz file or folder')
    parser.add_argument('--out', required=True, help='picture to write: .png, .pdf or .svg')
    parser.add_argument(
        '--titles', nargs='+', help='a title for each panel (default the names of the files)'
    )
    parser.add_argument('--class-names', metavar='FILE', help='names of the classes, one per line')
    parser.add_argument(
        '--max-videos',
        type=positive,
        default=2000,
        metavar='N',
        help='from more videos, draw this many, evenly over the classes (default 2000)',
    )
    parser.add_argument(
        '--method',
        choices=('tsne', 'pca'),
        default='tsne',
        help='t-SNE (default) or two PCA components',
    )
    parser.add_argument(
        '--seed', type=count, default=0, help='seed of the draw and of t-SNE (default 0)'
    )
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmssl_video.errors import UserError
    from mmssl_video.evaluation import FeatureSet
    from mmssl_video.visualization.feature_map import feature_map, save_feature_maps
    from mmssl_video.visualization.figures import picture_format, read_class_names

    picture_format(args.out)  # raises before the long work
    titles = args.titles or _titles([Path(path) for path in args.features])
    if len(titles) != len(args.features):
        raise UserError(
            f'--titles: {len(titles)} titles for {len(args.features)} sets of features; give one '
            'for each'
        )
    sets = [FeatureSet.load(path) for path in args.features]
    class_names = None
    if args.class_names:
        last_label = max(features.labels.max(initial=-1) for features in sets)
        class_names = read_class_names(args.class_names, last_label)
    maps = []
    for features, title in zip(sets, titles, strict=True):
        maps.append(feature_map(features, args.method, args.max_videos, args.seed))
        knn = maps[-1].knn
        found = f', {knn["k"]}-NN {knn["top1"]:.2f} %, chance {knn["chance"]:.2f} %' if knn else ''
        if knn and knn['tied']:
            found += f'; {knn["tied"]:.2f} % tie, and the order of the rows decides'
        print(f'{title}: {len(maps[-1].rows)} of {len(features)} rows{found}')
    save_feature_maps(args.out, maps, titles, class_names)
    print(f'written to {args.out}')


def _titles(paths: list[Path]) -> list[str]:
    """Name each file, with its folder if names are not unique."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [f'{path.absolute().parent.name}/{path.stem}' for path in paths]


if __name__ == '__main__':
    sys.exit(main())
