"""Properties of a whole service: what is kept, what is refused, what browsers of other origins may do, and
what is told about requests."""

import json
from contextlib import closing

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    BlobAnalyticsLogging,
    BlobServiceClient,
    CorsRule,
    Metrics,
    RetentionPolicy,
    StaticWebsite,
)
from azure.storage.fileshare import CorsRule as FileCorsRule
from azure.storage.fileshare import (
    ShareProtocolSettings,
    ShareServiceClient,
    ShareSmbSettings,
    SmbMultichannel,
)

from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.observing import (
    AccessLog,
    StorageMetrics,
    observe_all,
)

PAGE = "https://page.example.org"


@pytest.fixture
def blobs(server):
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client
        client.set_service_properties(
            cors=[],
            delete_retention_policy=RetentionPolicy(enabled=False),
            static_website=StaticWebsite(enabled=False),
        )


@pytest.fixture
def files(server):
    with ShareServiceClient.from_connection_string(server.connection_string) as client:
        yield client
        client.set_service_properties(cors=[])


def set_raw(server, document, service="blob"):
    url = f"{server.url(service)}/?restype=service&comp=properties"
    headers = server.bearer | {"x-ms-file-request-intent": "backup"}
    return requests.put(
        url, f"<StorageServiceProperties>{document}</StorageServiceProperties>", headers=headers
    )


class TestProperties:
    def test_a_partial_document_keeps_the_rest(self, server, blobs):
        blobs.set_service_properties(
            analytics_logging=BlobAnalyticsLogging(
                read=True, write=True, delete=False, retention_policy=RetentionPolicy(True, 5)
            ),
            hour_metrics=Metrics(enabled=True, include_apis=True, retention_policy=RetentionPolicy(True, 7)),
            cors=[
                CorsRule(
                    [PAGE], ["GET"], allowed_headers=["x-a"], exposed_headers=["x-b"], max_age_in_seconds=9
                )
            ],
            delete_retention_policy=RetentionPolicy(enabled=True, days=3),
            static_website=StaticWebsite(enabled=True, index_document="index.html"),
        )
        blobs.set_service_properties(minute_metrics=Metrics(enabled=False))
        found = blobs.get_service_properties()
        assert (found["analytics_logging"].read, found["analytics_logging"].retention_policy.days) == (
            True,
            5,
        )
        assert found["hour_metrics"].include_apis is True
        assert found["static_website"].index_document == "index.html"
        assert found["delete_retention_policy"].days == 3
        [rule] = found["cors"]
        assert (rule.allowed_origins, rule.max_age_in_seconds) == (PAGE, 9)
        retention = server.storage.settings.get(server.account, StorageService.BLOB).delete_retention
        assert (retention.enabled, retention.days) == (True, 3)

    def test_older_versions_see_what_they_know(self, server, blobs):
        url = f"{server.url('blob')}/?restype=service&comp=properties"
        for version, shown in (("2016-05-31", False), ("2018-03-28", True)):
            text = requests.get(url, headers=server.bearer | {"x-ms-version": version}).text
            assert ("StaticWebsite" in text) is shown

    def test_files_have_protocols(self, files):
        settings = ShareProtocolSettings(smb=ShareSmbSettings(multichannel=SmbMultichannel(enabled=True)))
        files.set_service_properties(protocol=settings)
        files.set_service_properties(cors=[FileCorsRule(["*"], ["GET"])])
        found = files.get_service_properties()
        assert found["protocol"].smb.multichannel.enabled is True
        assert len(found["cors"]) == 1

    @pytest.mark.parametrize(
        ("document", "code"),
        [
            ("<Cors><CorsRule>", "InvalidXmlDocument"),
            ("<Colour>red</Colour>", "UnsupportedXmlNode"),
            ("<Cors><Rule/></Cors>", "UnsupportedXmlNode"),
            (
                "<Cors><CorsRule><AllowedMethods>GET</AllowedMethods><AllowedOrigins>*</AllowedOrigins>"
                "<MaxAgeInSeconds>1</MaxAgeInSeconds><AllowedHeaders>a</AllowedHeaders>"
                "<ExposedHeaders>a&#13;&#10;Set-Cookie: b</ExposedHeaders></CorsRule></Cors>",
                "InvalidXmlNodeValue",
            ),
            (
                "<Cors><CorsRule><AllowedMethods>GET</AllowedMethods></CorsRule></Cors>",
                "MissingRequiredXmlNode",
            ),
            ("<DefaultServiceVersion>newest</DefaultServiceVersion>", "InvalidXmlNodeValue"),
            (
                "<DeleteRetentionPolicy><Enabled>true</Enabled></DeleteRetentionPolicy>",
                "MissingRequiredXmlNode",
            ),
            (
                "<DeleteRetentionPolicy><Enabled>true</Enabled><Days>366</Days></DeleteRetentionPolicy>",
                "InvalidXmlNodeValue",
            ),
            ("<StaticWebsite><Enabled>perhaps</Enabled></StaticWebsite>", "InvalidXmlNodeValue"),
            ("<HourMetrics><Version>1.0</Version></HourMetrics>", "MissingRequiredXmlNode"),
        ],
    )
    def test_a_malformed_document_changes_nothing(self, server, blobs, document, code):
        before = requests.get(f"{server.url('blob')}/?restype=service&comp=properties", headers=server.bearer)
        answer = set_raw(server, document)
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, code)
        after = requests.get(f"{server.url('blob')}/?restype=service&comp=properties", headers=server.bearer)
        assert after.content == before.content

    def test_too_many_rules(self, blobs):
        with pytest.raises(HttpResponseError) as refusal:
            blobs.set_service_properties(cors=[CorsRule(["*"], ["GET"])] * 6)
        assert refusal.value.status_code == 400

    def test_what_only_blob_has_is_refused_by_files(self, server):
        answer = set_raw(server, "<StaticWebsite><Enabled>false</Enabled></StaticWebsite>", "file")
        assert answer.headers["x-ms-error-code"] == "UnsupportedXmlNode"

    def test_requests_without_a_version_get_the_default_one(self, server, blobs):
        blobs.set_service_properties(target_version="2019-12-12")
        url = f"{server.url('blob')}/?comp=list"
        assert requests.get(url, headers=server.bearer).headers["x-ms-version"] == "2019-12-12"
        named = server.bearer | {"x-ms-version": "2015-04-05"}
        assert requests.get(url, headers=named).headers["x-ms-version"] == "2015-04-05"
        blobs.set_service_properties(target_version="2016-05-31")


class TestCors:
    RULES = (
        CorsRule(
            [PAGE, "https://*.wide.example.org"],
            ["GET", "PUT"],
            allowed_headers=["x-ms-*", "content-type"],
            exposed_headers=["x-ms-meta-*", "ETag"],
            max_age_in_seconds=60,
        ),
        CorsRule(["*"], ["HEAD"]),
    )

    @pytest.fixture
    def url(self, server, blobs, fresh_name):
        blobs.set_service_properties(cors=list(self.RULES))
        container = blobs.create_container(fresh_name, public_access="blob")
        container.upload_blob("b", b"content", metadata={"colour": "red"})
        return f"{container.url}/b"

    def ask(self, url, origin=PAGE, method="GET", headers="x-ms-version, Content-Type"):
        sent = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        }
        return requests.options(url, headers={name: value for name, value in sent.items() if value})

    def test_preflight(self, url):
        answer = self.ask(url)
        assert answer.status_code == 200
        shown = {name: answer.headers[f"access-control-{name}"] for name in ("allow-origin", "max-age")}
        assert shown == {"allow-origin": PAGE, "max-age": "60"}
        assert answer.headers["access-control-allow-methods"] == "GET"
        assert answer.headers["access-control-allow-headers"] == "x-ms-version,content-type"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert self.ask(url, "https://a.wide.example.org").status_code == 200

    @pytest.mark.parametrize(
        "wrong",
        [
            {"origin": "https://other.example.org"},
            {"origin": PAGE.upper()},
            {"origin": "https://wide.example.org"},
            {"method": "DELETE"},
            {"headers": "x-own"},
        ],
    )
    def test_preflight_refused(self, url, wrong):
        answer = self.ask(url, **wrong)
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (403, "CorsPreflightFailure")
        assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize("missing", ["origin", "method"])
    def test_preflight_without_its_headers(self, url, missing):
        answer = self.ask(url, **{missing: ""})
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "InvalidHeaderValue")

    def test_answers_say_who_may_read_them(self, url):
        answer = requests.get(url, headers={"Origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == PAGE
        exposed = answer.headers["access-control-expose-headers"].split(",")
        assert "x-ms-meta-colour" in exposed
        assert "x-ms-request-id" not in exposed
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in requests.get(url, headers={"Origin": "null"}).headers
        head = requests.head(url, headers={"Origin": "https://anywhere.example.org"})
        assert head.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in head.headers

    def test_refusals_say_so_too(self, url):
        answer = requests.get(f"{url}x", headers={"Origin": PAGE})
        assert answer.status_code == 404
        assert answer.headers["access-control-allow-origin"] == PAGE


class TestAccountInformation:
    def test_each_level(self, server, blobs, fresh_name):
        container = blobs.create_container(fresh_name)
        container.upload_blob("b", b"x")
        for client in (blobs, container, container.get_blob_client("b")):
            assert client.get_account_information()["sku_name"] == "Standard_LRS"


class TestObserving:
    def test_a_line_and_counts_for_each_request(self, observed_server, tmp_path, fresh_name):
        log, metrics = tmp_path / "access.log", StorageMetrics()
        with closing(AccessLog(log)) as lines:
            observe = observe_all(lines.record, metrics.record)
            with observed_server(observe) as server:
                self.use(server, fresh_name)
        told = [json.loads(line) for line in log.read_text().splitlines()]
        assert [(line["operation"], line["status"], line["code"], line["auth"]) for line in told] == [
            ("CreateContainer", 201, "", "sharedKey"),
            ("PutBlob", 201, "", "sharedKey"),
            ("GetBlob", 206, "", "sharedKey"),
            ("GetBlob", 200, "", "serviceSas"),
            ("GetBlob", 403, "AuthenticationFailed", "none"),
            ("CreateContainer", 409, "ContainerAlreadyExists", "bearer"),
        ]
        assert (told[1]["bytesIn"], told[2]["bytesOut"]) == (1000, 1000)
        assert told[4]["clientRequestId"] == "Mine"
        assert {line["container"] for line in told} == {fresh_name}
        assert all(line["ms"] > 0 and len(line["requestId"]) == 36 for line in told)
        for secret in (server.key, server.token, "sig=", "SharedKey "):
            assert secret not in log.read_text()
        shown = metrics.exposition().decode()
        assert (
            'batchai_storage_requests_total{code="AuthenticationFailed",operation="GetBlob",service="blob",'
            'status="403"} 1.0' in shown
        )
        assert 'batchai_storage_received_bytes_total{operation="PutBlob",service="blob"} 1000.0' in shown
        assert 'batchai_storage_request_seconds_count{operation="GetBlob",service="blob"} 3.0' in shown

    def test_only_names_are_told(self, observed_server, tmp_path):
        """A signature sent in the place of a name, by a client that encodes a URL twice, is not kept."""
        log = tmp_path / "access.log"
        with closing(AccessLog(log)) as lines, observed_server(lines.record) as server:
            requests.get(server.url("blob", "c%3Fsig=SECRET/b"))
            requests.get(server.url("blob").replace(server.account, "SECRET" * 100))
        told = [json.loads(line) for line in log.read_text().splitlines()]
        assert [(line["account"], line["container"]) for line in told] == [(server.account, ""), ("", "")]
        assert "SECRET" not in log.read_text()

    def use(self, server, name):
        with BlobServiceClient.from_connection_string(server.connection_string) as client:
            container = client.create_container(name)
            container.upload_blob("b", b"x" * 1000)
            assert container.download_blob("b").readall()
        link = server.link("blob", name, "b")
        requests.get(link)
        requests.get(link.replace("sig=", "sig=A"), headers={"x-ms-client-request-id": "Mine"})
        requests.put(f"{container.url}?restype=container", headers=server.bearer)


def test_the_access_file_is_turned_over(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(path, max_bytes=100, keep=2)
    for number in range(12):
        log.write(f"{number:039d}")
    log.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(found.name for found in tmp_path.iterdir()) == [
        "access.log",
        "access.log.1",
        "access.log.2",
    ]
    kept = [
        int(line)
        for name in (".2", ".1", "")
        for line in (tmp_path / f"access.log{name}").read_text().split()
    ]
    assert kept == [6, 7, 8, 9, 10, 11]
    again = AccessLog(path, max_bytes=100, keep=2)
    again.write("12")
    again.close()
    assert path.read_text().split()[-1] == "12"


def test_an_access_file_that_was_taken_away_comes_back(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(path, max_bytes=100)
    for number in range(4):
        log.write(f"{number:039d}")
        if number == 1:
            path.unlink()
    log.close()
    assert [int(line) for line in path.read_text().split()] == [2, 3]
