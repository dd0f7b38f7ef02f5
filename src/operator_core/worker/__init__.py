"""Runs the actions that are proposed: a registry of what this process can do, and the worker that does it."""

from operator_core.worker.registry import ActionRegistry, Handler, NotRegisteredError, RegisteredAction
from operator_core.worker.report import WorkerReport
from operator_core.worker.worker import Worker

__all__ = ["ActionRegistry", "Handler", "NotRegisteredError", "RegisteredAction", "Worker", "WorkerReport"]
