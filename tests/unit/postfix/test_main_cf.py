"""main.cf is read and written through postconf(1); a test double records the calls."""

import pytest
from dkim_formula.errors import PostfixError
from dkim_formula.postfix import main_cf

# Prints $ANSWER, and records each argument on its own line.
POSTCONF = """\
#!/bin/sh
printf '%s\\n' "$@" -- >> "{calls}"
cat "{answer}"
[ ! -s "{complaint}" ] || {{ cat "{complaint}" >&2; exit 1; }}
"""


class Postconf:
    def __init__(self, folder):
        self.program = folder / "postconf"
        self._calls, self._answer = folder / "calls", folder / "answer"
        self._complaint = folder / "complaint"
        self.answer("")
        self.fails_with("")
        self.program.write_text(
            POSTCONF.format(calls=self._calls, answer=self._answer, complaint=self._complaint)
        )
        self.program.chmod(0o755)

    def answer(self, text):
        self._answer.write_text(text, errors="surrogateescape")

    def fails_with(self, text):
        self._complaint.write_text(text)

    @property
    def calls(self):
        if not self._calls.exists():
            return []
        text = self._calls.read_text(errors="surrogateescape")
        return [call.splitlines() for call in text.split("--\n") if call]


@pytest.fixture
def postconf(tmp_path, monkeypatch):
    stand_in = Postconf(tmp_path)
    monkeypatch.setattr(main_cf, "POSTCONF", str(stand_in.program))
    return stand_in


@pytest.fixture
def no_postconf(tmp_path, monkeypatch):
    monkeypatch.setattr(main_cf, "POSTCONF", str(tmp_path / "absent"))


def test_parameters_are_read_unexpanded(postconf):
    postconf.answer("non_smtpd_milters = $smtpd_milters\nsmtpd_milters = inet:a:1, inet:b:2\n")
    assert main_cf.explicit() == {
        "non_smtpd_milters": "$smtpd_milters",
        "smtpd_milters": "inet:a:1, inet:b:2",
    }
    assert postconf.calls == [["-n"]]


def test_later_equals_signs_belong_to_the_value(postconf):
    postconf.answer("smtpd_milters = { inet:a:1, default_action = accept }\n")
    assert main_cf.explicit() == {"smtpd_milters": "{ inet:a:1, default_action = accept }"}


def test_octets_that_are_not_utf_8_are_read_and_written_unchanged(postconf):
    postconf.answer("smtpd_banner = f\udcfcr\n")
    assert main_cf.explicit() == {"smtpd_banner": "f\udcfcr"}
    main_cf.write(main_cf.explicit())
    assert postconf.calls[-1] == ["-e", "smtpd_banner=f\udcfcr"]


def test_parameter_that_is_set_to_an_empty_value_is_read(postconf):
    postconf.answer("smtpd_milters =\n")
    assert main_cf.explicit() == {"smtpd_milters": ""}


def test_value_in_another_encoding_is_read_and_written_unchanged(postconf, tmp_path):
    line = b"smtpd_banner = Gr\xfc\xdfe \xe2\x82\xac"
    (tmp_path / "answer").write_bytes(line + b"\nsmtpd_milters = inet:a:1\n")
    found = main_cf.explicit()
    assert found["smtpd_milters"] == "inet:a:1"
    main_cf.write({"smtpd_banner": found["smtpd_banner"]})
    assert line.replace(b" = ", b"=") in (tmp_path / "calls").read_bytes()


def test_error_in_another_encoding_is_passed_on(postconf, tmp_path):
    (tmp_path / "complaint").write_bytes(b"fatal: bad value: \xfc\n")
    with pytest.raises(PostfixError, match="fatal: bad value"):
        main_cf.explicit()


def test_value_in_force_is_expanded_or_the_default(postconf):
    postconf.answer("tempfail\n")
    assert main_cf.in_force("milter_default_action") == "tempfail"
    assert postconf.calls == [["-xh", "milter_default_action"]]


def test_other_configuration_directory_is_used_if_given(postconf):
    main_cf.explicit("/etc/postfix-out")
    assert postconf.calls == [["-c", "/etc/postfix-out", "-n"]]


def test_each_value_is_one_argument_whatever_is_in_it(postconf):
    main_cf.write({"smtpd_milters": "{ inet:a:1, x = y }, $b", "milter_default_action": "accept"})
    assert postconf.calls == [
        ["-e", "smtpd_milters={ inet:a:1, x = y }, $b", "milter_default_action=accept"]
    ]


def test_lines_are_removed_after_values_are_set(postconf):
    main_cf.write({"a": "b"}, unset=iter(["c", "d"]))
    assert postconf.calls == [["-e", "a=b"], ["-X", "c", "d"]]


def test_postconf_is_not_called_without_changes(postconf):
    main_cf.write({}, unset=iter([]))
    assert postconf.calls == []


def test_error_of_postconf_is_passed_on(postconf):
    postconf.fails_with("fatal: /etc/postfix/main.cf, line 3: missing '=' after attribute name\n")
    with pytest.raises(PostfixError, match=r"postconf -n: fatal: .*main\.cf, line 3: missing '='"):
        main_cf.explicit()


@pytest.mark.usefixtures("no_postconf")
def test_missing_postfix_is_an_error():
    with pytest.raises(PostfixError, match="Postfix is not installed"):
        main_cf.in_force("milter_default_action")
