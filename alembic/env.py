"""What Alembic runs; everything is in operator_core.db.migrate.environment."""

from operator_core.db.migrate.environment import run_env

run_env()
