"""List makers: a small tree in each layout in which a data set is distributed."""

import json
import shutil
import subprocess
from pathlib import Path

import mmengine
import pytest
from mmaction.datasets import ActivityNetDataset, RawframeDataset, VideoDataset
from mmengine.registry import init_default_scope

from mmssl_video.datasets.lists import Place, Split, check_found, index_videos, write_lists
from mmssl_video.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def write_tree(root, files):
    """Write text files with a byte order mark; a value that is no string is written as JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding='utf-8-sig')
    return root


def videos(*names):
    """Empty files: lists ask for names alone."""
    return dict.fromkeys(names, '')


def lines(path):
    return path.read_text().splitlines()


def make_lists(name, root, files):
    """Lists of a data set with these files, written beside them."""
    return write_lists(name, Place(write_tree(root, files)), root)


def assert_refused(name, root, message):
    """Nothing is written."""
    with pytest.raises(UserError, match=message):
        write_lists(name, Place(root), root / 'out')
    assert not (root / 'out').exists()


def official(splits):
    return [split.official for split in splits]


UCF101 = {
    'ucfTrainTestlist/classInd.txt': '1 ApplyEyeMakeup\n2 Archery\n',
    'ucfTrainTestlist/trainlist01.txt': 'Archery/v_Archery_g08_c01.avi 2\n'
    'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n',
    'ucfTrainTestlist/testlist01.txt': 'ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n'
    'Archery/v_Archery_g01_c01.avi\n',
    **{
        f'ucfTrainTestlist/{part}list0{number}.txt': 'Archery/v_Archery_g01_c01.avi\r\n'
        for part in ('train', 'test')
        for number in (2, 3)
    },
    **videos(
        'UCF-101/Archery/v_Archery_g08_c01.avi',
        'UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi',
        'UCF-101/Archery/v_Archery_g01_c01.avi',
    ),
}


def test_ucf101_as_it_is_distributed(tmp_path):
    splits = make_lists('ucf101', tmp_path, UCF101)
    train, val = (tmp_path / f'ucf101_{part}_split_1_videos.txt' for part in ('train', 'val'))
    missing = val.with_suffix('.missing.txt')
    assert lines(train) == [
        'Archery/v_Archery_g08_c01.avi 1',
        'ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 0',
    ]
    assert lines(val) == ['Archery/v_Archery_g01_c01.avi 1']
    assert lines(missing) == ['v_ApplyEyeMakeup_g01_c01']
    assert not train.with_suffix('.missing.txt').exists()
    assert lines(tmp_path / 'ucf101_classes.txt') == ['ApplyEyeMakeup', 'Archery']
    assert [split.name for split in splits][2:] == [
        f'ucf101_{part}_split_{i}_videos' for i in (2, 3) for part in ('train', 'val')
    ]
    assert sum(number for split in splits[:2] for number in split.official) == 13320
    assert (splits[1].annotated, len(splits[1].entries)) == (2, 1)
    data = VideoDataset(str(train), [], data_prefix=dict(video=str(splits[0].folder)))
    assert all(Path(data[i]['filename']).is_file() for i in range(2))
    assert [data[i]['label'] for i in range(2)] == [1, 0]
    # The video that was missing is found.
    make_lists('ucf101', tmp_path, videos('UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi'))
    assert not missing.exists() and len(lines(val)) == 2


def test_layout_of_mmaction(tmp_path):
    """``annotations/`` and ``videos/``, with videos of another container."""
    write_tree(tmp_path, UCF101)
    (tmp_path / 'ucfTrainTestlist').rename(tmp_path / 'annotations')
    shutil.rmtree(tmp_path / 'UCF-101')
    split, *_ = make_lists('ucf101', tmp_path, videos('videos/Archery/v_Archery_g08_c01.mp4'))
    assert split.folder == tmp_path / 'videos'
    assert split.entries == [('Archery/v_Archery_g08_c01.mp4', 1)]


def test_hmdb51(tmp_path):
    files = {
        f'testTrainMulti_7030_splits/{name}_test_split{number}.txt': f'{name}_a.avi 1 \n'
        f'{name}_#b.avi {2 if number == 1 else 0} \n{name}_c.avi 0 \n'
        for name in ('wave', 'brush_hair')
        for number in (1, 2, 3)
    }
    files |= videos(*(f'hmdb51_org/{n}/{n}_{v}.avi' for n in ('wave', 'brush_hair') for v in 'ac'))
    splits = make_lists('hmdb51', tmp_path, files | videos('hmdb51_org/wave/wave_#b.avi'))
    train, val, _, val2, *_ = splits
    assert train.name == 'hmdb51_train_split_1_videos'
    assert train.entries == [('brush_hair/brush_hair_a.avi', 0), ('wave/wave_a.avi', 1)]
    assert val.entries == [('wave/wave_#b.avi', 1)] and val.missing == ['brush_hair_#b']
    assert not (tmp_path / f'{val2.name}.txt').exists()
    assert official(splits) == [(3570,), (1530,)] * 3


JHMDB = {
    **{
        f'splits/{name}_test_split{number}.txt': f'{name}_u_cm_0.avi {1 if number == 1 else 2}\n'
        f'The_(dead-hang)!_{name}_1.avi 2\n'
        for name in ('wave', 'brush_hair')
        for number in (1, 2, 3)
    },
    'splits/._wave_test_split1.txt': '',  # as macOS leaves them
}


@pytest.mark.parametrize('folder', ['ReCompress_Videos', 'JHMDB_video/ReCompress_Videos'])
def test_jhmdb(tmp_path, folder):
    """Paths of the real names: brackets, dashes and exclamation marks, no spaces."""
    names = 'brush_hair/brush_hair_u_cm_0.avi', 'wave/The_(dead-hang)!_wave_1.avi'
    found = videos(*(f'{folder}/{name}' for name in names), f'{folder}/wave/.AppleDouble/x.avi')
    splits = make_lists('jhmdb', tmp_path, JHMDB | found)
    assert [split.name for split in splits[::5]] == [
        'jhmdb_train_split_1_videos',
        'jhmdb_val_split_3_videos',
    ]
    assert splits[0].entries == [(names[0], 0)] and splits[0].missing == ['wave_u_cm_0']
    assert splits[1].entries == [(names[1], 1)]
    assert splits[5].entries == [(names[0], 0), (names[1], 1)]
    assert lines(tmp_path / 'jhmdb_classes.txt') == ['brush_hair', 'wave']
    assert splits[0].folder == tmp_path / folder
    assert [sum(map(sum, official(splits[i : i + 2]))) for i in (0, 2, 4)] == [928] * 3


def test_jhmdb_as_raw_frames(tmp_path):
    clip = 'Rename_Images/wave/wave_u_cm_0'
    frames = videos(*(f'{clip}/{i:05}.png' for i in (1, 2, 3)), f'{clip}/.AppleDouble/00001.png')
    split, *_ = make_lists('jhmdb', tmp_path, JHMDB | frames)
    assert lines(tmp_path / 'jhmdb_train_split_1_rawframes.txt') == ['wave/wave_u_cm_0 3 1']
    assert split.missing == ['brush_hair_u_cm_0']
    (info,) = RawframeDataset(
        ann_file=str(tmp_path / f'{split.name}.txt'),
        data_prefix=dict(img=str(split.folder)),
        filename_tmpl='{:05}.png',
        pipeline=[],
    )
    assert (info['total_frames'], info['label']) == (3, 1)
    last = Path(info['frame_dir']) / info['filename_tmpl'].format(3)
    assert last == tmp_path / clip / '00003.png' and last.is_file()


@pytest.mark.parametrize('prefix', ['something-something-v2-', 'labels/'])
def test_sthv2_of_both_releases(tmp_path, prefix):
    rows = [
        {'id': '7', 'label': 'holding a cup', 'template': 'Holding [something]'},
        {'id': '8', 'label': 'x', 'template': 'Putting [something] on [something else]'},
    ]
    labels = {'Putting something on something else': '1', 'Holding something': '0'}
    files = {
        f'{prefix}labels.json': labels,
        f'{prefix}train.json': rows,
        f'{prefix}validation.json': rows[:1],
        f'{prefix}test.json': [{'id': '9'}],
    }
    found = videos('20bn-something-something-v2/7.webm', '20bn-something-something-v2/8.webm')
    splits = make_lists('sthv2', tmp_path, files | found)
    assert {split.name: split.entries for split in splits} == {
        'sthv2_train_list_videos': [('7.webm', 0), ('8.webm', 1)],
        'sthv2_val_list_videos': [('7.webm', 0)],
    }
    assert lines(tmp_path / 'sthv2_classes.txt')[0] == 'Holding something'
    assert official(splits) == [(168913,), (24777,)]


KINETICS = {
    'annotations/train.csv': 'label,youtube_id,time_start,time_end,split\n'
    '"playing drums",aaaaaaaaaaa,3,13,train\nabseiling,bbbbbbbbbbb,70,80,train\n'
    'playing_cards,ccccccccccc,0,10,train\n',
    'annotations/val.csv': 'label,youtube_id,time_start,time_end,split,is_cc\n'
    'abseiling,ddddddddddd,0.0,10.0,val,1\nabseiling,-eeeeeeeeee,0,10,val,0\n',
}


def test_kinetics(tmp_path):
    found = videos(
        'train/aaaaaaaaaaa_000003_000013.mp4',
        'train/bbbbbbbbbbb_000070_000080.mp4',
        'val/-eeeeeeeeee_000000_000010.mp4',
        'replacement/replacement_for_corrupted_k400/bbbbbbbbbbb_70.mp4',
    )
    train, val = splits = make_lists('kinetics400', tmp_path / 'flat', KINETICS | found)
    assert (train.name, val.name) == (
        'kinetics400_train_list_videos',
        'kinetics400_val_list_videos',
    )
    assert train.entries == [
        ('aaaaaaaaaaa_000003_000013.mp4', 2),
        ('../replacement/replacement_for_corrupted_k400/bbbbbbbbbbb_70.mp4', 0),
    ]
    assert (train.folder / train.entries[1][0]).exists()
    assert train.missing == ['ccccccccccc_000000_000010']
    assert val.entries == [('-eeeeeeeeee_000000_000010.mp4', 0)]
    classes = lines(tmp_path / 'flat/kinetics400_classes.txt')
    assert classes == ['abseiling', 'playing_cards', 'playing_drums']
    assert official(splits) == [(246534,), (19906,)]

    found = videos('videos_train/playing_drums/aaaaaaaaaaa_000003_000013.mkv', 'videos_val/note')
    train, val = splits = make_lists('kinetics600', tmp_path / 'by class', KINETICS | found)
    assert train.entries == [('playing_drums/aaaaaaaaaaa_000003_000013.mkv', 2)]
    assert val.entries == []
    assert official(splits) == [(392622,), (30001,)]


def test_folders_with_spaces_are_refused_and_the_documented_command_renames_them(tmp_path):
    found = videos('train/playing drums/aaaaaaaaaaa_000003_000013.mp4', 'val/note')
    root = write_tree(tmp_path / 'data/kinetics400', KINETICS | found)
    assert_refused('kinetics400', root, r'/train/playing drums/a+\S*: a list cannot .*; rename the')
    commands = [line for line in lines(ROOT / 'docs/data.md') if line.startswith('find ')]
    subprocess.run(commands[0], shell=True, check=True, cwd=tmp_path)
    (split, _) = write_lists('kinetics400', Place(root), tmp_path / 'out')
    assert split.entries == [('playing_drums/aaaaaaaaaaa_000003_000013.mp4', 2)]


def test_kinetics_replacement_is_found_from_behind_a_link(tmp_path):
    """The system resolves ``link/..`` to the parent of what the link stands for."""
    root = tmp_path / 'data/kinetics400'
    replacement = videos('replacement/bbbbbbbbbbb_70.mp4', 'val/note')
    write_tree(root, KINETICS | replacement)
    write_tree(tmp_path, videos('disk/k/400/aaaaaaaaaaa_000003_000013.mp4'))
    (root / 'videos_train').symlink_to(tmp_path / 'disk/k/400')
    (split, _) = write_lists('kinetics400', Place(root), tmp_path)
    assert split.folder == root / 'videos_train' and len(split.entries) == 2
    assert [(split.folder / path).is_file() for path, _ in split.entries] == [True, True]
    assert (split.folder / split.entries[1][0]).samefile(root / 'replacement/bbbbbbbbbbb_70.mp4')


def test_kinetics_csv_files_that_do_not_go_together(tmp_path):
    write_tree(tmp_path, KINETICS | videos('train/aaaaaaaaaaa_000003_000013.mp4', 'val/note'))
    header = KINETICS['annotations/train.csv'].splitlines()[0] + '\n'
    write_tree(tmp_path, {'annotations/val.csv': f'{header}ice fishing,fffffffffff,0,10,val\n'})
    assert_refused('kinetics400', tmp_path, r'/val.csv: no video of .* class ice_fishing;')
    write_tree(tmp_path, {'annotations/val.csv': header, 'annotations/train.csv': header})
    assert_refused('kinetics400', tmp_path, 'annotation of kinetics400 in .* names no video')


ACTIVITYNET = 'activity_net.v1-3.min.json'
DATABASE = {
    'database': {
        'id_a': {
            'duration': 2.0,
            'subset': 'training',
            'annotations': [
                {'segment': [0.5, 1.0], 'label': 'Zumba'},
                {'segment': [1.2, 1.5], 'label': 'Archery'},
            ],
        },
        'id_b': {
            'duration': '1.6',
            'subset': 'validation',
            'annotations': [{'segment': [0.0, 1.0], 'label': 'Archery'}],
        },
        'id_c': {'duration': 3.0, 'subset': 'testing', 'annotations': []},
    }
}


def test_activitynet(tmp_path, write_numbered_video):
    write_numbered_video(tmp_path / 'videos/v_id_a.mp4', 20)
    # The rate of an MKV tells no number of frames.
    write_numbered_video(tmp_path / 'videos/v_id_b.mkv', 15)
    splits = make_lists('activitynet', tmp_path, {ACTIVITYNET: DATABASE})
    assert lines(tmp_path / 'anet_train_video.txt') == ['v_id_a.mp4 1']
    assert lines(tmp_path / 'anet_val_video.txt') == ['v_id_b.mkv 0']
    assert official(splits) == [(10024,), (4926,)]
    train = mmengine.load(tmp_path / 'anet_anno_train.json')
    assert train['v_id_a']['duration_frame'] == train['v_id_a']['feature_frame'] == 20
    assert train['v_id_a']['fps'] == 10
    assert mmengine.load(tmp_path / 'anet_anno_val.json')['v_id_b']['duration_frame'] == 15
    assert not list(tmp_path.glob('*.bad_videos.txt'))
    init_default_scope('mmaction')
    data = ActivityNetDataset(
        ann_file=str(tmp_path / 'anet_anno_train.json'),
        data_prefix=dict(video='csv'),
        pipeline=[dict(type='GenerateLocalizationLabels')],
    )
    assert data[0]['gt_bbox'].tolist() == [[0.25, 0.5], [0.6, 0.75]]


@pytest.mark.parametrize('many_videos', [1000, 2])
def test_a_video_that_cannot_be_read_has_no_length(
    tmp_path, write_numbered_video, monkeypatch, many_videos
):
    """It is named with its reason, and in no list; so too when several processes read them."""
    monkeypatch.setattr('mmssl_video.passes.MANY_VIDEOS', many_videos)
    database = {'id_z': DATABASE['database']['id_b'], **DATABASE['database']}
    write_numbered_video(tmp_path / 'videos/v_id_a.mp4', 20)
    write_numbered_video(tmp_path / 'videos/v_id_b.mp4', 16)
    (tmp_path / 'videos/v_id_z.mkv').write_bytes(bytes(99))
    _, split = make_lists('activitynet', tmp_path, {ACTIVITYNET: {'database': database}})
    assert (split.annotated, len(split.entries), len(split.bad_videos)) == (2, 1, 1)
    assert lines(tmp_path / 'anet_val_video.txt') == ['v_id_b.mp4 0']
    (line,) = lines(tmp_path / 'anet_val_video.bad_videos.txt')
    name, reason = line.split('\t')
    assert name == 'v_id_z' and reason
    assert list(mmengine.load(tmp_path / 'anet_anno_val.json')) == ['v_id_b']
    # A mended one is no longer named.
    write_numbered_video(tmp_path / 'videos/v_id_z.mkv', 12)
    write_lists('activitynet', Place(tmp_path), tmp_path)
    assert not (tmp_path / 'anet_val_video.bad_videos.txt').exists()
    val = mmengine.load(tmp_path / 'anet_anno_val.json')
    assert {name: video['duration_frame'] for name, video in val.items()} == {
        'v_id_z': 12,
        'v_id_b': 16,
    }


def test_activitynet_without_prefix(tmp_path, write_numbered_video):
    """Files may lack ``v_``; the annotation for localization has it, as MMAction2's has."""
    for name in ('id_a.mp4', 'b/id_b.mp4', 'v_id_b.mp4'):
        write_numbered_video(tmp_path / 'videos' / name, 4)
    splits = make_lists('activitynet', tmp_path, {ACTIVITYNET: DATABASE})
    assert [split.entries for split in splits] == [[('id_a.mp4', 1)], [('v_id_b.mp4', 0)]]
    assert [list(split.intervals) for split in splits] == [['v_id_a'], ['v_id_b']]
    assert list(mmengine.load(tmp_path / 'anet_anno_train.json')) == ['v_id_a']


def test_hacs_segments_and_clips(tmp_path, write_numbered_video):
    clips = (
        'classname,youtube_id,subset,start,end,label\nArchery,id_a,training,0,2,1\n'
        'Archery,id_a,training,4,6,-1\nZumba,id_d,training,0,2,-1\nZumba,id_b,validation,0,2,1\n'
    )
    for name in ('Zumba/id_a.mp4', 'Archery/v_id_b.mp4'):
        write_numbered_video(tmp_path / name, 4)
    folder = 'HACS_v1.1.1'
    files = {f'{folder}/HACS_segments_v1.1.1.json': DATABASE}
    splits = make_lists('hacs', tmp_path, files | {f'{folder}/HACS_clips_v1.1.1.csv': clips})
    assert {split.name: split.entries for split in splits} == {
        'hacs_train_video': [('Zumba/id_a.mp4', 1)],
        'hacs_val_video': [('Archery/v_id_b.mp4', 0)],
        'hacs_clips_train_video': [('Zumba/id_a.mp4', 0)],
    }
    assert splits[-1].missing == ['v_id_d']
    assert list(mmengine.load(tmp_path / 'hacs_anno_val.json')) == ['v_id_b']


def test_a_video_without_an_action_is_background(tmp_path, write_numbered_video, tool_runner):
    """It has no class, so it is in the annotation for localization alone."""
    quiet = DATABASE['database']['id_a'] | {'annotations': []}
    names = ('id_q', 'id_absent', 'id_broken')
    database = dict.fromkeys(names, quiet) | DATABASE['database']
    write_tree(tmp_path, {'activity_net.v1-3.min.json': {'database': database}})
    for name in ('id_a', 'id_b', 'id_q'):
        write_numbered_video(tmp_path / f'videos/v_{name}.mp4', 20)
    write_tree(tmp_path, videos('videos/v_id_broken.mp4'))
    out = tool_runner('data/make_lists')('activitynet', tmp_path)[1].out.splitlines()
    (row,) = (i for i, line in enumerate(out) if line.startswith('anet_train_video '))
    assert out[row].split() == ['anet_train_video', '10,024', '4', '1', '1']
    assert out[row + 2] == '  1 are left out: the annotation has no action in them'
    assert lines(tmp_path / 'anet_train_video.txt') == ['v_id_a.mp4 1']
    assert lines(tmp_path / 'anet_train_video.missing.txt') == ['v_id_absent']
    train = mmengine.load(tmp_path / 'anet_anno_train.json')
    assert train['v_id_q']['annotations'] == [] and train.keys() == {'v_id_a', 'v_id_q'}
    split, _ = make_lists('hacs', tmp_path, {'HACS_segments_v1.1.json': {'database': database}})
    assert (split.entries, split.unlabelled) == ([('v_id_a.mp4', 1)], ['v_id_q.mp4'])


def test_an_empty_list_is_no_success(tmp_path, tool_runner):
    """Of the other lists, the tool writes what there is."""
    found = videos('train/aaaaaaaaaaa_000003_000013.mp4', 'val/ddddddddddd.mp4', 'val/x/y.mkv')
    write_tree(tmp_path, KINETICS | found)
    status, said = tool_runner('data/make_lists')('kinetics400', tmp_path)
    assert status == 2
    message = said.err.splitlines()[-1]
    assert message.startswith(
        'error: kinetics400_val_list_videos.txt would be empty: none of 2 videos, named like '
        f'ddddddddddd_000000_000010.mp4 (or .mkv, .avi, …), is in {tmp_path}/val at any depth; it '
        'has 2 others, such as ddddddddddd.mp4; '
    )
    assert message.endswith('set another folder with --videos FOLDER')
    train = lines(tmp_path / 'kinetics400_train_list_videos.txt')
    assert train == ['aaaaaaaaaaa_000003_000013.mp4 2']
    assert not (tmp_path / 'kinetics400_val_list_videos.txt').exists()
    assert said.out.splitlines()[3].split()[0] == 'kinetics400_val_list_videos'

    splits = [Split('a', tmp_path, (1,)), Split('b', tmp_path / 'none', (1,), missing=['v'])]
    splits.append(Split('c', tmp_path, (1,), bad_videos={'w': 'empty'}))
    with pytest.raises(UserError) as error:
        check_found([*splits, Split('d', tmp_path, (1,), [('x.mp4', 1)])])
    message = str(error.value)
    for words in (
        'a.txt would be empty: the annotation has no labelled video for it; ',
        f'b.txt would be empty: none of 1 videos, named like v.mp4 (or .mkv, .avi, …), is in '
        f'{tmp_path}/none at any depth; it has no video at all; ',
        'c.txt would be empty: none of 1 videos can be read, such as w (empty); ',
        'set another folder with `videos=FOLDER`',
    ):
        assert words in message
    assert 'd.txt' not in message


def test_index_takes_videos_alone_and_the_first_of_a_name(tmp_path):
    write_tree(tmp_path, videos('b/x.mp4', 'a/x.AVI', 'a/x.txt', 'y.json', 'c/z.webm', 'd.e.ts'))
    (tmp_path / 'b' / 'all').symlink_to(tmp_path)
    (tmp_path / 'b' / 'again').symlink_to(tmp_path)
    assert index_videos(tmp_path) == {'x': 'a/x.AVI', 'z': 'c/z.webm', 'd.e': 'd.e.ts'}
    assert index_videos(tmp_path / 'no') == {}


def test_what_cannot_be_made_is_told_and_nothing_is_written(tmp_path):
    assert_refused('ucf101', tmp_path, '^no folder of videos at .*UCF-101; set .*`videos=FOLDER`')
    (tmp_path / 'videos').mkdir()
    assert_refused('ucf101', tmp_path, '^none of classInd.txt is in .*`annotations=FOLDER`')
    write_tree(tmp_path, {name: text for name, text in UCF101.items() if name.endswith('txt')})
    words = r'train_split_1_videos.txt would .*: none of 2 videos, named like v_Archery\S* .* is in'
    assert_refused('ucf101', tmp_path, words)
    write_tree(tmp_path, {'ucfTrainTestlist/trainlist01.txt': 'Tennis/v_Tennis_g01_c01.avi 3\n'})
    assert_refused('ucf101', tmp_path, 'cannot be read .*Tennis.*download it again')
    database = {'id_a': DATABASE['database']['id_a'] | {'duration': 0.0}}
    write_tree(tmp_path, {ACTIVITYNET: {'database': database}, **videos('videos/v_id_a.mp4')})
    assert_refused('activitynet', tmp_path, r'^\S*min.json: the duration of v_id_a is 0;')


def test_tool_reports_what_is_missing(tmp_path, tool_runner):
    write_tree(tmp_path, UCF101)
    make_lists = tool_runner('data/make_lists')
    out = make_lists('ucf101', tmp_path)[1].out.splitlines()
    assert out[0].split() == ['list', 'official', 'annotated', 'found', 'missing']
    assert out[3].split() == ['ucf101_val_split_1_videos', '3,783', '2', '1', '1']
    assert out[4] == '  the annotation is not the official release, or is incomplete'
    assert out[-1] == f'missing videos are named in {tmp_path}/*.missing.txt'
    status, said = make_lists('ucf101', tmp_path / 'no')
    assert status == 2 and 'no such folder' in said.err.splitlines()[-1]
