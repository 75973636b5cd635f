#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Clients that believe they talk to AWS: names of AWS, port 443, TLS. The names lead to the region by
# curl's --connect-to, by a resolver of boto3's process, or by HTTPS_PROXY. Nothing is told the
# region's endpoint.
#
# labels: interop
# timeout: 240
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

PYTHON = "/usr/bin/python3"
if subprocess.run([PYTHON, "-c", "import boto3"], capture_output=True).returncode != 0:
    harness.skip("boto3 of Debian is missing: apt-get install python3-boto3")
harness.require_tools("curl", "openssl")

# Asks with AWS's names only; `socket` leads them to the region's port.
BOTO3 = """
import json, os, socket, ssl, urllib.request, boto3
real = socket.getaddrinfo
def resolve(host, port, *rest, **more):
    if str(host).endswith(".amazonaws.com"):
        assert int(port) == 443, port
        asked.add(host)
        return real("127.0.0.1", int(os.environ["REGION_PORT"]), *rest, **more)
    return real(host, port, *rest, **more)
asked = set()
socket.getaddrinfo = resolve
session = boto3.Session()
ec2, s3, sts, iam, ebs = (session.client(name) for name in ("ec2", "s3", "sts", "iam", "ebs"))
here = dict(CreateBucketConfiguration=dict(LocationConstraint="eu-west-1"))
s3.create_bucket(Bucket="by-name", **here)
s3.put_object(Bucket="by-name", Key="a/b c", Body=b"x" * 3000000)
body = s3.get_object(Bucket="by-name", Key="a/b c")["Body"].read()
url = s3.generate_presigned_url("get_object", Params=dict(Bucket="by-name", Key="a/b c"))
strict = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
strict.verify_flags |= ssl.VERIFY_X509_STRICT
by_url = urllib.request.urlopen(url, context=strict).read()
dotted = "dots.in.name"
s3.create_bucket(Bucket=dotted, **here)
s3.put_object(Bucket=dotted, Key="k", Body=b"y")
try:
    iam.get_role(RoleName="absent")
except iam.exceptions.NoSuchEntityException as error:
    absent = error.response["ResponseMetadata"]["HTTPStatusCode"]
try:
    ebs.list_snapshot_blocks(SnapshotId="snap-00000000000000000")
except Exception as error:
    ebs_code = error.response["Error"]["Code"]
global_sts = session.client("sts", region_name="us-east-1", endpoint_url="https://sts.amazonaws.com")
facts = dict(same=body == by_url and len(body) == 3000000, url=url.split("/")[2],
                      dotted=s3.get_object(Bucket=dotted, Key="k")["Body"].read().decode(),
                      regions=[r["RegionName"] for r in ec2.describe_regions()["Regions"]],
                      account=sts.get_caller_identity()["Account"], absent=absent, ebs_code=ebs_code,
                      global_account=global_sts.get_caller_identity()["Account"])
print(json.dumps(dict(facts, asked=sorted(asked))))
"""


class Hosts(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="hosts-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.region_folder = cls.folder / "region"
        cls.environment = dict(os.environ)
        cls.serve("0")
        cls.addClassCleanup(lambda: cls.end())
        cls.environment.update(
            AWS_CONFIG_FILE=str(cls.folder / "config"), AWS_PROFILE=cls.info["profile"],
            AWS_SHARED_CREDENTIALS_FILE=str(cls.region_folder / "aws-credentials"),
            AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="eu-west-1", AWS_EC2_METADATA_DISABLED="true",
            AWS_CA_BUNDLE=cls.info["ca_bundle"], REGION_PORT=str(cls.info["port"]))
        # A profile without the endpoint.
        (cls.folder / "config").write_text(f"[profile {cls.info['profile']}]\nregion = eu-west-1\n")

    @classmethod
    def serve(cls, port):
        """A region with another name than the default, which `region start` cannot give it."""
        cls.process = subprocess.Popen([harness.VMFERRY, "region", "serve", "--folder", cls.region_folder,
                                        "--port", port, "--region", "eu-west-1"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not (cls.region_folder / "region.json").exists():
            if cls.process.poll() is not None or time.monotonic() > until:
                raise AssertionError("the region does not start")
            time.sleep(0.1)
        cls.info = json.loads((cls.region_folder / "region.json").read_text())

    @classmethod
    def end(cls):
        cls.process.terminate()
        cls.process.wait(100)

    def run_ok(self, command, **more):
        done = subprocess.run(command, env={**self.environment, **more}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def credentials(self):
        lines = (self.region_folder / "aws-credentials").read_text().splitlines()
        return dict(line.split(" = ", 1) for line in lines if " = " in line)

    def test_boto3_with_a_resolver_needs_nothing_else(self):
        seen = json.loads(self.run_ok([PYTHON, "-c", BOTO3]))
        self.assertTrue(seen["same"])
        self.assertEqual(seen["url"], "by-name.s3.amazonaws.com")
        self.assertEqual(seen["dotted"], "y")
        self.assertIn("eu-west-1", seen["regions"])
        self.assertEqual(seen["account"], self.info["account_id"])
        self.assertEqual(seen["global_account"], self.info["account_id"])
        self.assertEqual(seen["absent"], 404)
        self.assertEqual(seen["ebs_code"], "ResourceNotFoundException")
        for host in ("by-name.s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com",
                     "ec2.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com", "iam.amazonaws.com",
                     "ebs.eu-west-1.amazonaws.com"):
            self.assertTrue(host in seen["asked"] or host.startswith("sts."), (host, seen["asked"]))

    def test_awscli_through_https_proxy(self):
        if not pathlib.Path("/usr/bin/aws").exists():
            self.skipTest("awscli of Debian is missing")
        proxy = {"HTTPS_PROXY": self.info["endpoint"]}
        self.run_ok(["/usr/bin/aws", "s3", "mb", "s3://by-proxy"], **proxy)
        (self.folder / "file").write_bytes(bytes(20_000_000))
        self.run_ok(["/usr/bin/aws", "s3", "cp", "--quiet", str(self.folder / "file"), "s3://by-proxy/file"], **proxy)
        self.assertIn("20000000", self.run_ok(["/usr/bin/aws", "s3", "ls", "s3://by-proxy"], **proxy))
        self.assertIn("eu-west-1", self.run_ok(["/usr/bin/aws", "ec2", "describe-regions"], **proxy))

    def curl(self, *arguments, fails=False):
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "60", "--connect-to", f"::127.0.0.1:{self.info['port']}", *arguments],
            capture_output=True, text=True)
        self.assertEqual(done.returncode != 0, fails, done.stdout + done.stderr)
        return done.stdout

    def test_curl_trusts_the_authority_for_every_name(self):
        trust = ("--cacert", self.info["ca_bundle"])
        keys = self.credentials()
        user = ("--user", f"{keys['aws_access_key_id']}:{keys['aws_secret_access_key']}")
        for service in ("ec2", "s3", "ebs", "sts", "iam"):
            refused = self.curl(*trust, f"https://{service}.eu-west-1.amazonaws.com/")
            self.assertRegex(refused, "AccessDenied|Missing ?Authentication ?Token", service)
        for host in ("any-bucket.s3.eu-west-1.amazonaws.com", "s3.amazonaws.com", "b.s3.amazonaws.com",
                     "s3.dualstack.eu-west-1.amazonaws.com", "localhost", "127.0.0.1"):
            self.curl(*trust, f"https://{host}/")
        answer = self.curl(*trust, *user, "--aws-sigv4", "aws:amz:eu-west-1:sts",
                           "-d", "Action=GetCallerIdentity&Version=2011-06-15",
                           "https://sts.eu-west-1.amazonaws.com/")
        self.assertIn(self.info["account_id"], answer)
        # The name and the signature must agree.
        wrong = self.curl(*trust, *user, "--aws-sigv4", "aws:amz:eu-west-1:sts",
                          "-d", "Action=GetCallerIdentity&Version=2011-06-15",
                          "https://ec2.eu-west-1.amazonaws.com/")
        self.assertIn("Credential should be scoped to correct service", wrong)
        self.curl("https://s3.eu-west-1.amazonaws.com/", fails=True)  # not without the authority
        self.curl(*trust, "https://s3.us-west-2.amazonaws.com/", fails=True)  # no region of ours
        self.assertIn("AccessDenied", self.curl("http://s3.eu-west-1.amazonaws.com/"))

    def test_keys_are_private_and_the_certificate_survives_a_restart(self):
        tls = self.region_folder / "tls"
        for name in ("ca-key.pem", "server-key.pem"):
            self.assertEqual((tls / name).stat().st_mode & 0o077, 0, name)
        subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", tls / "ca.pem", tls / "server.pem"],
                       check=True, capture_output=True)
        before = {path.name: path.read_bytes() for path in tls.iterdir()}
        type(self).end()
        type(self).serve(str(self.info["port"]))
        self.assertEqual(before, {path.name: path.read_bytes() for path in tls.iterdir()})

    def test_zz_slow_and_broken_handshakes_do_not_disturb(self):
        import socket
        quiet = [socket.create_connection(("127.0.0.1", self.info["port"])) for _ in range(20)]
        for index, connection in enumerate(quiet):
            connection.sendall([b"\x16", b"\x16\x03\x01\xff\xff" + b"\0" * 200, b"\x16\x03", b"\x15\x03\x01"][index % 4])
        self.assertIn("AccessDenied", self.curl("--cacert", self.info["ca_bundle"], "https://s3.eu-west-1.amazonaws.com/"))
        for connection in quiet:
            connection.close()


if __name__ == "__main__":
    harness.main(__file__)
