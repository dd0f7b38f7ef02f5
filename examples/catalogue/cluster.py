"""The actions on a distributed key-value store: stores hold replicas ("peers") of regions of the key space."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from catalogue.base import Action, Lookup
from operator_core.actions import ActionType

StoreId = Annotated[int, Field(ge=1, le=9_999)]
RegionId = PositiveInt


class GetStoreMetrics(Lookup):
    """Read the load, the disk and the stalls of one store."""

    store_id: StoreId
    window_minutes: int = Field(default=15, ge=1, le=1440)


class ListHotRegions(Lookup):
    """Read which regions take the most traffic, in the whole cluster or on one store."""

    kind: Literal["read", "write"]
    store_id: StoreId | None = None
    limit: int = Field(default=10, ge=1, le=100)


class TransferLeader(Action):
    """Let another peer of a region serve its reads and writes."""

    region_id: RegionId
    to_store_id: StoreId


class AddPeer(Action):
    """Put one more replica of a region on a store."""

    region_id: RegionId
    store_id: StoreId
    role: Literal["voter", "learner"] = "voter"


class RemovePeer(Action):
    """Take the replica of a region off a store."""

    region_id: RegionId
    store_id: StoreId


class SplitRegion(Action):
    """Cut a region in two, so that its halves can live on different stores."""

    region_id: RegionId
    policy: Literal["scan", "approximate"]


class SetRegionScheduleLimit(Action):
    """Limit how many regions the scheduler moves at once; 0 stops it."""

    limit: int = Field(ge=0, le=4096)


class SetFlowControl(Action):
    """Set from how much pending compaction on a store slows writes down, and from how much it stops them."""

    store_id: StoreId
    soft_pending_gib: PositiveInt
    hard_pending_gib: PositiveInt

    @model_validator(mode="after")
    def soft_comes_first(self) -> Self:
        """Refuse limits that would stop writes before slowing them down."""
        if self.soft_pending_gib >= self.hard_pending_gib:
            message = "soft_pending_gib must be below hard_pending_gib"
            raise ValueError(message)
        return self


class DrainStore(Action):
    """Move everything off a store, leaders first, and take it out of service."""

    action_type: ClassVar[ActionType] = ActionType.WORKFLOW

    store_id: StoreId
    deadline_minutes: int = Field(ge=5, le=720)


class RestartStore(Action):
    """Restart the process of one store."""

    store_id: StoreId
    grace_seconds: int = Field(default=60, ge=0, le=600)


class PageOnCall(Action):
    """Wake a human."""

    action_type: ClassVar[ActionType] = ActionType.TOOL

    team: Literal["storage", "hardware", "database"]
    severity: Literal["page", "ticket"]
    message: str = Field(min_length=10, max_length=500)


ACTIONS: dict[str, type[Action]] = {
    "get_store_metrics": GetStoreMetrics,
    "list_hot_regions": ListHotRegions,
    "transfer_leader": TransferLeader,
    "add_peer": AddPeer,
    "remove_peer": RemovePeer,
    "split_region": SplitRegion,
    "set_region_schedule_limit": SetRegionScheduleLimit,
    "set_flow_control": SetFlowControl,
    "drain_store": DrainStore,
    "restart_store": RestartStore,
    "page_on_call": PageOnCall,
}
