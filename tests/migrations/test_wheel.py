"""Builds the wheel and the sdist, and uses what was built in an environment with no checkout near."""

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

import operator_core
from operator_core.db import migrations
from tests.migrations.support import ROOT
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_rounds import LONG

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
USE = """
import asyncio, pathlib, sys
import operator_core
from operator_core.actions import ActionProposal
from operator_core.db import ActionDB, migrations

async def propose(target):
    async with ActionDB(target) as db:
        return (await db.create_proposal(ActionProposal(action_name="restart", reason="it hangs"))).id

target = sys.argv[1]
print(asyncio.run(propose(target if "://" in target else pathlib.Path(target))))
print(operator_core.__file__)
print(migrations.scripts())
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the sdist of this checkout; the wheel is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@dataclass(frozen=True)
class Clean:
    """An environment with the wheel in it."""

    folder: Path

    def run(self, program: str, *words: str) -> str:
        return run(str(self.folder / "bin" / program), *words, cwd=self.folder)


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """A new environment. Its dependencies are those of this one; in the long form they are installed, too."""
    folder = tmp_path_factory.mktemp("clean")
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(folder / "bin" / "python")
    run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder), cwd=folder)
    install = [uv, "pip", "install", "--quiet", "--python", python]
    if LONG:
        run(*install, "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[postgres]", cwd=folder)
    else:
        run(*install, "--offline", "--no-deps", str(wheel), cwd=folder)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return Clean(folder)


def run(*line: str, cwd: Path) -> str:
    """Run a program without what would lead it to this checkout, and return what it printed."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPERATOR_", "GIT_"))
    }
    done = subprocess.run(
        line, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=5 * PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_string(opened.read(name).decode())


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_the_wheel_holds_every_script_of_the_migrations(wheel):
    scripts = [file for file in migrations.scripts().rglob("*") if file.is_file() and "__pycache__" not in file.parts]

    with zipfile.ZipFile(wheel) as opened:
        packed = {f"operator_core/_alembic/{file.relative_to(migrations.scripts())}": file for file in scripts}
        assert {name: opened.read(name) for name in packed} == {
            name: file.read_bytes() for name, file in packed.items()
        }
    assert {"env.py", "script.py.mako", f"{migrations.HEAD}_sqlite.sql", f"{migrations.HEAD}_postgresql.sql"} <= {
        file.name for file in scripts
    }


def test_the_wheel_is_typed_and_holds_the_package_only(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()

    assert "operator_core/py.typed" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"operator_core"}
    assert [name for name in names if "test" in Path(name).stem and "testing" not in name] == []
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_sdist_holds_all_that_is_kept_here(built):
    (sdist,) = built.glob("*.tar.gz")
    listing = ("git", "-c", "safe.directory=*", "ls-files")  # the checkout may be another user's
    kept = run(*listing, cwd=ROOT).split("\n") if (ROOT / ".git").exists() else ["pyproject.toml"]

    with tarfile.open(sdist) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}

    assert {name for name in kept if name and (ROOT / name).exists()} - packed == set()
    assert {name for name in packed if name.startswith((".venv", "dist", ".git/"))} == set()


def test_the_metadata_name_the_licence_and_every_python(wheel):
    metadata = metadata_of(wheel)

    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(metadata.get_all("Classifier", [])), re.MULTILINE)

    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert (metadata["Requires-Python"], tuple(named)) == (f">={PYTHONS[0]}", PYTHONS)


def test_the_version_stands_in_one_place(wheel):
    version = operator_core.__version__
    written = [
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "pyproject.toml", *(ROOT / "src").rglob("*.py"))
        if re.search(rf"""["']{re.escape(version)}["']""", file.read_text(encoding="utf-8"))
    ]

    assert metadata_of(wheel)["Version"] == version
    assert written == ["src/operator_core/__init__.py"]


# -- what it does ------------------------------------------------------------------------------------------------------


def test_an_installed_wheel_upgrades_checks_opens_proposes_and_stops(clean, empty: Ledger):
    url = f"sqlite:///{empty.target}" if empty.is_sqlite else str(empty.target)

    clean.run("operator-core", "db", "upgrade", "--url", url)
    checked = clean.run("operator-core", "db", "check", "--url", url)
    number, module, scripts = clean.run("python", "-c", USE, str(empty.target)).split()
    stopped = clean.run("operator-core", "stop", "--reason", "fire", "--json", "--url", url)

    assert f"revision {migrations.HEAD}" in checked
    assert number == "1"
    assert [Path(found).is_relative_to(clean.folder) for found in (module, scripts)] == [True, True]
    assert json.loads(stopped)["cancelled"] == [int(number)]
