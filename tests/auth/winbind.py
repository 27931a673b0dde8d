#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""NTLM against a real Active Directory, through winbindd of a machine that has joined it. Ends with one line:
"winbind: N passed, M failed"."""
import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs"))
import rigs  # noqa: E402

CASES = []


def case(function):
    CASES.append(function)
    return function


class Bench:
    def __init__(self, rig, program):
        self.rig, self.program = rig, program

    def ask(self, user, *wishes, password=None, domain="ADTEST", prefix=()):
        """One exchange; the answer."""
        words = [*prefix, self.program, "ntlm", domain, user, self.rig.passwords[user] if password is None else password]
        return json.loads(self.rig.run([*words, *wishes], GSS_MECH_CONFIG=""))


def expect(answer, verdict, user="", *texts, **fields):
    assert answer["verdict"] == verdict, answer
    assert (answer["user"] if verdict == "valid" else "") == user, answer
    for text in texts:
        assert text in answer["why"], (text, answer)
    for name, value in fields.items():
        assert answer[name] == value, (name, answer)


@case
def names_of_the_machine(bench):
    names = bench.rig.run([bench.program, "names"]).splitlines()
    assert names == ["ADTEST", "PROXY1", "ad.test", "proxy1.ad.test"], names


@case
def names_where_nobody_answers(bench):
    names = bench.rig.run([bench.program, "names"], outside=True)
    assert "winbindd" in names and len(names.splitlines()) == 1, names


@case
def right_passwords_with_groups(bench):
    for wishes in ((), ("mic",), ("mic", "require-mic")):
        answer = bench.ask("alice", *wishes)
        expect(answer, "valid", "ADTEST\\alice", mechanism=2)
        groups = answer["groups"]
        assert {"ADTEST\\Domain Users", "ADTEST\\proxy-users", "ADTEST\\proxy-all"} <= set(groups), groups
        assert "ADTEST\\alice" not in groups and len(groups) == len(set(groups)), groups
    answer = bench.ask("bob")
    expect(answer, "valid", "ADTEST\\bob")
    assert not [group for group in answer["groups"] if "proxy" in group], answer


@case
def the_domain_says_who_it_is(bench):
    """However the client writes it."""
    for domain, user in (("adtest", "ALICE"), ("ad.test", "alice"), ("", "alice@ad.test")):
        answer = bench.ask(user, domain=domain, password=bench.rig.passwords["alice"])
        expect(answer, "valid", "ADTEST\\alice")


@case
def a_name_beyond_ascii(bench):
    expect(bench.ask("jürgen", "mic"), "valid", "ADTEST\\jürgen")


@case
def the_list_of_mechanisms_is_protected(bench):
    expect(bench.ask("alice", "mic", "list-mic"), "valid", "ADTEST\\alice", token=16)
    expect(bench.ask("alice", "list-mic", "require-list-mic"), "valid", "ADTEST\\alice", token=16)
    expect(bench.ask("alice", "mic", "list-mic", "wrong-list-mic"), "invalid", "", "MIC")
    expect(bench.ask("alice", "mic", "require-list-mic"), "invalid")


@case
def wrong_mic(bench):
    expect(bench.ask("alice", "mic", "wrong-mic"), "invalid", "", "MIC")
    expect(bench.ask("alice", "require-mic"), "invalid", "", "MIC")


@case
def wrong_passwords(bench):
    expect(bench.ask("bob", password="wrong"), "invalid", "", "password is wrong")
    expect(bench.ask("bob", password=""), "invalid", "", "password is wrong")
    expect(bench.ask("bob"), "valid", "ADTEST\\bob")


@case
def unknown_users_and_domains(bench):
    expect(bench.ask("nobody", password="x"), "unknown-user", "", "not known")
    answer = bench.ask("alice", domain="ELSEWHERE")
    assert answer["verdict"] in ("unknown-user", "invalid", "unavailable") and answer["why"], answer


@case
def accounts_that_may_not(bench):
    expect(bench.ask("disabled"), "invalid", "", "disabled")
    expect(bench.ask("expired"), "invalid", "", "expired")
    for _ in range(3):
        expect(bench.ask("locked", password="wrong"), "invalid")
    expect(bench.ask("locked"), "invalid", "", "locked")


@case
def nobody_in_particular(bench):
    for wishes in ((), ("mic",)):
        expect(bench.ask("", *wishes, password="", domain=""), "invalid")


@case
def version_one_is_refused(bench):
    """By us where it is not allowed, and where it is, by this domain (ntlm auth = ntlmv2-only)."""
    expect(bench.ask("alice", "v1"), "invalid", "", "v1")
    answer = bench.ask("alice", "v1", "allow-v1")
    assert answer["verdict"] == "invalid" and "NT_STATUS" in answer["why"], answer


@case
def another_name_than_the_machines(bench):
    """The domain refuses a response to a second message that does not name the machine which asks."""
    expect(bench.ask("alice", "wrong-computer"), "invalid", "", "NT_STATUS_LOGON_FAILURE")


@case
def without_the_privileged_pipe(bench):
    """Another user than root, who is not in the group of the pipe."""
    answer = bench.ask("alice", prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    expect(answer, "unavailable", "", "winbindd_priv")


@case
def with_the_group_of_the_pipe(bench):
    answer = bench.ask("alice", prefix=["setpriv", "--reuid=65534", "--regid=65534", "--groups=winbindd_priv"])
    expect(answer, "valid", "ADTEST\\alice")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="build/asan/tests/backend_try", help="backend_try")
    parser.add_argument("case", nargs="*", help="parts of names of cases")
    options = parser.parse_args()
    with rigs.Samba() as rig:
        passed, failed = rigs.run_cases(CASES, Bench(rig, pathlib.Path(options.program).resolve()), options.case)
    print(f"winbind: {passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
