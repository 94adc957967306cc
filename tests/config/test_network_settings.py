"""What a `network` table may say, what is refused when it is read, and in which words."""

import os
import socket

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from resilio.config import NetworkSettings, ProviderSettings, load_config
from resilio.config.network import DIRECT
from resilio.errors import ConfigError

PASSWORD = "sesame-open-the-proxy"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with certificates of every sort."""
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    mine, other = ca.issue_cert("a@example.org"), ca.issue_cert("b@example.org")
    texts = {
        "ca.pem": ca.cert_pem.bytes(),
        "cert.pem": mine.cert_chain_pems[0].bytes(),
        "key.pem": mine.private_key_pem.bytes(),
        "both.pem": mine.private_key_and_cert_chain_pem.bytes(),
        "other.pem": other.private_key_pem.bytes(),
        "text.pem": b"not a certificate\n",
        "empty.pem": b"",
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    key = serialization.load_pem_private_key(texts["key.pem"], None)
    encryption = serialization.BestAvailableEncryption(b"x")
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    (folder / "encrypted.pem").write_bytes(key.private_bytes(*form))
    return folder


def document(network, base_url="https://models.test/v1", **provider):
    return {
        "provider": [
            {"name": "p", "kind": "openai", "base_url": base_url, "models": {"m": {}}, "network": network, **provider}
        ],
        "route": {"chat": {"targets": ["p/m"]}},
    }


def read(network, environ=(), **options) -> NetworkSettings:
    return load_config(document(network, **options), environ=dict(environ)).providers[0].network


def refusals(network, environ=(), **options) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(network, environ, **options)
    return list(caught.value.problems)


def test_providers_that_say_nothing_share_one_object():
    config = load_config({
        **document({}),
        "provider": [*document({})["provider"], {**document({})["provider"][0], "name": "q"}],
    })  # fmt: skip
    assert config.providers[0].network is config.providers[1].network is DIRECT
    assert ProviderSettings(name="a", kind="openai").network == DIRECT


def test_every_setting_is_read(files):
    settings = {
        "proxy": "http://proxy.test:3128", "ca_file": str(files / "ca.pem"), "client_cert": str(files / "cert.pem"),
        "client_key": str(files / "key.pem"), "max_connections": 4, "keepalive_timeout": 5, "dns_ttl": 0,
        "family": "ipv4",
    }  # fmt: skip
    network = read(settings)
    assert {name: getattr(network, name) for name in settings} == settings
    assert network.verify


def test_paths_start_from_the_folder_of_the_configuration(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = files / "resilio.toml"
    path.write_text(
        '[[provider]]\nname = "p"\nkind = "openai"\nbase_url = "https://models.test/v1"\nmodels.m = {}\n'
        'network = { ca_file = "ca.pem", client_cert = "both.pem" }\n[route.chat]\ntargets = ["p/m"]\n',
        encoding="utf-8",
    )
    network = load_config(path).providers[0].network
    assert network.ca_file == str(files / "ca.pem")
    assert network.client_cert == str(files / "both.pem")
    path.write_text(path.read_text(encoding="utf-8").replace('"ca.pem"', '"gone.pem"'), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=rf"line 6: provider\.p\.network\.ca_file: there is no file {files}/gone\.pem"
    ):
        load_config(path)


def test_a_path_of_the_home_folder_is_found(files, monkeypatch):
    monkeypatch.setenv("HOME", str(files))
    assert read({"ca_file": "~/ca.pem"}).ca_file == str(files / "ca.pem")


@pytest.mark.parametrize(
    ("network", "setting", "complaint"),
    [
        ({"ca_file": "gone.pem"}, "ca_file", "there is no file {}/gone.pem; check the path"),
        ({"ca_file": "text.pem"}, "ca_file", "{}/text.pem holds no certificate in PEM form"),
        ({"ca_file": "empty.pem"}, "ca_file", "{}/empty.pem holds no certificate in PEM form"),
        ({"ca_file": "key.pem"}, "ca_file", "{}/key.pem holds no certificate in PEM form"),
        ({"ca_file": "."}, "ca_file", "{} cannot be read: Is a directory"),
        ({"client_cert": "gone.pem", "client_key": "key.pem"}, "client_cert", "there is no file {}/gone.pem"),
        ({"client_cert": "cert.pem", "client_key": "gone.pem"}, "client_key", "there is no file {}/gone.pem"),
        ({"client_cert": "text.pem", "client_key": "key.pem"}, "client_cert", "{}/text.pem holds no certificate"),
        ({"client_cert": "cert.pem", "client_key": "text.pem"}, "client_key", "{}/text.pem holds no private key"),
        ({"client_cert": "cert.pem", "client_key": "cert.pem"}, "client_key", "{}/cert.pem holds no private key"),
        ({"client_cert": "cert.pem"}, "client_cert", "holds no private key in PEM form; set client_key to the file"),
        ({"client_cert": "cert.pem", "client_key": "other.pem"}, "client_key", "is not the key of the certificate in"),
        ({"client_cert": "cert.pem", "client_key": "encrypted.pem"}, "client_key", "is encrypted with a passphrase"),
    ],
)
def test_a_file_that_will_not_do_is_refused_with_its_path_and_what_to_do(
    files, monkeypatch, network, setting, complaint
):
    monkeypatch.chdir(files)
    (problem,) = refusals(network)
    assert problem.startswith(f"provider.p.network.{setting}: ")
    assert complaint.format(files) in problem


def test_both_files_are_complained_of_in_one_run(files, monkeypatch):
    monkeypatch.chdir(files)
    assert len(refusals({"ca_file": "gone.pem", "client_cert": "text.pem"})) == 2


@pytest.mark.parametrize(
    ("network", "setting", "complaint"),
    [
        ({"unix_socket": "/run/s", "proxy": "http://p:1"}, "proxy", "has no meaning beside unix_socket"),
        ({"unix_socket": "/run/s", "family": "ipv4"}, "family", "has no meaning beside unix_socket"),
        ({"unix_socket": "/run/s", "dns_ttl": 1}, "dns_ttl", "has no meaning beside unix_socket"),
        ({"unix_socket": "/run/s", "verify": False}, "verify", "has no meaning beside unix_socket"),
        ({"unix_socket": "/" + "x" * 200}, "unix_socket", "is 201 bytes long; a socket's path has at most 107"),
        ({"verify": False}, "verify", "would never be used: base_url begins with http://"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(network, setting, complaint):
    (problem,) = refusals(network, base_url="http://models.test/v1")
    assert problem.startswith(f"provider.p.network.{setting}: ")
    assert complaint in problem


def test_a_unix_socket_is_no_place_for_https():
    assert 'is spoken to in plain HTTP; write base_url = "http://..."' in refusals({"unix_socket": "/run/s"})[0]


def test_a_ca_file_that_verify_makes_useless_is_refused(files):
    (problem,) = refusals({"verify": False, "ca_file": str(files / "ca.pem")})
    assert "network.verify: is false, so ca_file would never be used" in problem


def test_a_key_without_its_certificate_is_refused(files):
    (problem,) = refusals({"client_key": str(files / "key.pem")})
    assert "network.client_key: has no certificate to go with; set client_cert too" in problem


@pytest.mark.parametrize(("family", "host"), [("ipv6", "127.0.0.1"), ("ipv4", "[::1]")])
def test_a_family_that_the_address_in_base_url_has_not_is_refused(family, host):
    (problem,) = refusals({"family": family}, base_url=f"https://{host}/v1")
    assert f'network.family: is "{family}", but base_url has an IPv' in problem
    assert read({"family": "ipv4" if family == "ipv6" else "ipv6"}, base_url=f"https://{host}/v1")


def test_a_socket_may_be_missing_but_not_be_something_else(files, tmp_path):
    options = {"base_url": "http://models.test/v1"}
    path = str(tmp_path / "s")
    assert read({"unix_socket": path}, **options).unix_socket == path
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        assert read({"unix_socket": path}, **options).unix_socket == path
    (problem,) = refusals({"unix_socket": str(files / "ca.pem")}, **options)
    assert "ca.pem is not a socket; expected the path a server listens on" in problem


@pytest.mark.parametrize(
    ("proxy", "complaint"),
    [
        ("socks5://p.test:1", "is a socks5:// proxy, which is not supported"),
        ("https://p.test:1", "is a https:// proxy, which is not supported"),
        ("p.test:3128", "is not a proxy's URL; expected something like http://proxy.example:3128"),
        ("http://", "is not a proxy's URL"),
        ("http://p.test:99999", "is not a URL"),
        ("http://p.test:1/path", "has something after host and port"),
        (f"http://me:{PASSWORD}@p.test:1", 'put the whole URL in a variable and write proxy = "env:NAME"'),
        ("$PROXY", "is not filled in from the shell; write env:PROXY"),
        ("env:MISSING", "environment variable MISSING is not set"),
        ("env:SOCKS", "is a socks5:// proxy"),
        ("environments", "is not a proxy's URL"),
    ],
)
def test_a_proxy_that_will_not_do_is_refused_and_never_quoted(proxy, complaint):
    (problem,) = refusals({"proxy": proxy}, {"SOCKS": f"socks5://me:{PASSWORD}@p.test:1"})
    assert "provider.p.network.proxy" in problem
    assert complaint in problem
    assert PASSWORD not in problem


def test_a_proxy_with_a_password_comes_from_the_environment_and_is_in_no_repr():
    config = load_config(document({"proxy": "env:PROXY"}), environ={"PROXY": f"http://me:{PASSWORD}@p.test:1\n"})
    assert config.providers[0].network.proxy == f"http://me:{PASSWORD}@p.test:1"
    assert PASSWORD not in repr(config)
    assert read({"proxy": "environment"}).proxy == "environment"


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        ({"max_connections": 0}, "max_connections: is 0; expected at least 1"),
        ({"keepalive_timeout": -1}, "keepalive_timeout: is -1; expected at least 0"),
        ({"family": "ipv5"}, 'family: is "ipv5"; did you mean'),
        ({"ca_bundle": "x"}, "ca_bundle: unknown key"),
        ("direct", "network: is a string"),
    ],
)
def test_what_is_out_of_bounds_or_unknown_is_refused(network, complaint):
    assert complaint in refusals(network)[0]


def test_a_local_model_has_no_network():
    local = {"provider": [{"name": "l", "kind": "local", "network": {"dns_ttl": 1}}]}
    with pytest.raises(ConfigError, match=r"provider\.l\.network: must be absent for kind local"):
        load_config(local)


def test_nothing_is_read_where_nothing_is_named(monkeypatch):
    opened = []
    monkeypatch.setattr("builtins.open", lambda *args, **_: opened.append(args))
    monkeypatch.setattr(os, "stat", lambda *args, **_: opened.append(args))
    read({"proxy": "http://p.test:1", "max_connections": 3})
    assert opened == []
