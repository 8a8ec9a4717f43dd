"""From a client's JSON to canonical properties and back out of sight: validation, secrets, errors."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from openbatchai.domain.errors import Code, ServiceError, invalid_property

D = TypeVar("D", bound=BaseModel)
Json = dict[str, Any]

_SECRET_NAMES = frozenset({"accountKey", "adminUserPassword", "password", "instrumentationKey"})


def validate(definition: type[D], data: Any, path: str) -> D:
    """Raise InvalidPropertyValue for the first thing that is wrong, naming its JSON path from `path` on;
    InvalidRequestContent when the whole body (`path` is empty) is no object."""
    if not path and not isinstance(data, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    try:
        return definition.model_validate(data)
    except ValidationError as error:
        raise _refusal(error, path) from None


def to_canonical(definition: BaseModel) -> Json:
    return definition.model_dump(by_alias=True, exclude_none=True)


def _refusal(error: ValidationError, path: str) -> ServiceError:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = (
        ".".join([path, *(str(part) for part in problem["loc"])])
        if path
        else ".".join(map(str, problem["loc"]))
    )
    context = problem.get("ctx") or {}
    if problem["type"] == "refused":
        refusal = invalid_property(where, context["text"], *context["allowed"])
    elif problem["type"] == "missing":
        refusal = invalid_property(where, f"The required property '{where}' is missing.")
    elif problem["type"] == "literal_error":
        allowed = [word.strip(" '") for word in str(context["expected"]).replace(" or ", ",").split(",")]
        refusal = invalid_property(
            where, f"The value of property '{where}' is not one of those allowed.", *allowed
        )
    else:
        refusal = invalid_property(where, f"The value of property '{where}' is not valid: {problem['msg']}.")
    return refusal


def split_secrets(value: Any, path: str = "") -> tuple[Any, Json]:
    """The value without its secrets, and the secrets by their JSON path (`a.0.b`)."""
    secrets: Json = {}
    if isinstance(value, dict):
        kept = {}
        for name, item in value.items():
            where = f"{path}.{name}" if path else name
            if name in _SECRET_NAMES or (name == "value" and _inside_secrets(path)):
                secrets[where] = item
            else:
                kept[name], found = split_secrets(item, where)
                secrets |= found
        return kept, secrets
    if isinstance(value, list):
        items = []
        for i, item in enumerate(value):
            kept_item, found = split_secrets(item, f"{path}.{i}")
            items.append(kept_item)
            secrets |= found
        return items, secrets
    return value, secrets


def _inside_secrets(path: str) -> bool:
    parts = path.split(".")
    return len(parts) >= 2 and parts[-2] == "secrets"
