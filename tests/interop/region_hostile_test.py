#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# What the region does with requests that no honest client sends: an error in AWS's form each, and it
# keeps serving. Everything goes over raw sockets; the signer is this file's own.
#
# labels: interop fault
# timeout: 240
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

MIB = 1 << 20
EMPTY = hashlib.sha256(b"").hexdigest()


def hmac_of(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Region:
    """A region of its own in a folder, asked over raw sockets."""

    def __init__(self, folder, prefix=(), root=""):
        self.folder = folder
        self.process = subprocess.Popen([*prefix, harness.VMFERRY, "region", "serve", "--folder", folder, "--port", "0"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = pathlib.Path(f"/proc/{self.process.pid}/root{folder}" if root else folder)
        until = time.monotonic() + 60
        while not (seen / "region.json").exists():
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError("the region does not start")
            time.sleep(0.1)
        info = json.loads((seen / "region.json").read_text())
        self.port = info["port"]
        self.ca = seen / "tls" / "ca.pem"
        keys = json.loads((seen / "credentials.json").read_text())
        self.key, self.secret = keys["access_key_id"], keys["secret_access_key"]

    def end(self):
        self.process.terminate()
        self.process.wait(100)

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def signing_key(self, date, service):
        key = ("AWS4" + self.secret).encode()
        for text in (date, "us-east-1", service, "aws4_request"):
            key = hmac_of(key, text)
        return key

    def head(self, method, path, headers=(), body_hash=EMPTY, service="s3", when=0, key=None):
        """A signed head as bytes, and its signature."""
        path, _, query = path.partition("?")
        time_of = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=when)
        stamp = time_of.strftime("%Y%m%dT%H%M%SZ")
        fields = {"host": f"127.0.0.1:{self.port}", "x-amz-date": stamp, "x-amz-content-sha256": body_hash,
                  **{name.lower(): value for name, value in dict(headers).items()}}
        signed = {n: v for n, v in fields.items() if n not in ("content-length", "transfer-encoding", "expect")}
        names = ";".join(sorted(signed))
        query_text = "&".join(sorted(p if "=" in p else p + "=" for p in query.split("&") if p))
        encoded = urllib.parse.quote(urllib.parse.unquote_to_bytes(path), safe="/~")
        canonical = "\n".join([method, encoded, query_text, *(f"{n}:{signed[n]}" for n in sorted(signed)), "", names, body_hash])
        scope = f"{stamp[:8]}/us-east-1/{service}/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac_of(self.signing_key(stamp[:8], service), to_sign).hex()
        fields["authorization"] = (f"AWS4-HMAC-SHA256 Credential={key or self.key}/{scope}, SignedHeaders={names}, "
                                   f"Signature={signature}")
        lines = [f"{method} {path}{'?' + query if query else ''} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1"), (stamp, scope, signature)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return connection

    def exchange(self, *pieces, tls=False):
        """Status and body of the answer to raw bytes."""
        connection = self.connect()
        if tls:
            context = ssl.create_default_context(cafile=self.ca)
            connection = context.wrap_socket(connection, server_hostname="127.0.0.1")
        with connection:
            try:
                for piece in pieces:
                    connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused early; the answer may be there
            return read_answer(connection)

    def ask(self, method, path, body=b"", headers=(), tls=False, **signing):
        digest = signing.pop("body_hash", hashlib.sha256(body).hexdigest())
        fields = {**dict(headers)}
        if body:
            fields["content-length"] = str(len(body))
        head, _ = self.head(method, path, fields, digest, **signing)
        return self.exchange(head, body, tls=tls)


def read_answer(connection):
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return 0, data
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            more = connection.recv(65536)
            if not more:
                break
            body += more
        return int(head.split()[1]), body
    except (ConnectionResetError, ssl.SSLError):
        return 0, data


def code_of(answer):
    status, body = answer
    try:
        root = xml.etree.ElementTree.fromstring(body)
    except xml.etree.ElementTree.ParseError:
        return f"{status} {body[:200]!r}" if body else str(status)
    found = [e.text for e in root.iter() if e.tag.split("}")[-1] == "Code"]
    return f"{status} {found[0]}" if found else str(status)


class Hostile(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="hostile-")
        cls.addClassCleanup(folder.cleanup)
        cls.region = Region(folder.name + "/region")
        cls.addClassCleanup(cls.region.end)
        assert cls.region.ask("PUT", "/bucket")[0] == 200
        assert cls.region.ask("PUT", "/bucket/kept", b"kept")[0] == 200

    def tearDown(self):
        self.assertEqual(self.region.ask("GET", "/bucket/kept"), (200, b"kept"), "after the test")

    def test_signatures(self):
        region = self.region
        plain = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{region.port}\r\n"
        for lines, want in (("", "403 AccessDenied"),
                            ("Authorization: nonsense\r\n", "400 AuthorizationHeaderMalformed"),
                            ("Authorization: AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=, Signature=\r\n",
                             "400 AuthorizationHeaderMalformed"),
                            ("Authorization: AWS AKIA:sig\r\n", "400")):
            self.assertIn(want, code_of(region.exchange((plain + lines + "\r\n").encode())), lines)
        self.assertEqual(code_of(region.ask("GET", "/", when=-1000)), "403 RequestTimeTooSkewed")
        self.assertEqual(code_of(region.ask("GET", "/", when=1000)), "403 RequestTimeTooSkewed")
        self.assertEqual(code_of(region.ask("GET", "/", key="AKIAAAAAAAAAAAAAAAAA")), "403 InvalidAccessKeyId")
        self.assertEqual(code_of(region.ask("PUT", "/bucket/x", b"y", body_hash="0" * 64)), "400 XAmzContentSHA256Mismatch")
        head, _ = region.head("GET", "/bucket")
        self.assertEqual(code_of(region.exchange(head.replace(b"GET /bucket ", b"GET /bucket/kept "))),
                         "403 SignatureDoesNotMatch")
        stripped = head.replace(b"\r\n\r\n", b"\r\nx-amz-meta-added: later\r\n\r\n")
        self.assertEqual(code_of(region.exchange(stripped)), "403 AccessDenied")
        for service, want in (("ec2", "AuthFailure"), ("sts", "InvalidClientTokenId"), ("iam", "InvalidClientTokenId")):
            answer = region.ask("POST", "/", b"Action=X", service=service, key="AKIAAAAAAAAAAAAAAAAA")
            self.assertIn(want, code_of(answer), service)
        url = (f"/bucket/kept?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={region.key}%2F20200101%2Fus-east-1%2Fs3"
               "%2Faws4_request&X-Amz-Date=20200101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=")
        self.assertIn("Request has expired", region.exchange(
            f"GET {url}{'0' * 64} HTTP/1.1\r\nHost: h\r\n\r\n".encode())[1].decode())
        self.assertEqual(code_of(region.exchange(f"GET {url}zz HTTP/1.1\r\nHost: h\r\n\r\n".encode())),
                         "400 AuthorizationQueryParametersError")

    def chunked(self, data, change=lambda body: body, decoded=None, sign=True):
        """PUT of signed chunks of 64 KiB with a trailer; `change` spoils the body."""
        region = self.region
        import base64
        import zlib
        kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
        headers = {"content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32",
                   "x-amz-decoded-content-length": str(len(data) if decoded is None else decoded)}
        _, (stamp, scope, signature) = region.head("PUT", "/bucket/chunked", headers, kind)
        head, (stamp, scope, signature) = region.head("PUT", "/bucket/chunked", headers, kind)
        key = region.signing_key(stamp[:8], "s3")
        body = b""
        for start in [*range(0, len(data), 65536), len(data)]:
            piece = data[start:start + 65536]
            signature = hmac_of(key, "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, signature, EMPTY,
                                                hashlib.sha256(piece).hexdigest()])).hex()
            body += f"{len(piece):x};chunk-signature={signature}\r\n".encode() + piece + (b"\r\n" if piece else b"")
        trailer = "x-amz-checksum-crc32:" + base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        signature = hmac_of(key, "\n".join(["AWS4-HMAC-SHA256-TRAILER", stamp, scope, signature,
                                            hashlib.sha256((trailer + "\n").encode()).hexdigest()])).hex()
        body += f"{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()
        body = change(body)
        head = head[:-2] + f"content-length: {len(body)}\r\n\r\n".encode()
        return region.exchange(head, body)

    def test_signed_chunks(self):
        data = os.urandom(200_000)
        self.assertEqual(self.chunked(data)[0], 200)
        self.assertEqual(self.region.ask("GET", "/bucket/chunked"), (200, data))
        for place in (100, 70_000, 199_000):
            spoil = lambda body, place=place: body[:place] + bytes([body[place] ^ 1]) + body[place + 1:]
            self.assertEqual(code_of(self.chunked(data, spoil)), "403 SignatureDoesNotMatch", place)
        self.assertEqual(code_of(self.chunked(data, lambda body: body[:-20] + b"0" * 16 + body[-4:])),
                         "403 SignatureDoesNotMatch")
        self.assertEqual(code_of(self.chunked(data, decoded=199_999)), "400 IncompleteBody")
        self.assertEqual(code_of(self.chunked(data, lambda body: body[:150_000])), "400 InvalidRequest")
        self.assertEqual(code_of(self.chunked(data, lambda body: b"fffffffffffffffffff" + body)), "400 InvalidRequest")
        self.assertEqual(code_of(self.chunked(data, lambda body: b"x" * 100_000)), "400 InvalidRequest")
        self.assertEqual(self.region.ask("GET", "/bucket/chunked"), (200, data))

    def test_oversized(self):
        region = self.region
        head, _ = region.head("PUT", "/bucket/huge", {"content-length": str(6 << 30)}, "UNSIGNED-PAYLOAD")
        self.assertEqual(code_of(region.exchange(head)), "400 EntityTooLarge")
        head, _ = region.head("PUT", "/bucket/huge", {"content-length": str(1 << 62)}, "UNSIGNED-PAYLOAD")
        self.assertIn(code_of(region.exchange(head)).split()[0], ("400", "413"))
        self.assertEqual(region.exchange(b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n")[0], 431)
        many = b"".join(b"x-%d: y\r\n" % n for n in range(20_000))
        self.assertEqual(region.exchange(b"GET / HTTP/1.1\r\n" + many + b"\r\n")[0], 431)
        form = b"Action=X&" + b"&".join(b"a.%d=1" % n for n in range(30_000))
        for service in ("ec2", "sts", "iam"):
            status, _ = region.ask("POST", "/", form, service=service)
            self.assertGreaterEqual(status, 400)
            status, _ = region.ask("POST", "/", b"Action=X&b=" + b"c" * (3 * MIB), service=service)
            self.assertGreaterEqual(status, 400)
        self.assertEqual(code_of(region.ask("PUT", "/bucket/" + "k" * 1025, b"x")), "400 KeyTooLongError")

    def test_xml(self):
        import base64
        region = self.region
        bomb = b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">' + b"".join(
            b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)) + b"]><Delete>&j;</Delete>"
        outside = b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><Delete>&d;</Delete>'
        deep = b"<a>" * 100_000
        wide = b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>"
        for body in (bomb, outside, deep, wide, b"<Delete>", b"\xff\xfe", b"{}", b"<Delete/>", b"<Tagging/>"):
            for path in ("/bucket?delete", "/bucket?tagging", "/bucket?lifecycle", "/bucket/kept?tagging",
                         "/bucket?encryption", "/bucket?ownershipControls", "/bucket?publicAccessBlock"):
                method = "POST" if path.endswith("delete") else "PUT"
                md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
                answer = region.ask(method, path, body, {"content-md5": md5})
                self.assertEqual(code_of(answer), "400 MalformedXML", (path, body[:40]))
        status, body = region.ask("POST", "/bucket/k?uploads")
        upload = xml.etree.ElementTree.fromstring(body).find("{*}UploadId").text
        for document in (bomb, deep, b"<CompleteMultipartUpload/>", b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>"):
            self.assertEqual(code_of(region.ask("POST", f"/bucket/k?uploadId={upload}", document)), "400 MalformedXML")
        self.assertEqual(region.ask("DELETE", f"/bucket/k?uploadId={upload}")[0], 204)

    def test_path_tricks(self):
        region = self.region
        tricks = ["../../../../etc/passwd", "..", ".", "a/../b", "a//b", "/lead", "%2e%2e/%2e%2e/x", "a%00b", "con", "~",
                  "a%0d%0aX-Injected:%201", "%c3%a9", "a%5cb", "%F0%9F%98%80"]
        for trick in tricks:
            path = "/bucket/" + trick
            answer = region.ask("PUT", path, trick.encode())
            self.assertEqual(answer[0], 200, (trick, answer))
            self.assertEqual(region.ask("GET", path), (200, trick.encode()), trick)
        folder = pathlib.Path(region.folder)
        names = [p for p in folder.rglob("*") if p.is_file()]
        for path in names:
            self.assertNotRegex(path.name, "passwd|Injected|con$")
        self.assertFalse((folder / "x").exists() or (folder.parent / "x").exists())
        for trick in tricks:
            self.assertEqual(region.ask("DELETE", "/bucket/" + trick)[0], 204)
        for bad in ("/%zz", "/bucket/%", "/bucket/%ff%fe"):
            self.assertEqual(code_of(region.ask("PUT", bad, b"x")), "400 InvalidURI", bad)
        for bucket in ("..", "a%2f..", "%00%00%00", "-a-", "A" * 70):
            self.assertGreaterEqual(region.ask("PUT", "/" + bucket)[0], 400, bucket)

    def test_not_even_http(self):
        region = self.region
        for junk in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50, os.urandom(5000),
                     b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                     b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
                     b"CONNECT example.com:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + os.urandom(300)):
            with region.connect() as connection:
                connection.sendall(junk)
                connection.shutdown(socket.SHUT_WR)
                status, _ = read_answer(connection)
                self.assertTrue(status == 0 or status >= 400 or junk.startswith(b"CONNECT"), (junk[:30], status))

    def test_a_thousand_connections_at_once(self):
        region = self.region
        head, _ = region.head("GET", "/bucket/kept")
        connections = []
        try:
            for _ in range(1000):
                connections.append(region.connect())
            for connection in connections:
                connection.sendall(head)
            answers = [read_answer(connection) for connection in connections]
            self.assertEqual([a for a in answers if a != (200, b"kept")], [])
            # All of them still open and idle: the next client gets in, because idle ones are closed early.
            self.assertEqual(region.ask("GET", "/bucket/kept"), (200, b"kept"))
        finally:
            for connection in connections:
                connection.close()
        self.assertLess(region.memory(), 400 * MIB)

    def test_slow_heads_and_bodies(self):
        region = self.region
        head, _ = region.head("PUT", "/bucket/slow", {"content-length": "100000"}, "UNSIGNED-PAYLOAD")
        slow = []
        for _ in range(50):
            first = region.connect()
            first.sendall(head[:30])
            second = region.connect()
            second.sendall(head + b"x" * 10)
            slow += [first, second]
        began = time.monotonic()
        self.assertEqual(region.ask("GET", "/bucket/kept"), (200, b"kept"))
        self.assertLess(time.monotonic() - began, 15)
        # Heads have 20 s, bodies 30 s without a byte: each is dropped without an effect.
        for connection in slow:
            connection.settimeout(90)
            self.assertEqual(connection.recv(1), b"")
            connection.close()
        self.assertGreater(time.monotonic() - began, 10)
        self.assertEqual(code_of(region.ask("GET", "/bucket/slow")), "404 NoSuchKey")
        self.assertEqual(list((pathlib.Path(region.folder) / "spool").iterdir()), [])

    def test_tls_refuses_like_plain(self):
        region = self.region
        self.assertEqual(code_of(region.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", tls=True)), "403 AccessDenied")
        body = os.urandom(3 * MIB)
        self.assertEqual(region.ask("PUT", "/bucket/tls", body, tls=True)[0], 200)
        self.assertEqual(region.ask("GET", "/bucket/tls", tls=True), (200, body))
        head, _ = region.head("PUT", "/bucket/huge", {"content-length": str(6 << 30)}, "UNSIGNED-PAYLOAD")
        self.assertEqual(code_of(region.exchange(head, tls=True)), "400 EntityTooLarge")


class FullDisk(harness.TestCase):
    def test_a_full_disk_is_said_and_survived(self):
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            self.skipTest("a small file system of its own needs root and unshare")
        with tempfile.TemporaryDirectory(prefix="full-") as folder:
            mount = ("unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size=32m tmpfs {folder} && exec \"$@\"", "sh")
            try:
                region = Region(folder + "/region", mount, root="/")
            except AssertionError:
                self.skipTest("no tmpfs can be mounted here")
            try:
                self.assertEqual(region.ask("PUT", "/bucket")[0], 200)
                self.assertEqual(region.ask("PUT", "/bucket/kept", b"kept")[0], 200)
                body = os.urandom(8 * MIB)
                stored, refused = [], []
                for n in range(6):
                    answer = region.ask("PUT", f"/bucket/{n}", body)
                    (stored if answer[0] == 200 else refused).append(n)
                    if answer[0] != 200:
                        self.assertEqual(code_of(answer), "503 ServiceUnavailable")
                        self.assertEqual(code_of(region.ask("GET", f"/bucket/{n}")), "404 NoSuchKey")
                self.assertTrue(stored and refused, (stored, refused))
                self.assertEqual(region.ask("GET", "/bucket/kept"), (200, b"kept"))
                for n in stored:
                    self.assertEqual(region.ask("GET", f"/bucket/{n}"), (200, body))
                # Small records too, until nothing fits any more.
                for n in range(3000):
                    answer = region.ask("PUT", f"/bucket/small-{n}", os.urandom(4000))
                    if answer[0] != 200:
                        break
                self.assertEqual(code_of(answer), "503 ServiceUnavailable")
                self.assertEqual(region.ask("DELETE", f"/bucket/{stored[0]}")[0] in (204, 503), True)
                self.assertEqual(region.ask("GET", "/bucket/kept"), (200, b"kept"))
            finally:
                region.end()


if __name__ == "__main__":
    harness.main(__file__)
