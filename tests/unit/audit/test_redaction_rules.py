"""Rules files: what they may say, and what is said of those that are wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from trackbridge.audit.redaction.rules import DETECTORS, Rule, Rules, load, salt_at
from trackbridge.errors import ConfigError


def loaded(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_an_empty_file_means_what_is_found_by_itself(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == Rules()
    assert dict(Rules().detectors) == DETECTORS


def test_a_whole_file(tmp_path: Path) -> None:
    text = """
detectors: {ip: off, email: hash}
allow: [team@lab.example]
keep: ["*.png"]
rules:
  - {name: customer, regex: 'ACME-\\d+', action: hash}
  - {table: metrics, key: "private/*", action: drop}
  - {file: "raw/**", action: drop}
"""
    found = loaded(tmp_path, text)
    assert "ip" not in dict(found.detectors) and dict(found.detectors)["email"] == "hash"
    assert found.rules[0] == Rule("customer", "hash", regex=r"ACME-\d+")
    assert found.rules[1].name == "rule 2"
    assert found.keeps("a/b.png") and not found.keeps("a/b.pth")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: {", "line 1"),
        ("[1]", "the file is no mapping"),
        ("rule: []", "known: allow, detectors, keep, rules"),
        ("rules: 3", "'rules' is no list"),
        ("rules: [{action: drop}]", "rule 1 says not what it is about"),
        ("rules: [{key: x, action: erase}]", "known: drop, mask, hash, pseudonymise"),
        ("rules: [{key: x}]", "its action is ''"),
        ("rules: [{name: n, regex: '(', action: drop}]", "rule 1 (n): its regex is none"),
        ("rules: [{regex: 'a*', action: drop}]", "matches nothing at all"),
        ("rules: [{table: parms, key: x, action: drop}]", "its table is 'parms'"),
        ("rules: [{table: params, column: valu, action: mask}]", "the column of params is 'valu'"),
        ("rules: [{table: runs, action: drop}]", "name a column"),
        ("rules: [{table: metrics, key: x, action: mask}]", "can be dropped"),
        ("rules: [{table: runs, key: x, action: mask}]", "runs has no keys"),
        ("rules: [{table: params, file: x, action: drop}]", "make two of it"),
        ("rules: [{table: params, key: null, action: drop}]", "its key is None"),
        ("rules: [{table: params, key: [a, b], action: drop}]", "its key is ['a', 'b']"),
        ("rules: [{regex: yes, action: drop}]", "its regex is True; give one text, in quotes"),
        ("rules: [{regex: '', action: drop}]", "its regex is ''"),
        ("rules: [{regex: a, regex: b, action: drop}]", "'regex' stands twice"),
        ("allow: [a]\nallow: [b]", "line 1: 'allow' stands twice"),
        ("keep: [{a: 1}]", "'keep' has {'a': 1} in it"),
        ("allow: ['']", "'allow' has '' in it"),
        ("rules: [{table: runs, column: started, action: drop}]", "started of runs holds no text"),
        ("rules: [{column: nots, action: drop}]", "its column is 'nots'"),
        ("rules: [{table: runs, column: run_id, action: hash}]", "told by 'run_id'; a regex"),
        ("rules: [{table: files, column: owner, regex: a, action: hash}]", "told by 'owner'"),
        ("detectors: {phone: mask}", "known: credentials, email"),
        ("detectors: {ip: erase}", "detector 'ip' is 'erase'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    assert said in str(error.value) and "rules.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_salt_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "salt"
    salt, new = salt_at(path)
    again, made = salt_at(path)
    assert (new, made) == (True, False)
    assert salt.digest("a") == again.digest("a") != salt_at(tmp_path / "other")[0].digest("a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for content in ("", "zz" * 32, "00"):
        path.write_text(content)
        with pytest.raises(ConfigError, match="no salt"):
            salt_at(path)
    with pytest.raises(ConfigError, match="cannot be"):
        salt_at(tmp_path / "no" / "such")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "no rules")
