"""Get Account Information: what kind of account a blob, a container or the service belongs to."""

from collections.abc import Callable
from dataclasses import dataclass

from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange

_NAMESPACE_SINCE = "2019-07-07"


@dataclass(frozen=True)
class AccountFacts:
    """The words of Microsoft.Storage: sku.name and kind."""

    sku: str = "Standard_LRS"
    kind: str = "StorageV2"


# The facts of an account; it may wait for the disk.
Describe = Callable[[str], AccountFacts]


class AccountInfoCalls:
    def __init__(self, describe: Describe) -> None:
        self._describe = describe

    def calls(self) -> Calls:
        call = Call("GetAccountInfo", self.account_information, "sco", "rwdlacup")
        return {
            (level, method, "account", "properties"): call for level in Level for method in ("GET", "HEAD")
        }

    async def account_information(self, exchange: Exchange) -> None:
        if exchange.grant.refusal is not None:
            # What a container shows to everybody says nothing about the account.
            raise exchange.grant.refusal
        facts = await exchange.run(self._describe, exchange.ref.account)
        headers = {"x-ms-sku-name": facts.sku, "x-ms-account-kind": facts.kind}
        if exchange.version >= _NAMESPACE_SINCE:
            headers["x-ms-is-hns-enabled"] = "false"
        await exchange.reply(200, headers)
