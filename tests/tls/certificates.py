# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, good ones and every kind of bad one. What `cryptography` refuses to make, openssl makes."""
import dataclasses
import datetime
import hashlib
import ipaddress
import os
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "auth")]
from auth_site import run  # noqa: E402

NOW = datetime.datetime.utcnow().replace(microsecond=0)
DAY = datetime.timedelta(days=1)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


@dataclasses.dataclass
class Made:
    """A certificate, its key, and what is sent behind it."""
    certificate: x509.Certificate
    key: object
    chain: tuple = ()

    @property
    def der(self):
        return self.certificate.public_bytes(DER)

    @property
    def pem(self):
        return self.certificate.public_bytes(PEM).decode()

    @property
    def all_pem(self):
        return self.pem + "".join(one.public_bytes(PEM).decode() for one in self.chain)

    @property
    def key_pem(self):
        return self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

    @property
    def fingerprint(self):
        return hashlib.sha256(self.der).hexdigest()

    def write(self, folder, name):
        """Certificate with chain, and key; their paths."""
        paths = pathlib.Path(folder) / f"{name}.pem", pathlib.Path(folder) / f"{name}.key"
        paths[0].write_text(self.all_pem)
        paths[1].write_text(self.key_pem)
        return paths


def ec_key(curve=ec.SECP256R1):
    return ec.generate_private_key(curve())


def rsa_key(bits=2048):
    return rsa.generate_private_key(65537, bits)


def usages(*names):
    fields = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
              "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{field: field in names for field in fields})


def alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def subject(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def issue(issuer, name, names=(), days=(-2, 30), key=None, ca=False, pathlen=None, usage=None, extended=SERVER, more=(),
          digest=None, critical_names=False):
    """By `issuer` (Made; None: itself). `days`: from and to, counted from now. `more`: (extension, critical)."""
    key = key or ec_key()
    builder = x509.CertificateBuilder().subject_name(subject(name)).public_key(key.public_key())
    builder = builder.issuer_name(issuer.certificate.subject if issuer else subject(name))
    builder = builder.serial_number(int.from_bytes(b"\x40" + os.urandom(15), "big"))
    builder = builder.not_valid_before(NOW + days[0] * DAY).not_valid_after(NOW + days[1] * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca, pathlen if ca else None), True)
    usage = usage or (("key_cert_sign", "crl_sign") if ca else ("digital_signature",))
    builder = builder.add_extension(usages(*usage), True)
    if extended and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative(one) for one in names]), critical_names)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if issuer:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(issuer.key if issuer else key, digest or hashes.SHA256())
    is_top = issuer is None or issuer.certificate.issuer == issuer.certificate.subject
    return Made(certificate, key, () if is_top else (issuer.certificate, *issuer.chain))


def root(name, **how):
    return issue(None, name, ca=True, days=how.pop("days", (-9, 3650)), **how)


def version_1(issuer, name, folder):
    """An intermediate of X.509 v1: it has no extensions, so it cannot say that it is a CA."""
    key = ec_key()
    made = Made(None, key)
    (folder / "v1.key").write_text(made.key_pem)
    issuer_pem, issuer_key = issuer.write(folder, "v1-issuer")
    run(["openssl", "req", "-new", "-key", folder / "v1.key", "-subj", f"/CN={name}", "-out", folder / "v1.csr"])
    run(["openssl", "x509", "-req", "-in", folder / "v1.csr", "-CA", issuer_pem, "-CAkey", issuer_key, "-days", "30",
         "-out", folder / "v1.pem"])
    made.certificate = x509.load_pem_x509_certificate((folder / "v1.pem").read_bytes())
    assert made.certificate.version == x509.Version.v1
    return made


def staple(issuer, made, status=ocsp.OCSPCertStatus.GOOD, days=(-1, 2), signer=None):
    """A response for stapling, DER. `signer`: who signs instead of the issuer, without any right to."""
    revoked = status == ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        made.certificate, issuer.certificate, hashes.SHA1(), status, NOW + days[0] * DAY, NOW + days[1] * DAY,
        NOW - DAY if revoked else None, x509.ReasonFlags.key_compromise if revoked else None)
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, (signer or issuer).certificate)
    return builder.sign((signer or issuer).key, hashes.SHA256()).public_bytes(DER)


class Web:
    """A public world of its own: the root R that the proxy trusts, and who issues below it."""

    def __init__(self):
        self.root = root("Test Web Root")
        self.issuer = issue(self.root, "Test Web Issuer", ca=True, pathlen=0)
        self.other = root("Somebody's Root")

    def site(self, *names, **how):
        """A good one, for these names."""
        return issue(how.pop("issuer", self.issuer), how.pop("subject", names[0][:60]), how.pop("names", names), **how)


if __name__ == "__main__":
    sys.exit("this is no program")
