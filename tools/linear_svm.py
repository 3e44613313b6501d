"""Linear SVM on extracted features: accuracy of a frozen backbone."""

import argparse

from mmssl_video.errors import one_line_errors
from mmssl_video.evaluation import FeatureSet, linear_svm
from mmssl_video.files import write_json

DESCRIPTION = """\
Train a linear SVM on the features of one set of videos and measure its accuracy on another: the
linear evaluation of VCLR and SeCo (LIBLINEAR -s 2 -c 1: L2-regularised squared hinge loss, primal,
one class against the rest, raw features, no bias term).

TRAIN and TEST are files of tools/extract_features.py, both labelled."""
EXAMPLE = """\
example:
  python tools/linear_svm.py work_dirs/ucf101/train.npz work_dirs/ucf101/test.npz \\
      --out work_dirs/ucf101/svm.json"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('train', metavar='TRAIN.npz', help='features to train on')
    parser.add_argument('test', metavar='TEST.npz', help='features to classify')
    parser.add_argument('--out', required=True, metavar='JSON', help='file for the result')
    parser.add_argument('--cost', type=float, default=1.0, help='C of the SVM (default: 1)')
    parser.add_argument(
        '--l2-normalize', action='store_true', help='divide each feature by its norm first'
    )
    parser.add_argument(
        '--bias', action='store_true', help="add a regularised bias term, LIBLINEAR's -B 1"
    )
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Load both files, evaluate, write and print."""
    args = parse_args()
    train, test = FeatureSet.load(args.train), FeatureSet.load(args.test)
    result = linear_svm(train, test, args.cost, l2_normalize=args.l2_normalize, bias=args.bias)
    write_json(args.out, result | {'arguments': vars(args)})
    print(
        f'linear SVM: {len(train)} training and {len(test)} test videos,'
        f' {result["num_classes"]} classes, {train.dim} features'
    )
    for key, name in (('top1', 'top-1'), ('top5', 'top-5'), ('mean_class', 'mean class')):
        if key in result:
            print(f'  {name:<12}{result[key]:6.2f} %')
    print(f'  {"chance":<12}{result["chance"]:6.2f} %\nwritten to {args.out}')


if __name__ == '__main__':
    main()
