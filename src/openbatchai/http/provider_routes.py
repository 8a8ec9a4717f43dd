"""Resource providers: what they offer, and the subscription's registration for them."""

from openbatchai.services import registrations
from openbatchai.wire import resources

from .calls import Answer, Call, Route, page

_OF_SUBSCRIPTION = "/subscriptions/{subscription}/providers"
_PAGE = 1000


def provider_routes() -> list[Route]:
    return [
        Route("GET", "/providers", list_offers),
        Route("GET", "/providers/{namespace}", get_offer),
        Route("GET", _OF_SUBSCRIPTION, list_providers),
        Route("GET", f"{_OF_SUBSCRIPTION}/{{namespace}}", get_provider),
        Route("POST", f"{_OF_SUBSCRIPTION}/{{namespace}}/register", register),
        Route("POST", f"{_OF_SUBSCRIPTION}/{{namespace}}/unregister", unregister),
    ]


def list_offers(call: Call) -> Answer:
    found = [resources.provider(item, None) for item in registrations.listing(call.context)]
    return page(call, found, call.number("$top", _PAGE, 1, _PAGE))


def get_offer(call: Call, namespace: str) -> Answer:
    return Answer(200, resources.provider(registrations.get(call.context, namespace), None))


def list_providers(call: Call, subscription: str) -> Answer:
    found = [resources.provider(item, call.subscription) for item in registrations.listing(call.context)]
    return page(call, found, call.number("$top", _PAGE, 1, _PAGE))


def get_provider(call: Call, subscription: str, namespace: str) -> Answer:
    return Answer(200, resources.provider(registrations.get(call.context, namespace), call.subscription))


def register(call: Call, subscription: str, namespace: str) -> Answer:
    """Over when it is answered: there is nothing to set up."""
    return Answer(200, resources.provider(registrations.register(call.context, namespace), call.subscription))


def unregister(call: Call, subscription: str, namespace: str) -> Answer:
    return Answer(
        200, resources.provider(registrations.unregister(call.context, namespace), call.subscription)
    )
