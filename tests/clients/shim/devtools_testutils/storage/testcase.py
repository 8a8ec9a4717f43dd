"""The token that tests of offline behaviour use."""

from devtools_testutils.cases import a_sas_token as generate_sas_token

__all__ = ["generate_sas_token"]
