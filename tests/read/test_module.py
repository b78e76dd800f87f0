"""The command by `python -m`."""

import subprocess
import sys


def test_the_command_runs_by_the_name_of_the_package() -> None:
    done = subprocess.run([sys.executable, "-m", "dfndr", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "python -m dfndr" in done.stdout
    assert "verify" in done.stdout
