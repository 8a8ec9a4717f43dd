"""Calls about a whole service of an account: its properties and user delegation keys."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.delegation import SERVICE_LETTERS, DelegationKey, requested_window
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.grants import Means
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.wire import delegation as delegation_wire
from openbatchai.wire.service_properties import BadPropertyError, parse_properties, properties_document

_DOCUMENT_BYTES = 1 << 20


class ServiceCalls:
    def __init__(
        self, storage: Storage, service: StorageService, *, tenant: str, delegation_secret: bytes
    ) -> None:
        self._storage = storage
        self._service = service
        self._tenant = tenant
        self._secret = delegation_secret

    def calls(self) -> Calls:
        account = Level.ACCOUNT
        return {
            (account, "GET", "service", "properties"): Call(
                "GetServiceProperties", self.get_properties, "s", "r"
            ),
            (account, "PUT", "service", "properties"): Call(
                "SetServiceProperties", self.set_properties, "s", "w"
            ),
            (account, "POST", "service", "userdelegationkey"): Call(
                "GetUserDelegationKey", self.get_delegation_key, "s", ""
            ),
        }

    async def get_properties(self, exchange: Exchange) -> None:
        found = await exchange.run(self._storage.settings.get, exchange.ref.account, self._service)
        await exchange.reply_xml(properties_document(found.properties, self._service, exchange.version))

    async def set_properties(self, exchange: Exchange) -> None:
        try:
            properties = parse_properties(await exchange.read_body(_DOCUMENT_BYTES), self._service)
        except BadPropertyError as error:
            raise _refused(error) from None
        await exchange.run(self._storage.settings.change, exchange.ref.account, self._service, properties)
        await exchange.reply(202)

    async def get_delegation_key(self, exchange: Exchange) -> None:
        grant = exchange.grant
        if grant.means is not Means.BEARER or not self._secret:
            detail = {"AuthenticationErrorDetail": "Only authentication scheme Bearer is supported"}
            raise StorageError(StorageCode.AUTHENTICATION_FAILED, detail=detail)
        wanted = delegation_wire.parse_key_info(await exchange.read_body(_DOCUMENT_BYTES))
        start, expiry = requested_window(wanted.start, wanted.expiry, self._storage.clock.now())
        key = DelegationKey(
            grant.principal,
            self._tenant,
            start,
            expiry,
            SERVICE_LETTERS[self._service],
            exchange.version,
            wanted.delegated_tenant,
        )
        account = exchange.ref.account
        value = key.value(self._secret, account, self._storage.rules(account).delegation_generation)
        await exchange.reply_xml(delegation_wire.key_document(key, value))


def _refused(error: BadPropertyError) -> StorageError:
    code = {
        "InvalidXmlNodeValue": StorageCode.INVALID_XML_VALUE,
        "UnsupportedXmlNode": StorageCode.UNSUPPORTED_XML_NODE,
        "MissingRequiredXmlNode": StorageCode.MISSING_XML_NODE,
        "InvalidXmlDocument": StorageCode.INVALID_XML,
    }[error.kind]
    return StorageError(code, detail={"XmlNodeName": error.name, "XmlNodeValue": error.value})
