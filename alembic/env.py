"""What Alembic runs; everything is in operator_core.db.migrations.environment."""

from operator_core.db.migrations.environment import run_env

run_env()
