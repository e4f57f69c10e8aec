"""What detectors find in text, and what they leave alone."""

from __future__ import annotations

import pytest

from trackbridge.audit.redaction.detect import Detectors
from trackbridge.audit.redaction.rules import DETECTORS, Rule, Rules, Salt
from trackbridge.audit.redaction.scrub import Scope, Scrubber

PEOPLE, HOSTS = {"jdoesmith", "root", "max", "Jürgen"}, {"gpu-box-17", "localhost"}
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc+/=\n-----END RSA PRIVATE KEY-----"


def found(text: str) -> set[tuple[str, str]]:
    spans = Detectors(DETECTORS.keys(), PEOPLE, HOSTS).find(text)
    return {(span.kind, text[span.start : span.end]) for span in spans}


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("AWS AKIAIOSFODNN7EXAMPLE here", "credentials", "AKIAIOSFODNN7EXAMPLE"),
        ("password = hunter22", "credentials", "hunter22"),
        ('{"api_key": "s3cr3t value"}', "credentials", "s3cr3t value"),
        ("--api-key abc123def", "credentials", "abc123def"),
        ("api_key:\n    desc: null\n    value: abcdef\nlr:\n", "credentials", "abcdef"),
        ("api_key:\n  value: abcdef\n", "credentials", "abcdef"),
        ("MY_PASSWORD_2=p@ss(wo)rd1", "credentials", "p@ss(wo)rd1"),
        ("CI_DEPLOY_TOKEN=abcd1234", "credentials", "abcd1234"),
        ("os.environ['WANDB_API_KEY']='abcd1234'", "credentials", "abcd1234"),
        ('os.environ.setdefault("DB_PASSWORD", "Sommer2024!")', "credentials", "Sommer2024!"),
        (f"wandb.login(key='{'0a1b2c3d' * 5}')", "credentials", "0a1b2c3d" * 5),
        (f'wandb.login("{"0a1b2c3d" * 5}")', "credentials", "0a1b2c3d" * 5),
        ("wandb_key = 'abcd1234'", "credentials", "abcd1234"),
        ("get(url, auth=('joe', 'Sommer2024!'))", "credentials", "Sommer2024!"),
        ("curl -u joe:Sommer2024! http://127.0.0.1", "credentials", "Sommer2024!"),
        ("p.add_argument('--password', default='Sommer2024!')", "credentials", "Sommer2024!"),
        ("args=['--password', 'Sommer2024!']", "credentials", "Sommer2024!"),
        ("export DB_PASSWORD='hunt er2'", "credentials", "hunt er2"),
        (
            "curl -H 'Authorization: Bearer abcdef0123456789abcdef'",
            "credentials",
            "abcdef0123456789abcdef",
        ),
        ("git clone https://me:pa55@git.example/x", "credentials", "me:pa55"),
        ("https://tok3n@git.example/x", "credentials", "tok3n"),
        (
            "machine api.example login user password 0123456789abcdef",
            "credentials",
            "0123456789abcdef",
        ),
        (f"x\n{KEY}\ny", "credentials", KEY),
        (
            "hf_abcdefghijklmnopqrstuvwxyzABCDEF",
            "credentials",
            "hf_abcdefghijklmnopqrstuvwxyzABCDEF",
        ),
        ("mail a.b+c@corp.example.org, please", "email", "a.b+c@corp.example.org"),
        ("jürgen@firma.example", "email", "jürgen@firma.example"),
        ("run of JDoeSmith", "user", "JDoeSmith"),
        ("jdoesmith_sweep", "user", "jdoesmith"),
        ("of%20jdoesmith%2Fx", "user", "jdoesmith"),
        ("Jürgen war da", "user", "Jürgen"),
        ("on gpu-box-17.", "host", "gpu-box-17"),
        ("/home/alice/x", "home", "alice"),
        ("file:///Users/alice/x", "home", "alice"),
        (r"C:\Users\alice\x", "home", "alice"),
        (r"C:\\Users\\alice\\x", "home", "alice"),
        ("from 10.20.30.40:8080", "ip", "10.20.30.40"),
        ("MASTER=10.20.30.40", "ip", "10.20.30.40"),
        ("at fe80::1ff:fe23:4567:890a", "ip", "fe80::1ff:fe23:4567:890a"),
        (r"{'a': 'hi\njdoesmith'}", "user", "jdoesmith"),
        (r"'\nhf_abcdefghijklmnopqrstuvwxyzABCDEF'", "credentials", "hf_abcdefghijkl"),
        (r"'\n/home/alice/x\n10.20.30.40'", "home", "alice"),
        (r"'x\n10.20.30.40'", "ip", "10.20.30.40"),
        ("gcc -I/home/alice/include", "home", "alice"),
        ("/mnt/home/alice/x", "home", "alice"),
        ("file:///gpfs/home/alice/x", "home", "alice"),
        ("to jane.doe%40corp.example", "email", "jane.doe%40corp.example"),
        ("wandb login " + "0123456789" * 4, "credentials", "0123456789" * 4),
        ("Authorization: Basic am9objpodW50ZXIy", "credentials", "am9objpodW50ZXIy"),
        ("authorization: bearer abcdef0123456789abcdef", "credentials", "abcdef0123456789abcdef"),
        ("dapi0123456789abcdef0123456789abcdef", "credentials", "dapi0123456789abcdef"),
        ("gsk_abcdefghijklmnopqrstuvwxyz0123456789", "credentials", "gsk_abcdefghijkl"),
        ("https://b.example/y?sv=1&sig=abcDEF%2Bxyz123Q", "credentials", "abcDEF%2Bxyz123Q"),
        ("?X-Amz-Signature=0123456789abcdef", "credentials", "0123456789abcdef"),
        ("password: 12345678", "credentials", "12345678"),
        ("'password': b'hunter22'", "credentials", "hunter22"),
        ("password: >-\n  hunter22\n", "credentials", "hunter22"),
        ("SMTP_PASS=hunter22", "credentials", "hunter22"),
        (r'INFO {"body": "{\"password\": \"hunter22\"}"}', "credentials", "hunter22"),
    ],
)
def test_it_is_found(text: str, kind: str, what: str) -> None:
    assert any(k == kind and what in w for k, w in found(text)), found(text)


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 4096",
        "pad_token: <pad>",
        "row.get('name', 'unknown'), sort(key='started')",
        "parser.add_argument('--lr', default='0.001')",
        '"mask_token": "[MASK]", "sep_token": "separator"',
        "password:\n  desc: null\n",
        "password: null",
        "secret_seed = 42",
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        "git@github.com:a/b.git",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "root max localhost",
        "127.0.0.1 ::1 0.0.0.0",
        "version 1.2.3, 12:30:45, a[::2]",
        "nvidia-cublas-cu12==12.4.5.8 cudnn>=9.1.0.70 torch-2.5.1.0.whl",
        "loss 0.25 at step 10",
        "/homework/x and /data/home",
        "os.environ['API_KEY']",
        "nvidia-cublas-cu12==12.1.3.1 torch >= 2.1.0.1",
        "  - libcublas=12.1.3.1=0",
        'name = "cudnn"\nversion = "8.9.2.26"',
        "https://pages.example/docs/home/page",
        "login(api_key=args.api_key, password=config['password'])",
        "password = getpass.getpass()",
        "secret_key: Optional[str]",
    ],
)
def test_it_is_left_alone(text: str) -> None:
    assert found(text) == set()


@pytest.mark.parametrize("colour", ["\x1b[33m", "\\x1b[1;31m", "\\u001b[0m"])
def test_what_is_printed_in_colours_is_found(colour: str) -> None:
    rules = Rules((Rule("customer", "mask", regex=r"\bACME-\d+"),))
    scrubber = Scrubber(rules, Salt(b"s" * 32), PEOPLE, HOSTS)
    scope = Scope(rules.rules)
    for secret in ("jdoesmith", "gpu-box-17", "10.20.30.40", "ACME-4711", "a@corp.example"):
        text = scrubber.clean(f"as: {colour}{secret}\x1b[0m", scope).text
        assert secret not in text and text.startswith(f"as: {colour}") and text.endswith("\x1b[0m")
    assert "hunter22" not in scrubber.clean(f"password={colour}hunter22", scope).text


def test_a_private_key_goes_with_its_headers() -> None:
    key = KEY.replace("MIIE", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\nMIIE")
    assert found(f"x {key} y") == {("credentials", key)}


@pytest.mark.parametrize(
    "text",
    [
        '{"env": [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "n", "value": "kept"}]}',
        '[{"key": "api_key", "value": "hunter22"}, {"value": "kept"}]',
        '{"Authorization": "Basic hunter22", "name": "kept"}',
    ],
)
def test_values_beside_their_names_are_credentials_too(text: str) -> None:
    cleaned = Scrubber(Rules(), Salt(b"s" * 32)).clean(text, Scope(())).text
    assert "hunter22" not in cleaned and "kept" in cleaned


def test_what_is_allowed_is_left_alone() -> None:
    rules = Rules(allow=("team@lab.example",))
    scrubber = Scrubber(rules, Salt(b"s" * 32))
    text = "team@lab.example and ann@lab.example"
    assert scrubber.clean(text, Scope(())).text.startswith("team@lab.example and email-")


def test_the_value_of_a_secret_name_is_taken_out_of_json_and_nothing_else_is_touched() -> None:
    scrubber = Scrubber(Rules(), Salt(b"s" * 32))
    text = (
        '{ "lr":1e5, "api_key" : "abcd", "args":["--token-file","x","--password","pw99"],\n'
        '"secret":{"value":"wxyz","desc":null}, "hf_token":"abcd12345", "user":"al", "n":1.50}'
    )
    cleaned = scrubber.clean(text, Scope(()))
    assert [hit.rule for hit in cleaned.hits] == ["credentials"] * 4 + ["user"]
    expected = text
    for secret in ('"abcd"', '"pw99"', '"wxyz"', '"abcd12345"'):
        expected = expected.replace(secret, '"[credentials removed]"')
    assert cleaned.text == expected.replace('"al"', f'"user-{Salt(b"s" * 32).digest("al")[:12]}"')


def test_a_credential_is_found_wherever_it_stands_in_a_long_line() -> None:
    token = "eyJ" + "a" * 700 + "." + "b" * 3000 + "." + "c" * 40
    for before in range(5000, 17000, 457):
        text = "x" * before + " " + token + " y"
        spans = [s for s in Detectors({"credentials"}).find(text) if s.end > before + 1]
        covered = {place for span in spans for place in range(span.start, span.end)}
        assert covered >= set(range(before + 1, before + 1 + len(token))), before


def test_no_text_takes_the_square_of_its_length() -> None:
    """Minified programs have lines of megabytes; a pattern that tries each end takes hours."""
    detectors = Detectors(DETECTORS, PEOPLE, HOSTS)
    for text in (
        "/home/",
        "a@",
        "password=",
        "eyJ.",
        "//_authToken",
        "-----BEGIN X PRIVATE KEY-----",
    ):
        for _ in detectors.find(text * 40_000 + " a@b"):
            pass  # or the suite does not end
