"""The model of lifecycle and kill switch that the state machine holds both engines against."""

from dataclasses import dataclass, field

from operator_core.actions import PENDING, ActionStatus, Scope
from operator_core.actions.lifecycle import INITIAL, TRANSITIONS


@dataclass
class Item:
    """One proposal: what a scope may name, the counter at its birth, and where it stands."""

    fields: dict[str, object]
    generation: int
    status: ActionStatus = INITIAL

    def is_in(self, scope: Scope) -> bool:
        return scope.field is None or self.fields[scope.field] == scope.value


@dataclass
class Model:
    """What must be true, whoever acts."""

    items: dict[int, Item] = field(default_factory=dict)
    latch: dict[Scope, tuple[int, bool]] = field(default_factory=dict)
    counter: int = 0

    def asked(self, item: Item, *scopes: Scope) -> bool:
        return any(self.latch[s][0] > item.generation for s in scopes or self.latch if item.is_in(s))

    def stopped(self, item: Item) -> bool:
        return any(is_engaged for scope, (_, is_engaged) in self.latch.items() if item.is_in(scope))

    def allows(self, item: Item, target: ActionStatus) -> bool:
        return target in TRANSITIONS[item.status]

    def propose(self, number: int, fields: dict[str, object]) -> None:
        item = self.items[number] = Item(fields, self.counter)
        item.status = ActionStatus.CANCELLED if self.stopped(item) else INITIAL

    def engage(self, scope: Scope) -> None:
        self.counter += 1
        self.latch[scope] = (self.counter, True)

    def release(self, generation: int) -> bool:
        named = [scope for scope, stop in self.latch.items() if stop == (generation, True)]
        if named:
            self.sweep()
            self.latch[named[0]] = (generation, False)
        return bool(named)

    def pending(self) -> dict[int, Item]:
        return {number: item for number, item in self.items.items() if item.status in PENDING}

    def sweep(self, *scopes: Scope) -> list[int]:
        swept = [number for number, item in self.pending().items() if self.asked(item, *scopes)]
        for number in swept:
            self.items[number].status = ActionStatus.CANCELLED
        return swept
