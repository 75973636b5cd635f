#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# labels: interop
# timeout: 120
#
# Holds every request that the unit tests of src/aws send against botocore, which AWS maintains:
# the operation exists, each parameter, header and query name is a member of its input, required
# members are there, values have the member's type, and botocore's signer comes to the same
# signature.

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import xml.etree.ElementTree as ElementTree

try:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    import botocore.loaders
    import botocore.model
except ImportError:
    print("skipped: python3-botocore is missing")
    sys.exit(77)

SUITES = ["core", "s3", "ec2", "ebs", "sts"]
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
# Sent with every request, whatever the operation.
GENERAL_HEADERS = {"host", "x-amz-date", "authorization", "x-amz-security-token",
                   "x-amz-content-sha256", "content-type"}

loader = botocore.loaders.Loader()
models = {}


def model(service):
    if service not in models:
        description = loader.load_service_model(service, "service-2")
        models[service] = botocore.model.ServiceModel(description, service)
    return models[service]


def check_value(shape, value):
    """The fault of a text value for a member of that shape, or None."""
    kind = shape.type_name
    if kind in ("integer", "long"):
        if not re.fullmatch(r"-?\d+", value):
            return f"'{value}' is no number"
    elif kind == "boolean":
        if value not in ("true", "false"):
            return f"'{value}' is no boolean"
    elif kind == "structure":
        return "a structure got a value"
    return None


def ec2_name(name, shape):
    serialization = shape.serialization
    if "queryName" in serialization:
        return serialization["queryName"]
    name = serialization.get("name", name)
    return name[0].upper() + name[1:]


def check_parameter(shape, parts, value, seen, path=""):
    """Walks a dotted EC2 parameter name down the input shape. Returns the fault, or None."""
    if shape.type_name == "list":
        if not parts or not parts[0].isdigit() or int(parts[0]) < 1:
            return f"{path} is a list and needs .N"
        return check_parameter(shape.member, parts[1:], value, seen, path + "." + parts[0])
    if not parts:
        return check_value(shape, value)
    if shape.type_name != "structure":
        return f"{path} has no members"
    for name, member in shape.members.items():
        if ec2_name(name, member) == parts[0]:
            seen.setdefault(path, (shape, set()))[1].add(name)
            longer = f"{path}.{parts[0]}" if path else parts[0]
            return check_parameter(member, parts[1:], value, seen, longer)
    return f"'{parts[0]}' is no member of {shape.name}"


def check_query_protocol(service, request):
    form = urllib.parse.parse_qsl(request["body"], keep_blank_values=True, strict_parsing=True)
    parameters = dict(form)
    faults = []
    if len(parameters) != len(form):
        faults.append("a parameter is given twice")
    action = parameters.pop("Action")
    version = parameters.pop("Version")
    if version != model(service).api_version:
        faults.append(f"version {version}")
    operation = model(service).operation_model(action)
    if operation.input_shape is None:
        return action, faults + [f"unexpected {name}" for name in parameters]
    seen = {"": (operation.input_shape, set())}
    for name, value in parameters.items():
        fault = check_parameter(operation.input_shape, name.split("."), value, seen)
        if fault:
            faults.append(f"{name}: {fault}")
    for path, (shape, members) in seen.items():
        for required in shape.required_members:
            if required not in members:
                faults.append(f"{path or action} lacks {required}")
    return action, faults


def match_operation(service, request):
    """The operation whose method, path and fixed query fit best, and its path's labels."""
    query = dict(urllib.parse.parse_qsl(request["query"], keep_blank_values=True))
    best = None
    for name in model(service).operation_names:
        operation = model(service).operation_model(name)
        if operation.http["method"] != request["method"]:
            continue
        path, _, fixed = operation.http["requestUri"].partition("?")
        pattern = re.sub(r"\\{(\w+)\\\+\\}", r"(?P<\1>.+)", re.escape(path))
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", pattern)
        found = re.fullmatch(pattern, request["path"])
        fixed = dict(urllib.parse.parse_qsl(fixed, keep_blank_values=True))
        if not found or not fixed.items() <= query.items():
            continue
        members = operation.input_shape.members if operation.input_shape else {}
        places = {member.serialization.get("name", key): key for key, member in members.items()
                  if member.serialization.get("location") == "querystring"}
        free = set(query) - set(fixed)
        if not free <= set(places):
            continue
        needed = {k for k in operation.input_shape.required_members
                  if members[k].serialization.get("location") in ("querystring", "header")}
        # Of operations with one address (UploadPart, PutObject) those drop out that need more.
        missing = {k for k in needed if members[k].serialization["location"] == "querystring"
                   and members[k].serialization.get("name", k) not in free}
        if missing:
            continue
        rank = (len(fixed), -len(needed), -len(members))
        if best is None or rank > best[0]:
            best = (rank, operation, {places[k]: query[k] for k in free})
    return (best[1], best[2]) if best else (None, None)


def check_rest(service, request):
    operation, values = match_operation(service, request)
    if operation is None:
        return "?", [f"no operation is {request['method']} {request['path']}?{request['query']}"]
    members = operation.input_shape.members
    headers = {member.serialization.get("name", key).lower(): key
               for key, member in members.items()
               if member.serialization.get("location") == "header"}
    checksum = operation.http_checksum or {}
    faults = []
    if checksum.get("requestChecksumRequired") and not any(
            name.lower() == "content-md5" or name.lower().startswith("x-amz-checksum-")
            for name in request["headers"]):
        faults.append("no checksum")
    for name, value in request["headers"].items():
        if name.lower() in headers:
            values[headers[name.lower()]] = value
        elif name.lower() == "content-md5" and checksum.get("requestChecksumRequired"):
            pass  # one of the checksums that this operation demands
        elif name.lower() not in GENERAL_HEADERS:
            faults.append(f"header {name} is no member")
    for key, value in values.items():
        fault = check_value(members[key], value)
        if fault:
            faults.append(f"{key}: {fault}")
    if "ChecksumCRC32C" in values and len(base64.b64decode(values["ChecksumCRC32C"])) != 4:
        faults.append("ChecksumCRC32C is not 4 bytes")
    payload = operation.input_shape.serialization.get("payload")
    if payload and members[payload].type_name == "structure" and request["body"]:
        faults += check_xml(members[payload], ElementTree.fromstring(request["body"]))
    return operation.name, faults


def check_xml(shape, element):
    faults = []
    members = {member.serialization.get("name", key): (key, member)
               for key, member in shape.members.items()}
    present = set()
    for child in element:
        name = child.tag.split("}")[-1]
        if name not in members:
            faults.append(f"element {name} is no member of {shape.name}")
            continue
        key, member = members[name]
        present.add(key)
        if member.type_name == "list":
            member = member.member
        if member.type_name == "structure":
            faults += check_xml(member, child)
        else:
            fault = check_value(member, child.text or "")
            if fault:
                faults.append(f"{name}: {fault}")
    return faults + [f"{shape.name} lacks {k}" for k in shape.required_members if k not in present]


def check_signature(request):
    headers = dict(request["headers"])
    authorization = headers.pop("Authorization")
    found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d+)/([\w-]+)/(\w+)/aws4_request, "
                         r"SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})", authorization)
    if not found:
        return ["Authorization: " + authorization]
    access_key, _, region, service, signed, signature = found.groups()
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    signer = kind(botocore.credentials.Credentials(access_key, SECRET), service, region)
    url = f"{request['scheme']}://{headers['Host']}{request['path']}"
    if request["query"]:
        url += "?" + request["query"]
    theirs = botocore.awsrequest.AWSRequest(
        method=request["method"], url=url, headers=headers, data=request["body"].encode())
    theirs.context["timestamp"] = headers["X-Amz-Date"]
    canonical = signer.canonical_request(theirs)
    if signer.signed_headers(signer.headers_to_sign(theirs)) != signed:
        return ["other headers are signed: " + signed]
    expected = signer.signature(signer.string_to_sign(theirs, canonical), theirs)
    return [] if expected == signature else ["signature differs for\n" + canonical]


def collect():
    requests = []
    build = os.environ["VMFERRY_BUILD_DIR"]
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, "requests.jsonl")
        for suite in SUITES:
            binary = os.path.join(build, "src", "aws", suite, f"aws_{suite}_test")
            if not os.path.exists(binary):
                print(f"skipped: {binary} is not built")
                sys.exit(77)
            subprocess.run([binary, "--gtest_brief=1"], check=True, stdout=subprocess.DEVNULL,
                           env={**os.environ, "VMFERRY_REQUEST_DUMP": dump})
        with open(dump, encoding="utf-8", errors="replace") as lines:
            requests = [json.loads(line) for line in lines]
    return requests


def main():
    operations, failed, total = set(), 0, 0
    for request in collect():
        authorization = request["headers"].get("Authorization", "")
        scope = re.search(r"/(\w+)/aws4_request", authorization)
        service = scope.group(1) if scope else "?"
        total += 1
        faults = check_signature(request)
        # With the bucket in the host name the path is the key: put the bucket back.
        host = request["headers"].get("Host", "")
        if service == "s3" and (".s3." in host or host.endswith("storage.example")):
            request["path"] = "/" + host.split(".")[0] + request["path"].rstrip("/")
        if service in ("ec2", "sts"):
            name, more = check_query_protocol(service, request)
        else:
            request["path"] = request["path"].removeprefix("/base")
            name, more = check_rest(service, request)
        operations.add(f"{service}:{name}")
        for fault in faults + more:
            failed += 1
            print(f"{service} {name}: {fault}")
    print(f"{total} requests of {len(operations)} operations: {', '.join(sorted(operations))}")
    if len(operations) < 29:
        print("fewer operations than the clients have")
        failed += 1
    sys.exit(1 if failed else 0)


main()
