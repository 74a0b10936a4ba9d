"""What is printed is inert: no terminal's escapes, no message of megabytes."""

import hashlib
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
from sklearn.linear_model import Ridge

import shardpickle

BAD = "\x1b[31mred\x07\r\u202eabc"
LONG = "A" * 3_000_000
FIELDS = {
    "environment": lambda document, text: document["environment"].update({"sklearn": text}),
    "package": lambda document, text: document["environment"].update({text[:60]: "1"}),
    "writer": lambda document, text: document.update(writer=text),
    "metadata": lambda document, text: document["metadata"].update({"note": text}),
    "key": lambda document, text: document["metadata"].update({text: 1}),
    "module": lambda document, text: document["names"][0].__setitem__(0, text),
    "name": lambda document, text: document["names"][0].__setitem__(1, text),
    "class": lambda document, text: document["parts"][0].update({"class": text}),
    "profile": lambda document, text: document.update(profile=text),
    "format": lambda document, text: document.update(version=text),
    "shard": lambda document, text: document["shards"][0].__setitem__(0, text),
    "needs": lambda document, text: document.update(needs=[[text], text]),
}


def rewritten(path, change):
    """The manifest, changed, with a digest that is right again."""
    file = path / "manifest.json"
    document = json.loads(file.read_text())
    del document["sha256"]
    change(document)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()]
    body = ("{\n" + ",\n".join(lines)).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    file.write_bytes(body + b',\n"sha256": "' + digest + b'"\n}\n')


def said(call):
    """Everything that a call says: its text or its error, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            text = str(call())
        except shardpickle.ShardpickleError as error:
            text = str(error)
    return "\n".join([text, *(str(each.message) for each in caught)])


def is_inert(text):
    return all(each.isprintable() or each == "\n" for each in text)


@pytest.mark.parametrize("text", [BAD, LONG], ids=["escapes", "megabytes"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_hostile_manifest(field, text, tmp_path):
    path = tmp_path / "model"
    shardpickle.dump([Ridge(), Ridge(2.0)], path, metadata={"a": "b"}, progress=False)
    rewritten(path, lambda document: FIELDS[field](document, text))
    other = tmp_path / "other"
    shardpickle.dump([Ridge(3.0)], other, progress=False)
    for call in (
        lambda: shardpickle.inspect(path),
        lambda: shardpickle.inspect(path, trust=True),
        lambda: shardpickle.verify(path, deep=True),
        lambda: shardpickle.load(path, progress=False) and "",
        lambda: shardpickle.diff(path, other),
        lambda: shardpickle.pack(path, tmp_path / "packed.shpk"),
    ):
        found = said(call)
        assert is_inert(found)
        assert len(found) < 100_000


@pytest.mark.long
@pytest.mark.parametrize("command", ["inspect", "verify", "load"])
def test_a_hostile_manifest_on_the_command_line(command, tmp_path):
    path = tmp_path / "model"
    shardpickle.dump([Ridge()], path, metadata={"a": "b"}, progress=False)
    rewritten(path, lambda document: FIELDS["name"](document, BAD))
    arguments = {"load": ["predict", path, "x.csv"]}.get(command, [command, path])
    done = subprocess.run(
        [sys.executable, "-m", "shardpickle", *arguments],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert is_inert(done.stdout.replace("\t", " "))
    assert is_inert(done.stderr.replace("\t", " "))


def test_members_of_a_zip_are_inert(tmp_path):
    file = tmp_path / "model.zip"
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(BAD, "a")
        out.writestr("B" * 60_000, "a")
    for call in (
        lambda: shardpickle.load(file),
        lambda: shardpickle.convert(file, tmp_path / "model", progress=False),
        lambda: shardpickle.inspect(file),
    ):
        found = said(call)
        assert is_inert(found)
        assert len(found) < 10_000


def test_the_manifest_can_be_read_after_a_change(tmp_path):
    """The helper above writes what is read: else the tests above would show nothing."""
    path = tmp_path / "model"
    shardpickle.dump([Ridge()], path, metadata={"a": "b"}, progress=False)
    rewritten(path, lambda document: FIELDS["metadata"](document, "sound"))
    assert shardpickle.inspect(path).metadata == {"a": "b", "note": "sound"}
    assert Path(path, "manifest.json").exists()
