# SPDX-License-Identifier: Apache-2.0
"""A real OpenLDAP server for tests, in a private folder, on ports of 127.0.0.1, with certificates of an authority of its own.
People are in ou=people,dc=example,dc=test; cn=svc searches; see DATA."""
import pathlib
import shlex
import signal
import subprocess
import os
import time

import rigs

BASE = "dc=example,dc=test"
SERVICE = f"cn=svc,{BASE}"
PASSWORDS = {"svc": "svc-Passw0rd", "alice": "al1ce pw", "bob": "b0b-pw", "jürgen": "jürgenpw", "o,brien": "comma-pw",
             "star": "star-pw", "locked": "locked-pw", "reset": "reset-pw", "twin": "twin-pw", "hidden": "hidden-pw",
             "carol": "carol-pw", "nopassword": None}

CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
{tls}
{more}
access to dn.exact="uid=hidden,ou=people,{base}" by anonymous auth by * none
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=svc,{base}" read by users read by anonymous auth
database mdb
suffix {base}
rootdn cn=admin,{base}
rootpw admin-pw
directory {folder}/db
maxsize 67108864
overlay memberof
memberof-dangling ignore
overlay ppolicy
ppolicy_use_lockout
"""

POLICIES = """
dn: ou=policies,{base}
objectClass: organizationalUnit
ou: policies

dn: cn=strict,ou=policies,{base}
objectClass: person
objectClass: pwdPolicy
cn: strict
sn: strict
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 3
pwdMustChange: TRUE
"""

# Groups: staff (alice) is in all, all is in ring, ring is in staff: a circle. deep1 (carol) to deep12 stand in each other.
GROUPS = """
dn: cn=staff,ou=groups,{base}
objectClass: groupOfNames
cn: staff
member: uid=alice,ou=people,{base}
member: cn=ring,ou=groups,{base}

dn: cn=all,ou=groups,{base}
objectClass: groupOfNames
cn: all
member: cn=staff,ou=groups,{base}

dn: cn=ring,ou=groups,{base}
objectClass: groupOfNames
cn: ring
member: cn=all,ou=groups,{base}

dn: cn=unique,ou=groups,{base}
objectClass: groupOfUniqueNames
cn: unique
uniqueMember: cn=all,ou=groups,{base}

dn: cn=Research\\, North,ou=groups,{base}
objectClass: groupOfNames
cn: Research, North
member: uid=alice,ou=people,{base}

dn: cn=commas,ou=groups,{base}
objectClass: groupOfNames
cn: commas
member: uid=o\\2cbrien,ou=people,{base}

dn: cn=Küche (süß)*,ou=groups,{base}
objectClass: groupOfNames
cn: Küche (süß)*
member: uid=jürgen,ou=people,{base}

dn: cn=above-küche,ou=groups,{base}
objectClass: groupOfNames
cn: above-küche
member: cn=Küche (süß)*,ou=groups,{base}

dn: cn=wheel,ou=groups,{base}
objectClass: posixGroup
cn: wheel
gidNumber: 6000
memberUid: alice

dn: cn=primary,ou=groups,{base}
objectClass: posixGroup
cn: primary
gidNumber: 5000
"""


def text_of_people():
    text = f"""dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=others,{BASE}
objectClass: organizationalUnit
ou: others

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: {SERVICE}
objectClass: person
cn: svc
sn: svc
userPassword: {PASSWORDS['svc']}
"""
    for user, password in PASSWORDS.items():
        if user == "svc":
            continue
        escaped = user.replace(",", "\\2c")
        text += f"\ndn: uid={escaped},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {user}\ncn: {user}\nsn: {user}\n"
        text += f"userPassword: {password}\n" if password else ""
        if user == "alice":
            text += "uid: alicia\nobjectClass: posixAccount\nuidNumber: 5001\ngidNumber: 5000\nhomeDirectory: /nonexistent\n"
            text += "mail: Alice.Example@example.test\n"
        if user in ("locked", "reset"):
            text += f"pwdPolicySubentry: cn=strict,ou=policies,{BASE}\n"
        if user == "reset":
            text += "pwdReset: TRUE\n"
    return text + f"\ndn: uid=twin,ou=others,{BASE}\nobjectClass: inetOrgPerson\nuid: twin\ncn: twin\nsn: twin\n"


def deep_groups(depth):
    text, member = "", f"uid=carol,ou=people,{BASE}"
    for i in range(1, depth + 1):
        text += f"\ndn: cn=deep{i},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: deep{i}\nmember: {member}\n"
        member = f"cn=deep{i},ou=groups,{BASE}"
    return text


class Authority:
    """An authority that signs certificates; everything in `folder`."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = pathlib.Path(folder), name
        self.certificate, self.key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self.run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN=test {name}", "-keyout", self.key, "-out",
                 self.certificate, "-days", "30")

    def run(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=self.folder)

    def sign(self, name, alternatives, begin=None, end=None):
        """NAME.pem and NAME.key; begin, end as YYYYMMDDHHMMSSZ."""
        (self.folder / f"{name}.cnf").write_text(
            f"[ca]\ndefault_ca=x\n[x]\ndatabase={name}.db\nserial={name}.srl\nnew_certs_dir=.\ndefault_md=sha256\n"
            f"policy=p\nx509_extensions=e\ndefault_days=20\n[p]\ncommonName=supplied\n[e]\n"
            f"subjectAltName={alternatives}\n[req]\ndistinguished_name=d\n[d]\n")
        (self.folder / f"{name}.db").write_text("")
        (self.folder / f"{name}.srl").write_text("01\n")
        self.run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
                 f"{name}.csr", "-config", f"{name}.cnf")
        dates = (["-startdate", begin] if begin else []) + (["-enddate", end] if end else [])
        self.run("ca", "-batch", "-config", f"{name}.cnf", "-cert", self.certificate, "-keyfile", self.key, "-in",
                 f"{name}.csr", "-out", f"{name}.pem", "-notext", *dates)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"


class Slapd(rigs.Rig):
    """certificate: (certificate, key, authority) as paths; None: no TLS at all. more: lines for slapd.conf."""

    def __init__(self, certificate=None, more=""):
        super().__init__("slapd")
        self.certificate, self.more = certificate, more
        self.port, self.tls_port = rigs.free_port(), rigs.free_port()
        self.uri, self.tls_uri = f"ldap://127.0.0.1:{self.port}", f"ldaps://127.0.0.1:{self.tls_port}"

    def start(self):
        folder, quoted = self.folder, shlex.quote(str(self.folder))
        (folder / "db").mkdir()
        tls = ""
        if self.certificate:
            tls = "\n".join(f"{key} {path}" for key, path in zip(
                ("TLSCertificateFile", "TLSCertificateKeyFile", "TLSCACertificateFile"), self.certificate))
        (folder / "slapd.conf").write_text(CONF.format(folder=folder, base=BASE, tls=tls, more=self.more))
        (folder / "people.ldif").write_text(text_of_people() + POLICIES.format(base=BASE), encoding="utf-8")
        self.begin(["sh", "-c", f"slapadd -f {quoted}/slapd.conf -l {quoted}/people.ldif && {self.command()}"],
                   f"kill -CONT $(cat {quoted}/slapd.pid); kill $(cat {quoted}/slapd.pid); rm -rf {quoted}")
        self.wait_until_open()
        self.add(GROUPS.format(base=BASE) + deep_groups(12))
        return self

    def command(self):
        folder = shlex.quote(str(self.folder))
        uris = self.uri + (f" {self.tls_uri}" if self.certificate else "")
        return f"slapd -f {folder}/slapd.conf -h '{uris}'"

    def wait_until_open(self):
        """slapd listens before it becomes a daemon; what is waited for is that it answers."""
        for _ in range(600):
            if subprocess.run(["ldapsearch", "-x", "-H", self.uri, "-s", "base", "-b", ""], capture_output=True,
                              check=False).returncode in (0, 13):
                return
            time.sleep(0.05)
        raise RuntimeError("slapd does not answer")

    def add(self, ldif):
        uri = self.tls_uri if self.certificate else self.uri
        self.run(["ldapadd", "-x", "-H", uri, "-D", f"cn=admin,{BASE}", "-w", "admin-pw"], text=ldif, LDAPTLS_REQCERT="never")

    def process(self):
        return int((self.folder / "slapd.pid").read_text())

    def halt(self):
        """Ends the server; its data and ports stay."""
        process = self.process()
        os.kill(process, signal.SIGTERM)
        while pathlib.Path(f"/proc/{process}").exists():
            time.sleep(0.02)

    def resume(self):
        subprocess.run(["sh", "-c", self.command()], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.wait_until_open()

    def freeze(self):
        """It is there, takes connections, and says nothing."""
        os.kill(self.process(), signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process(), signal.SIGCONT)
