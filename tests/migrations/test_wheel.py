"""Builds the wheel, and sees that the migrations travel in it and nothing else does."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from operator_core.db import migrate
from tests.migrations.support import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Is the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_script_of_the_migrations(wheel):
    scripts = [file for file in migrate.scripts().rglob("*") if file.is_file() and "__pycache__" not in file.parts]

    with zipfile.ZipFile(wheel) as built:
        packed = {f"operator_core/_alembic/{file.relative_to(migrate.scripts())}": file for file in scripts}
        assert {name: built.read(name) for name in packed} == {name: file.read_bytes() for name, file in packed.items()}
    assert {"env.py", "script.py.mako", f"{migrate.HEAD}_sqlite.sql", f"{migrate.HEAD}_postgresql.sql"} <= {
        file.name for file in scripts
    }


def test_the_wheel_is_typed_and_holds_the_package_only(wheel):
    with zipfile.ZipFile(wheel) as built:
        names = built.namelist()

    assert "operator_core/py.typed" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"operator_core"}
    assert [name for name in names if "test" in Path(name).stem and "testing" not in name] == []
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_an_installed_wheel_finds_its_scripts_and_migrates(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as built:
        built.extractall(tmp_path / "site")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "from operator_core.db import migrate, upgrade; upgrade(Path(sys.argv[2])); print(migrate.scripts())"
    )
    line = [sys.executable, "-c", program, str(tmp_path / "site"), str(tmp_path / "ledger.db")]

    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "site" / "operator_core" / "_alembic"
    assert (tmp_path / "ledger.db").exists()
