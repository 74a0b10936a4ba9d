"""Each change of the disk fails, and the power goes after each: the old model or the new one."""

import os
import warnings
from pathlib import Path

import campaign
import pytest
from shim import NoFolderFlush, Shim

import shardpickle


@pytest.mark.long
@pytest.mark.parametrize("kind", campaign.ERRORS)
def test_every_call_that_fails_leaves_the_old_model_or_the_new(kind, tmp_path):
    found = campaign.calls(tmp_path, [kind])
    assert not found["wrong"], found
    assert found["new"] >= 2
    if kind not in ("EINTR", "short"):  # those are made again, and go on
        assert found["old"] > 10
        assert found["refused"] > 10


@pytest.mark.long
def test_a_power_cut_after_any_call_leaves_the_old_model_or_the_new(tmp_path):
    found = campaign.power(tmp_path, seeds=3)
    assert not found["wrong"], found
    assert min(found["old"], found["new"], found["refused"]) > 20


def test_the_power_campaign_notices_what_is_not_flushed(tmp_path, monkeypatch):
    def finish(file):
        file._write_out()
        file.close()

    with monkeypatch.context() as patch:
        patch.setattr(campaign._disk.NewFile, "finish", finish)
        assert campaign.power(tmp_path / "files", step=4)["wrong"]
    with monkeypatch.context() as patch:
        patch.setattr(campaign._disk, "flush_folder", lambda path: True)
        assert campaign.power(tmp_path / "folders", step=4)["wrong"]


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for name in ("files", "folders"):
        (tmp_path / name).mkdir()


class Watching(Shim):
    """Notes files that are renamed while they are open."""

    def __init__(self):
        super().__init__()
        self.open_files = []

    def replace(self, source, target):
        for number in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{number}") == str(source):
                    self.open_files.append(source)
            except OSError:
                pass
        super().replace(source, target)


def test_files_are_closed_before_they_are_renamed_and_there_are_no_links(tmp_path):
    path = tmp_path / "model"
    with campaign.disk_of(Watching()) as shim:
        for model in (campaign.OLD, campaign.NEW):
            shardpickle.dump(model, path, **campaign.OPTIONS)
    assert "replace" in shim.names
    assert not shim.open_files
    assert not {"link", "rename"} & set(shim.names)
    assert {each.stat().st_nlink for each in path.rglob("*") if each.is_file()} == {1}


def test_a_file_system_that_cannot_flush_directories_is_named_and_used(tmp_path):
    path = tmp_path / "model"
    with (
        campaign.disk_of(NoFolderFlush()),
        pytest.warns(shardpickle.DurabilityWarning, match="cannot flush directories") as told,
    ):
        shardpickle.dump(campaign.OLD, path, **campaign.OPTIONS)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert str(path) in str(told[0].message)
    assert campaign.state(path) == "old"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shardpickle.dump(campaign.NEW, path, **campaign.OPTIONS)
    assert campaign.state(path) == "new"


def test_nothing_changes_the_disk_but_the_room_that_does(tmp_path):
    """Every new, changed or removed file of a dump went through the shim."""
    path = Path(tmp_path, "model")
    shardpickle.dump(campaign.OLD, path, **campaign.OPTIONS)
    shardpickle.dump(campaign.NEW, path, **campaign.OPTIONS)
    with campaign.disk_of(Shim()) as shim:
        before = campaign.files_of(path)
        shardpickle.dump(campaign.NEXT, path, **campaign.OPTIONS)
        after = campaign.files_of(path)
    assert shim.names.count("open") == len(after - before) + 1  # and the manifest
    assert shim.names.count("replace") == len(after - before) + 1
    assert shim.names.count("unlink") == len(before - after)
