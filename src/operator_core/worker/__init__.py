"""The registry of the actions that a process can run, and the worker that runs them."""

from operator_core.worker.containment import TaskExitedError
from operator_core.worker.handlers import Handler, HandlerNotAllowedError
from operator_core.worker.registry import (
    ActionRegistry,
    AlreadyRegisteredError,
    NotRegisteredError,
    ParametersNotValidError,
    RegisteredAction,
)
from operator_core.worker.report import WorkerReport
from operator_core.worker.worker import Worker

__all__ = [
    "ActionRegistry",
    "AlreadyRegisteredError",
    "Handler",
    "HandlerNotAllowedError",
    "NotRegisteredError",
    "ParametersNotValidError",
    "RegisteredAction",
    "TaskExitedError",
    "Worker",
    "WorkerReport",
]
