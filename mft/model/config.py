"""The whole config: one frozen document, and the table that says which families it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import field

from mft.model.accounts import AccountSpec
from mft.model.event_handlers import EventHandlerSpec
from mft.model.leader_groups import LeaderGroupSpec
from mft.model.locations import LocationSpec
from mft.model.nodes import NodeSpec
from mft.model.server import ServerSpec
from mft.model.services import ServiceSpec
from mft.model.spec import Spec
from mft.model.starts import CalendarSpec
from mft.model.transfers import TransferSpec


class Config(Spec, frozen=True, kw_only=True):
    """One version's content. Each family maps a component's id to its spec."""

    server: ServerSpec = ServerSpec()
    services: dict[str, ServiceSpec] = {}
    accounts: dict[str, AccountSpec] = {}
    locations: dict[str, LocationSpec] = {}
    transfers: dict[str, TransferSpec] = {}
    calendars: dict[str, CalendarSpec] = {}
    leader_groups: dict[str, LeaderGroupSpec] = field(default_factory=dict, name="leader-groups")
    event_handlers: dict[str, EventHandlerSpec] = field(default_factory=dict, name="event-handlers")
    nodes: dict[str, NodeSpec] = {}


FAMILIES: Mapping[str, Any] = {
    "services": ServiceSpec,
    "accounts": AccountSpec,
    "locations": LocationSpec,
    "transfers": TransferSpec,
    "calendars": CalendarSpec,
    "leader-groups": LeaderGroupSpec,
    "event-handlers": EventHandlerSpec,
    "nodes": NodeSpec,
}
"""Family as an author writes it → the type of its components. `server` is the one family without ids."""
