# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iscsid.conf and initiatorname.iscsi as values: edits, what they leave alone, and what open-iscsi reads afterwards."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import DamagedError, InputError
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi import conf_keys
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.conf_document import ConfDocument, NameDocument
from ansible_collections.lunar.iscsi.plugins.module_utils._open_iscsi.version import NEWEST, parse_version

STARTUP, DEPTH, DIGEST = "node.startup", "node.session.queue_depth", "node.conn[0].iscsi.HeaderDigest"
SECRET, LOGOUT = "node.session.auth.password", "iscsid.safe_logout"
OLD = parse_version("2.0-873")


def document(text: str) -> ConfDocument:
    return ConfDocument(text, "/etc/iscsi/iscsid.conf")


@pytest.mark.parametrize(("text", "key", "value", "after"), [
    pytest.param("", STARTUP, "automatic", "node.startup = automatic\n", id="nothing there"),
    pytest.param("# a\n\nnode.startup = manual\n# b\n", STARTUP, "automatic", "# a\n\nnode.startup = automatic\n# b\n", id="there"),
    pytest.param("  node.startup\t=   manual  \n", STARTUP, "automatic", "  node.startup\t=   automatic  \n", id="as it was indented"),
    pytest.param("node.startup = manual\r\n#\r\n", STARTUP, "automatic", "node.startup = automatic\r\n#\r\n", id="CRLF"),
    pytest.param("#\r\n", STARTUP, "automatic", "#\r\nnode.startup = automatic\r\n", id="CRLF, new"),
    pytest.param("# node.startup = automatic\n# x\n", STARTUP, "onboot", "# node.startup = automatic\nnode.startup = onboot\n# x\n", id="commented out"),
    pytest.param("#node.conn[0].iscsi.HeaderDigest = CRC32C,None\n#\n#node.conn[0].iscsi.HeaderDigest = None\n#\n", DIGEST, "CRC32C,None",
                 "#node.conn[0].iscsi.HeaderDigest = CRC32C,None\nnode.conn[0].iscsi.HeaderDigest = CRC32C,None\n#\n"
                 "#node.conn[0].iscsi.HeaderDigest = None\n#\n",
                 id="commented out, this very value first"),
    pytest.param("#node.conn[0].iscsi.HeaderDigest = CRC32C,None\n#\n#node.conn[0].iscsi.HeaderDigest = None\n#\n", DIGEST, "CRC32C",
                 "#node.conn[0].iscsi.HeaderDigest = CRC32C,None\n#\n#node.conn[0].iscsi.HeaderDigest = None\nnode.conn[0].iscsi.HeaderDigest = CRC32C\n#\n",
                 id="commented out, else the last"),
    pytest.param("# node.startup = automatic", STARTUP, "onboot", "# node.startup = automatic\nnode.startup = onboot\n", id="comment without an end"),
    pytest.param("node.startup = manual\nnode.startup = onboot\n", STARTUP, "automatic", "node.startup = manual\nnode.startup = automatic\n",
                 id="the last counts"),
    pytest.param("node.startup = onboot\nnode.startup = Never\n", STARTUP, "automatic", "node.startup = automatic\nnode.startup = Never\n", id="of valid ones"),
    pytest.param("node.startup=onboot\n", STARTUP, "automatic", "node.startup = automatic\n", id="passed over"),
    pytest.param("node.startup=onboot\nnode.startup = manual\n", STARTUP, "automatic", "node.startup=onboot\nnode.startup = automatic\n", id="not instead"),
    pytest.param("node.startup = onboot", STARTUP, "automatic", "node.startup = automatic\n", id="without an end"),
    pytest.param("node.session.queue_depth = 7", STARTUP, "automatic", "node.startup = automatic\nnode.session.queue_depth = 7",
                 id="nothing is brought to life"),
    pytest.param("# the end", STARTUP, "automatic", "# the end\nnode.startup = automatic\n", id="behind a comment without an end"),
    pytest.param("iscsid.safe_logout=No\niscsid.safe_logout = No\n", LOGOUT, "Yes", "iscsid.safe_logout=Yes\niscsid.safe_logout = No\n",
                 id="of the daemon the first"),
    pytest.param("# iscsid.safe_logout = Yes\n", LOGOUT, "Yes", "# iscsid.safe_logout = Yes\niscsid.safe_logout = Yes\n", id="of the daemon, commented out"),
    pytest.param("see node.startup = x\nin node.startup\n", STARTUP, "manual", "see node.startup = x\nin node.startup\nnode.startup = manual\n",
                 id="no setting"),
])
def test_setting(text: str, key: str, value: str, after: str) -> None:
    made = document(text).with_setting(key, value)
    assert made.render() == after and made.effective()[key] == value
    assert made.with_setting(key, value) is made


@pytest.mark.parametrize(("text", "key", "after"), [
    pytest.param("# a\nnode.startup = manual\n\n", STARTUP, "# a\n\n", id="there"),
    pytest.param("# node.startup = automatic\n", STARTUP, "# node.startup = automatic\n", id="a comment stays"),
    pytest.param("node.startup=a\nnode.startup = onboot\nnode.startup = Never\nnode.startup = onboot", STARTUP, "", id="every way to mean it"),
    pytest.param("iscsid.safe_logout=Yes\n#\n", LOGOUT, "#\n", id="of the daemon"),
])
def test_removing(text: str, key: str, after: str) -> None:
    assert document(text).without(key).render() == after


def test_there_and_back_is_the_same_file() -> None:
    text = "# node.startup = automatic\n\n#\n# x\n"
    assert document(text).with_setting(STARTUP, "onboot").without(STARTUP).render() == text


def test_a_setting_hidden_in_a_long_line() -> None:
    hidden = document("#" * 2047 + "node.startup = onboot\n")
    assert hidden.effective() == {STARTUP: "onboot"}
    assert "longer than" in hidden.problems(NEWEST)[0]["what"]
    assert hidden.with_setting(STARTUP, "manual").effective() == {STARTUP: "manual"}
    with pytest.raises(DamagedError, match="another value of node.startup"):
        hidden.without(STARTUP)
    with pytest.raises(DamagedError):
        document("node.startup = manual\n" + "x" * 2047 + "node.startup = onboot\n").with_setting(STARTUP, "automatic")


@pytest.mark.parametrize(("text", "says"), [
    pytest.param("node.startup = manual\n# node.startup = x\nnode.session.cmds_max = 0128\n", [], id="fine"),
    pytest.param("node.startup=manual\n", ["no white space between node.startup"], id="no white space"),
    pytest.param("node.startup = manual", ["has no end"], id="no end"),
    pytest.param("node.startup = Manual\n", ["does not take as it is written"], id="upper case"),
    pytest.param("iscsid.safe_logout = yes\n", ["does not take as it is written"], id="lower case"),
    pytest.param("node.session.timeo.replacement_timeout = 2m\n", ["is not a whole number"], id="no number"),
    pytest.param("node.session.sess_reopen_log_freq = 1\n", ["is not a setting of iscsid.conf"], id="unknown"),
    pytest.param("node.startup = manual\nnode.startup = onboot\n", ["another value than the line that counts"], id="twice"),
    pytest.param("node.startup = manual\nnode.startup = manual\n", [], id="twice the same"),
    pytest.param("node.conn[0].address = 192.0.2.1\n", ["belongs to one record"], id="of one record"),
])
def test_problems(text: str, says: t.List[str]) -> None:
    found = document(text).problems(NEWEST)
    assert len(found) == len(says)
    assert all(words in problem["what"] and problem["remedy"] for words, problem in zip(says, found))
    assert all(problem["object"].startswith("/etc/iscsi/iscsid.conf, line ") for problem in found)


def test_secrets_are_stars_wherever_they_stand() -> None:
    text = (f"{SECRET} = plain1\n# {SECRET} = plain2\ndiscovery.sendtargets.auth.password_in=plain3\nnode.session.auth.pasword = 1\n"
            f"node.session.auth.username = me\nnode.sesion.auth.passwort = plain4\n{SECRET} = plain5")
    shown = document(text).redacted()
    assert "plain" not in shown and "username = me" in shown and shown.count("********") == 5
    assert f"{SECRET} = ******** (changed)" in document(text).redacted([SECRET])
    assert "plain" not in repr(document(text)) + repr(document(text).problems(NEWEST))


class TestKeys:
    @pytest.mark.parametrize(("given", "text"), [
        ({STARTUP: "Automatic"}, {STARTUP: "automatic"}), ({LOGOUT: True}, {LOGOUT: "Yes"}), ({DEPTH: 7}, {DEPTH: "7"}), ({SECRET: None}, {SECRET: ""}),
        ({"discovery.isns.discoveryd_poll_inval": -1}, {"discovery.isns.discoveryd_poll_inval": "-1"}),
        ({"node.session.auth.chap_algs": ["SHA256", "MD5"]}, {"node.session.auth.chap_algs": "SHA256,MD5"}),
        ({"iscsid.startup": "/bin/systemctl start iscsid.socket"}, {"iscsid.startup": "/bin/systemctl start iscsid.socket"}),
    ])
    def test_values_are_those_of_records(self, given: t.Dict[str, t.Any], text: t.Dict[str, str]) -> None:
        assert conf_keys.check_conf_settings(given) == text

    @pytest.mark.parametrize(("given", "says"), [
        pytest.param({"node.sesion.queue_depth": 7}, "Did you mean 'node.session.queue_depth'", id="typing mistake"),
        pytest.param({"iscsid.savelogout": 7}, "Did you mean 'iscsid.safe_logout'", id="of the daemon"),
        pytest.param({"discovery.isns.poll": 7}, "Did you mean 'discovery.isns", id="of iSNS"),
        pytest.param({"node.name": "x"}, "belongs to one record", id="of one record"),
        pytest.param({"iface.transport_name": "tcp"}, "belongs to one record", id="of an iface"),
        pytest.param({DEPTH: 0}, "out of range", id="range"),
        pytest.param({LOGOUT: "perhaps"}, "is not allowed", id="word"),
        pytest.param({"node.conn[0].timeo.noop_out_interval": 0, "node.conn[0].timeo.noop_out_timeout": 5}, "takes 0 only for both", id="together"),
    ])
    def test_wrong_input(self, given: t.Dict[str, t.Any], says: str) -> None:
        with pytest.raises(InputError, match=says):
            conf_keys.check_conf_settings(given)

    def test_what_an_old_version_does_not_know(self) -> None:
        with pytest.raises(InputError, match="came with 2.1.8"):
            conf_keys.check_conf_settings({"iscsid.ipc_auth_uid": True}, OLD)
        with pytest.raises(InputError, match="came with 2.0.875"):
            conf_keys.check_conf_settings({"node.session.scan": "manual"}, OLD)

    @pytest.mark.parametrize(("key", "when"), [
        (STARTUP, "new_records"), ("discovery.isns.use_discoveryd", "new_records"), (LOGOUT, "iscsid_restart"), ("iscsid.startup", "at_once")])
    def test_when_it_shows(self, key: str, when: str) -> None:
        assert conf_keys.takes_effect(key) == when


_KEYS = {STARTUP: ["manual", "automatic", "onboot"], DEPTH: ["1", "32"], LOGOUT: ["Yes", "No"], SECRET: ["x", "y # z", "="], DIGEST: ["None", "CRC32C,None"]}
_LINES = st.one_of(
    st.sampled_from(["\n", "# a comment\n", "#\n", "  \n", "nonsense\n", "key without = a dot\n", " = \n", "#=\n", "\t#node.startup\n", "é = ü\n"]),
    st.builds("{0}{1}{2}{3}{4}\n".format, st.sampled_from(["", "#", "# ", "  ", "## "]), st.sampled_from([*_KEYS, "no.such.key"]),
              st.sampled_from([" = ", "=", "\t=\t", "= ", " ="]), st.sampled_from(["", "manual", "32", "Yes", "None", "x", "0 1"]),
              st.sampled_from(["", " ", "\r", "\t"])))


@given(st.lists(_LINES, max_size=12).map("".join), st.booleans(), st.sampled_from(sorted(_KEYS)), st.data())
@settings(max_examples=600, deadline=None)
def test_any_file(text: str, cut: bool, key: str, data: st.DataObject) -> None:
    """Open-iscsi reads what was set, everything else as before, and every other line stays."""
    text = text[:-1] if cut else text
    value = data.draw(st.sampled_from(_KEYS[key]))
    old = document(text)
    assert old.render() == text
    new = old.with_setting(key, value)
    before, after = old.effective(), new.effective()
    assert after.pop(key) == value
    before.pop(key, None)
    assert after == before
    kept = [line for line in new.render().splitlines() if line in text.splitlines()]
    assert len(new.pieces) - len(old.pieces) in (0, 1) and len(kept) >= len(old.pieces) - 1
    gone = new.without(key)
    assert key not in gone.effective() and gone.effective() == before
    new.problems(NEWEST)
    assert len(new.redacted().split("\n")) == len(new.render().split("\n"))


@pytest.mark.parametrize(("text", "name", "after"), [
    pytest.param("", "iqn.2026-11.org.example:a", "InitiatorName=iqn.2026-11.org.example:a\n", id="empty"),
    pytest.param("## DO NOT\nInitiatorName=iqn.2026-11.org.example:old\n", "iqn.2026-11.org.example:a", "## DO NOT\nInitiatorName=iqn.2026-11.org.example:a\n",
                 id="there"),
    pytest.param("InitiatorName = iqn.2026-11.org.example:a\n", "iqn.2026-11.org.example:a", "InitiatorName=iqn.2026-11.org.example:a\n",
                 id="as Debian wants it"),
    pytest.param("GenerateName=yes\n", "iqn.2026-11.org.example:a", "InitiatorName=iqn.2026-11.org.example:a\n", id="to be made up"),
    pytest.param("#InitiatorName=iqn.2026-11.org.example:x\n# y", "iqn.2026-11.org.example:a",
                 "#InitiatorName=iqn.2026-11.org.example:x\nInitiatorName=iqn.2026-11.org.example:a\n# y\n", id="commented out"),
])
def test_the_initiators_name(text: str, name: str, after: str) -> None:
    made = NameDocument(text).with_name(name)
    assert made.text == after and made.name == name and made.with_name(name).text == after


def test_the_alias_comes_and_goes() -> None:
    names = NameDocument("# x\nInitiatorName=iqn.2026-11.org.example:a\n")
    assert names.with_alias("host #1").text == "# x\nInitiatorName=iqn.2026-11.org.example:a\nInitiatorAlias=host #1\n"
    assert names.with_alias("host #1").alias == "host #1"
    assert names.with_alias("a").with_alias("").text == names.text
