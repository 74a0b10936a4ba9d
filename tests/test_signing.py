"""The commands of docs/trust.md that sign a model directory, and what they refuse."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import shardpickle

PAGE = Path(__file__).parents[1] / "docs" / "trust.md"
(BLOCK,) = re.findall(r"<!-- signing -->\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
COMMANDS = [shlex.split(line) for line in BLOCK.splitlines() if not line.startswith("pip ")]
VERIFY = COMMANDS[-1]


def run(command, folder):
    if command[0] == "model_signing":
        command = [str(Path(sys.executable).parent / "model_signing"), *command[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def signed(tmp_path):
    shardpickle.dump({"a": 1}, tmp_path / "model_dir")
    for command in COMMANDS:
        done = run(command, tmp_path)
        assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.long
def test_a_signed_directory_loads(signed):
    assert shardpickle.load(signed / "model_dir") == {"a": 1}


@pytest.mark.long
def test_another_model_is_refused(signed):
    shardpickle.dump({"a": 2}, signed / "model_dir")
    done = run(VERIFY, signed)
    assert done.returncode != 0
    assert "mismatch" in done.stdout + done.stderr


@pytest.mark.long
def test_one_byte_of_a_shard_is_refused(signed):
    (shard,) = (signed / "model_dir" / "shards").iterdir()
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    assert run(VERIFY, signed).returncode != 0
