from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge_adapters.wandb.service.login import CLOUD, Login, find_login, normal

from .conftest import SECRET

OTHER = "0ddba11s" * 5
OWN = "https://wandb.example.org:8443"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    return home


@pytest.fixture
def netrc(home: Path) -> Path:
    return home / ".netrc"


@pytest.fixture
def settings(home: Path) -> Path:
    """The global file."""
    folder = home / ".config" / "wandb"
    folder.mkdir(parents=True)
    return folder / "settings"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)


def local(folder: str, text: str) -> None:
    """A settings file of the working folder."""
    Path(folder).mkdir()
    Path(folder, "settings").write_text(text)


def failure(base_url: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        find_login(base_url)
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    return message


# which server


@pytest.mark.usefixtures("home", "key")
def test_the_cloud_is_meant_where_nothing_is_named() -> None:
    assert find_login(None) == Login(CLOUD, SECRET)


@pytest.mark.usefixtures("key")
def test_headers_are_those_of_the_environment_then_of_the_settings(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write_text('[default]\nx_extra_http_headers = {"X-Gate": "a"}\n')
    assert find_login().headers == (("X-Gate", "a"),)
    monkeypatch.setenv("WANDB_X_EXTRA_HTTP_HEADERS", '{"X-Gate": "b"}')
    assert find_login().headers == (("X-Gate", "b"),)
    for broken in (SECRET, f'{{"X-Gate": ["{SECRET}"]}}'):
        monkeypatch.setenv("WANDB_X_EXTRA_HTTP_HEADERS", broken)
        assert "WANDB_X_EXTRA_HTTP_HEADERS" in failure()


@pytest.mark.usefixtures("key")
def test_a_server_is_the_one_given_then_set_then_of_the_working_folder_then_of_the_user(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write_text("[default]\nbase_url = http://global:1\n")
    assert find_login().base_url == "http://global:1"
    local("wandb", "[default]\nbase_url = http://local:1\n")
    assert find_login().base_url == "http://local:1"
    local(".wandb", "[default]\nmode = online\n")
    assert find_login().base_url == "http://global:1"
    monkeypatch.setenv("WANDB_BASE_URL", "http://set:1")
    assert find_login().base_url == "http://set:1"
    assert find_login("http://given:1").base_url == "http://given:1"


@pytest.mark.usefixtures("key")
def test_settings_may_lie_in_a_folder_of_their_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "there").mkdir()
    (home / "there" / "settings").write_text("[default]\nbase_url = http://there:1/\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", "~/there")
    assert find_login().base_url == "http://there:1"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://wandb.ai", CLOUD),
        ("https://app.wandb.ai/", CLOUD),
        ("http://wandb.ai/team/project", CLOUD),
        ("https://api.wandb.ai/", CLOUD),
        ("https://forge.coreweave.com/api/wandb", "https://api.forge.coreweave.com"),
        ("https://api.forge.coreweave.com", "https://api.forge.coreweave.com"),
        ("http://localhost:8080//", "http://localhost:8080"),
        ("https://host/wandb/", "https://host/wandb"),
        ("https://acme.wandb.io", "https://acme.wandb.io"),
    ],
)
def test_an_address_leads_to_the_server_behind_it(given: str, meant: str) -> None:
    assert normal(given) == meant


@pytest.mark.parametrize(
    "given", ["localhost:8080", "ftp://x", "https://", "http://[x", "http://x:y"]
)
@pytest.mark.usefixtures("key")
def test_what_is_no_address_is_named(given: str) -> None:
    assert given in failure(given)


@pytest.mark.parametrize(
    "given", [f"https://api:{SECRET}@host", f"https://host?key={SECRET}", f"https://host#{SECRET}"]
)
@pytest.mark.usefixtures("key")
def test_an_address_with_a_secret_is_refused_unseen(given: str) -> None:
    assert "no user, password or query" in failure(given)


@pytest.mark.usefixtures("key")
def test_a_key_does_not_go_to_the_cloud_in_the_clear() -> None:
    assert "use https://api.wandb.ai" in failure("http://api.wandb.ai")


# which key


@pytest.mark.usefixtures("home")
def test_a_login_does_not_show_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    assert repr(find_login(OWN)) == f"Login(base_url='{OWN}')"


def test_a_key_is_the_one_set_then_of_the_netrc_then_of_the_settings(
    netrc: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write_text(f"[default]\nbase_url = {OWN}/\napi_key = {'s' * 40}\n")
    assert find_login().key == "s" * 40
    netrc.write_text(f"machine wandb.example.org:8443\n  login user\n  password {'n' * 40}\n")
    assert find_login().key == "n" * 40
    monkeypatch.setenv("WANDB_API_KEY", "e" * 40)
    assert find_login().key == "e" * 40


def test_a_key_of_the_settings_is_for_no_other_server(settings: Path) -> None:
    settings.write_text(f"[default]\nbase_url = {OWN}\napi_key = {SECRET}\n")
    assert find_login(OWN).key == SECRET
    assert "no API key" in failure("https://elsewhere.example.org")


@pytest.mark.parametrize("host", ["wandb.example.org", "wandb.example.org:443", "example.org:8443"])
def test_an_entry_of_another_host_or_port_is_none(netrc: Path, host: str) -> None:
    netrc.write_text(f"machine {host}\n  login user\n  password {SECRET}\n")
    assert "no API key" in failure(OWN)


def test_the_cloud_has_two_names_for_one_key(netrc: Path) -> None:
    for named, asked in (("wandb.ai", "forge.coreweave.com"), ("forge.coreweave.com", "wandb.ai")):
        netrc.write_text(f"machine api.{named}\n  login user\n  password {SECRET}\n")
        assert find_login(f"https://api.{asked}").key == SECRET


def test_a_netrc_may_be_named_or_called_as_on_windows(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = f"machine wandb.example.org:8443\n  login user\n  password {SECRET}\n"
    (home / "_netrc").write_text(entry)
    assert find_login(OWN).key == SECRET
    (home / ".netrc").write_text("")
    assert "no API key" in failure(OWN)
    (home / "named").write_text(entry)
    monkeypatch.setenv("NETRC", "~/named")
    assert find_login(OWN).key == SECRET


def test_a_password_for_all_hosts_counts_only_if_it_is_a_key(netrc: Path) -> None:
    netrc.write_text("default login user password hunter2\n")
    assert "no API key" in failure(OWN)
    netrc.write_text(f"default login user password {SECRET}\n")
    assert find_login(OWN).key == SECRET


@pytest.mark.parametrize(
    "key", ["local-" + "a" * 40, "wandb_v1_" + "a" * 77, "a" * 20 + "-" + "b" * 40, "abc.d-f.g_h"]
)
def test_keys_have_the_forms_that_wandb_takes(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert find_login(OWN).key == key


@pytest.mark.parametrize(
    "key", ["short", f" {SECRET}", f"{SECRET}\n", f"{SECRET} x", f"{SECRET}ä", f"a b-{SECRET}", "-"]
)
def test_a_key_of_another_form_is_refused_unseen(
    key: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    message = failure(OWN)
    assert message.startswith("WANDB_API_KEY: the API key ")
    assert "short" not in message


def test_a_bad_key_in_a_netrc_names_the_file_and_the_host(netrc: Path) -> None:
    netrc.write_text("machine wandb.example.org:8443\n  login user\n  password hunter2\n")
    assert failure(OWN).startswith(f"{netrc}, machine wandb.example.org:8443: the API key has 7")


# what is missing or broken


def test_a_missing_key_says_where_it_was_looked_for(home: Path) -> None:
    message = failure(OWN)
    assert message.startswith(f"{OWN}: no API key found (looked in WANDB_API_KEY, ")
    for place in (home / ".netrc", home / ".config/wandb/settings", Path.cwd() / "wandb/settings"):
        assert str(place) in message
    assert message.endswith(f"run `wandb login --host {OWN}` or set WANDB_API_KEY")


@pytest.mark.usefixtures("home")
def test_an_identity_token_is_not_taken_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "/token")
    assert "identity tokens are not supported" in failure(OWN)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    assert find_login(OWN).key == SECRET


@pytest.mark.parametrize("line", [f"passwort {SECRET}", f"machine x login y {SECRET} z"])
def test_a_broken_netrc_is_named_by_line_without_what_stands_there(netrc: Path, line: str) -> None:
    netrc.write_text(f"machine a login b password c\n{line}\n")
    message = failure(OWN)
    assert message.startswith(f"{netrc}: broken (line ")


def test_a_netrc_that_cannot_be_read_is_named(netrc: Path) -> None:
    netrc.mkdir()
    assert failure(OWN).startswith(f"{netrc}: cannot be read (")


@pytest.mark.parametrize("text", [f"api_key = {SECRET}\n", f"[default]\nmode = x\n{SECRET}\n"])
def test_broken_settings_are_named_by_line_without_what_stands_there(
    settings: Path, text: str
) -> None:
    settings.write_text(text)
    message = failure()
    assert message.startswith(f"{settings}: broken (line ")


def test_settings_that_cannot_be_read_are_named(settings: Path) -> None:
    settings.mkdir()
    assert failure().startswith(f"{settings}: cannot be read (")


@pytest.mark.usefixtures("key")
def test_broken_settings_do_no_harm_where_all_is_named(settings: Path) -> None:
    settings.write_text("nonsense")
    assert find_login(OWN) == Login(OWN, SECRET)


# beside wandb itself


@pytest.mark.parametrize(
    "text",
    [
        f"machine wandb.example.org:8443\n  login user\n  password {SECRET}\n",
        f"machine wandb.example.org\n  login user\n  password {SECRET}\n",
        f"default login user password {SECRET}\n",
        f"machine api.wandb.ai\n  login user\n  password {SECRET}\n",
    ],
)
@pytest.mark.parametrize("place", [OWN, "https://api.forge.coreweave.com", CLOUD])
def test_a_netrc_is_read_as_wandb_reads_it(netrc: Path, text: str, place: str) -> None:
    wbauth = pytest.importorskip("wandb.sdk.lib.wbauth")
    netrc.write_text(text)
    expected = wbauth.read_netrc_auth(host=place)
    if expected is None:
        failure(place)
    else:
        assert find_login(place).key == expected
