"""What the models of all actions have in common."""

from datetime import date
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from operator_core.actions import ActionType

Day = Annotated[str, AfterValidator(date.fromisoformat)]
"""A day as JSON writes it, and nothing else that a date can be made of."""


class Strict(BaseModel):
    """Refuse unknown fields and values of another type: nothing an agent writes is bent into shape."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Action(Strict):
    """Be the arguments of one action; the class also says what kind of action it is."""

    action_type: ClassVar[ActionType] = ActionType.SUBJECT


class Lookup(Action):
    """Be an action that changes nothing."""

    action_type: ClassVar[ActionType] = ActionType.TOOL
