"""LoadCheckedFeature: MMAction2's array, or one line that says what does not fit."""

import numpy as np
import pytest
from mmaction.datasets.transforms import LoadLocalizationFeature
from mmaction.registry import TRANSFORMS

from mmssl_video.errors import UserError


def write_csv(path, rows, columns):
    values = np.random.default_rng(0).normal(size=(rows, columns))
    header = ','.join(f'f{i}' for i in range(columns))
    np.savetxt(path, values, delimiter=',', header=header, comments='')
    return path


def load(path, duration_frame=70, feature_frame=64, **kwargs):
    transform = TRANSFORMS.build(dict(type='LoadCheckedFeature', **kwargs))
    results = dict(feature_path=str(path), video_name='v_a')
    return transform(results | dict(duration_frame=duration_frame, feature_frame=feature_frame))


def test_feature_is_as_upstream_loads_it(tmp_path):
    path = write_csv(tmp_path / 'v_a.csv', 100, 6)
    results = load(path, channels=6)
    feature = results['raw_feature']
    assert (feature.shape, feature.dtype) == ((6, 100), np.float32)
    upstream = LoadLocalizationFeature()(dict(feature_path=str(path)))['raw_feature']
    np.testing.assert_array_equal(feature, upstream)
    assert results['video_name'] == 'v_a'


def test_other_bins_and_interval(tmp_path):
    path = write_csv(tmp_path / 'v_a.csv', 5, 3)
    results = load(path, feature_frame=68, channels=3, bins=5, interval=4)
    assert results['raw_feature'].shape == (3, 5)


def test_shape_is_named_with_the_remedy(tmp_path):
    path = write_csv(tmp_path / 'v_a.csv', 5, 3)
    wrong = rf'{path}: holds 5 rows of 3, the config is for 100 rows of 2048; set model.feat_dim=3'
    with pytest.raises(UserError, match=wrong):
        load(path, channels=2048)
    with pytest.raises(UserError, match='the config is for 5 rows of 4'):
        load(path, channels=4, bins=5)
    with pytest.raises(UserError, match='the config is for 3 rows of 5'):
        load(path, channels=5, bins=3)


def test_interval_is_named_with_the_remedy(tmp_path):
    path = write_csv(tmp_path / 'v_a.csv', 5, 3)
    wrong = 'covers 64 of 70 frames, with one feature every 4 frames it would be 68; set model.feat'
    with pytest.raises(UserError, match=wrong):
        load(path, channels=3, bins=5, interval=4)


@pytest.mark.parametrize('content', [None, '', 'f0,f1\n', 'f0,f1\n1,2\n', 'f0,f1\n1,x\n1,2\n'])
def test_unreadable_files_are_named(tmp_path, content):
    path = tmp_path / 'v_a.csv'
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match='v_a.csv: .*extract') as caught:
        load(path, channels=2)
    assert '\n' not in str(caught.value)
