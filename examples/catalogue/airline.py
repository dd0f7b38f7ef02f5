"""The actions on an airline's reservation system, a second catalogue beside the cluster's."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from catalogue.base import Action, Day, Lookup, Strict
from operator_core.actions import ActionType

UserId = Annotated[str, Field(pattern=r"^[a-z]+_[a-z]+_\d{4}$")]
ReservationId = Annotated[str, Field(pattern=r"^[A-Z0-9]{6}$")]
Airport = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Cabin = Literal["basic_economy", "economy", "business"]
PaymentId = Annotated[str, Field(pattern=r"^(credit_card|gift_card|certificate)_\d{7}$")]
# The airline takes certificates for new reservations only.
CardId = Annotated[str, Field(pattern=r"^(credit_card|gift_card)_\d{7}$")]


class Flight(Strict):
    """Be one flight on one day; agents may name its airports as well."""

    flight_number: str = Field(pattern=r"^HAT\d{3}$")
    date: Day
    origin: Airport | None = None
    destination: Airport | None = None


class Passenger(Strict):
    """Be one passenger as the ticket names them."""

    first_name: str = Field(min_length=1)
    last_name: str = Field(min_length=1)
    dob: Day


class Payment(Strict):
    """Be what one payment method pays, in whole dollars."""

    payment_id: PaymentId
    amount: PositiveInt


class Baggage(Action):
    """Be the bags of a reservation, of which some are paid for."""

    total_baggages: NonNegativeInt
    nonfree_baggages: NonNegativeInt

    @model_validator(mode="after")
    def paid_bags_are_bags(self) -> Self:
        """Refuse more paid bags than there are bags."""
        if self.nonfree_baggages > self.total_baggages:
            message = "nonfree_baggages must not exceed total_baggages"
            raise ValueError(message)
        return self


class BookReservation(Baggage):
    """Book flights for up to five passengers."""

    user_id: UserId
    origin: Airport
    destination: Airport
    flight_type: Literal["one_way", "round_trip"]
    cabin: Cabin
    flights: list[Flight] = Field(min_length=1)
    passengers: list[Passenger] = Field(min_length=1, max_length=5)
    payment_methods: list[Payment]
    insurance: Literal["yes", "no"]


class UpdateReservationBaggages(Baggage):
    """Change the bags of a reservation."""

    reservation_id: ReservationId
    payment_id: CardId


class UpdateReservationFlights(Action):
    """Change the flights or the cabin of a reservation."""

    reservation_id: ReservationId
    cabin: Cabin
    flights: list[Flight] = Field(min_length=1)
    payment_id: CardId


class UpdateReservationPassengers(Action):
    """Change who flies."""

    reservation_id: ReservationId
    passengers: list[Passenger] = Field(min_length=1, max_length=5)


class CancelReservation(Action):
    """Cancel a reservation as a whole."""

    reservation_id: ReservationId


class SendCertificate(Action):
    """Give a customer a certificate, worth whole dollars."""

    user_id: UserId
    amount: PositiveInt


class TransferToHumanAgents(Action):
    """Hand the customer over to a human."""

    action_type: ClassVar[ActionType] = ActionType.TOOL

    summary: str = Field(min_length=1)


class GetUserDetails(Lookup):
    """Read one customer's profile."""

    user_id: UserId


class GetReservationDetails(Lookup):
    """Read one reservation."""

    reservation_id: ReservationId


class SearchFlight(Lookup):
    """Read which flights, direct or with one stop, go from here to there on a day."""

    origin: Airport
    destination: Airport
    date: Day


class ListAllAirports(Lookup):
    """Read all airports."""


class Calculate(Lookup):
    """Work out a sum."""

    expression: str = Field(pattern=r"^[0-9+\-*/(). ]+$")


class Think(Lookup):
    """Write a thought down."""

    thought: str


ACTIONS: dict[str, type[Action]] = {
    "book_reservation": BookReservation,
    "update_reservation_baggages": UpdateReservationBaggages,
    "update_reservation_flights": UpdateReservationFlights,
    "update_reservation_passengers": UpdateReservationPassengers,
    "cancel_reservation": CancelReservation,
    "send_certificate": SendCertificate,
    "transfer_to_human_agents": TransferToHumanAgents,
    "get_user_details": GetUserDetails,
    "get_reservation_details": GetReservationDetails,
    "search_direct_flight": SearchFlight,
    "search_onestop_flight": SearchFlight,
    "list_all_airports": ListAllAirports,
    "calculate": Calculate,
    "think": Think,
}
