"""What Alembic runs; everything is in operator_core.db.migrate."""

from operator_core.db.migrate import run_env

run_env()
