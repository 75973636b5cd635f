# SPDX-License-Identifier: Apache-2.0
"""Compares the raw answers of the region with botocore's models: no element without a member, every value of the
member's type, every required member there. botocore's own parsers ignore what they do not know; this does not."""

import base64
import datetime
import json
import re
import xml.etree.ElementTree

import botocore.utils

# Members that no model has and that every client takes: ids of requests and what S3 says to HTTP.
COMMON_HEADERS = re.compile(r"^(x-amzn-requestid|x-amz-request-id|x-amz-id-2|server|date|content-length|connection|"
                            r"content-type|keep-alive|transfer-encoding|accept-ranges)$")


class Findings:
    def __init__(self):
        self.unknown, self.wrong, self.missing, self.sent = [], [], [], {}

    def failures(self):
        return [f"unknown {where}" for where in self.unknown] + [f"wrong {where}" for where in self.wrong] + \
               [f"missing {where}" for where in self.missing]


class Checker:
    def __init__(self, operation_model, findings):
        self.operation, self.findings = operation_model, findings
        self.protocol = operation_model.service_model.metadata["protocol"]

    def check(self, status, headers, body):
        shape = self.operation.output_shape
        name = self.operation.name
        if shape is None:
            if body.strip() and self.protocol in ("rest-xml", "rest-json"):
                self.findings.unknown.append(f"{name}: a body where none is expected")
            return
        members = set()
        members |= self._headers(shape, headers)
        payload = shape.serialization.get("payload")
        body_members = {key for key, member in shape.members.items()
                        if member.serialization.get("location") not in ("header", "headers", "statusCode", "uri")}
        if self.protocol in ("ec2", "query", "rest-xml"):
            members |= self._xml_body(shape, payload, body)
        else:
            members |= self._json_body(shape, payload, body_members, body)
        for required in shape.required_members:
            if required not in members:
                self.findings.missing.append(f"{name}: {required}")
        self.findings.sent.setdefault(name, set()).update(members)

    # --- headers

    def _headers(self, shape, headers):
        seen = set()
        for header, value in headers.items():
            header = header.lower()
            found = False
            for key, member in shape.members.items():
                where = member.serialization.get("location")
                called = member.serialization.get("name", key).lower()
                if where == "header" and header == called:
                    self._scalar(member, value, f"{self.operation.name}: header {header}", header=True)
                    found = True
                    seen.add(key)
                elif where == "headers" and header.startswith(called):
                    found = True
                    seen.add(key)
            if not found and header.startswith("x-amz") and not COMMON_HEADERS.match(header):
                self.findings.unknown.append(f"{self.operation.name}: header {header}")
        return seen

    # --- XML

    def _xml_body(self, shape, payload, body):
        name = self.operation.name
        if payload is not None and shape.members[payload].type_name in ("blob", "string"):
            return {payload}
        structure = shape if payload is None else shape.members[payload]
        if not body.strip():
            return set()
        try:
            root = xml.etree.ElementTree.fromstring(body)
        except xml.etree.ElementTree.ParseError as error:
            self.findings.wrong.append(f"{name}: no XML: {error}")
            return set()
        if self.protocol == "query":
            if _tag(root) != f"{name}Response":
                self.findings.wrong.append(f"{name}: root element {_tag(root)}")
            children = [child for child in root if _tag(child) != "ResponseMetadata"]
            wrapper = shape.serialization.get("resultWrapper", f"{name}Result")
            if [_tag(child) for child in children] != [wrapper]:
                self.findings.wrong.append(f"{name}: {[_tag(c) for c in children]} instead of {wrapper}")
                return set()
            root = children[0]
            return self._structure(structure, list(root), name)
        if self.protocol == "ec2":
            if _tag(root) != f"{name}Response":
                self.findings.wrong.append(f"{name}: root element {_tag(root)}")
            if root.find("./{*}requestId") is None:
                self.findings.missing.append(f"{name}: requestId")
            return self._structure(structure, [c for c in root if _tag(c) != "requestId"], name)
        seen = self._structure(structure, list(root), name, root)
        return {payload} if payload is not None else seen

    def _structure(self, shape, children, where, element=None):
        by_name = {}
        for key, member in shape.members.items():
            if member.serialization.get("location") in ("header", "headers", "statusCode"):
                continue
            called = member.serialization.get("name", key)
            if member.type_name == "list" and member.serialization.get("flattened"):
                called = member.serialization.get("name") or member.member.serialization.get("name", key)
            by_name[called.split(":")[-1]] = (key, member)
        seen, once = set(), set()
        for attribute in (element.attrib if element is not None else ()):
            called = attribute.rsplit("}", 1)[-1]
            if called in by_name and by_name[called][1].serialization.get("xmlAttribute"):
                seen.add(by_name[called][0])
        for child in children:
            tag = _tag(child)
            if tag not in by_name:
                self.findings.unknown.append(f"{where}.{tag}")
                continue
            key, member = by_name[tag]
            flattened = member.type_name == "list" and member.serialization.get("flattened")
            if tag in once and not flattened:
                self.findings.wrong.append(f"{where}.{tag}: comes twice")
            once.add(tag)
            seen.add(key)
            self._value(member.member if flattened else member, child, f"{where}.{key}")
        for required in shape.required_members:
            if required not in seen and where != self.operation.name:
                self.findings.missing.append(f"{where}.{required}")
        return seen

    def _value(self, shape, element, where):
        if shape.type_name == "structure":
            self._structure(shape, list(element), where, element)
        elif shape.type_name == "list":
            item = shape.member.serialization.get("name", "item" if self.protocol == "ec2" else "member")
            for child in element:
                if _tag(child) != item:
                    self.findings.unknown.append(f"{where}.{_tag(child)} instead of {item}")
                else:
                    self._value(shape.member, child, f"{where}[]")
        elif shape.type_name == "map":
            self.findings.sent.setdefault(where, set())
        else:
            if len(element):
                self.findings.wrong.append(f"{where}: has elements, is {shape.type_name}")
            self._scalar(shape, element.text or "", where)

    # --- JSON

    def _json_body(self, shape, payload, body_members, body):
        if payload is not None:
            return {payload}
        if not body_members:
            if body.strip():
                self.findings.unknown.append(f"{self.operation.name}: a body where none is expected")
            return set()
        try:
            value = json.loads(body)
        except ValueError as error:
            self.findings.wrong.append(f"{self.operation.name}: no JSON: {error}")
            return set()
        return self._json(shape, value, self.operation.name)

    def _json(self, shape, value, where):
        kind = shape.type_name
        if kind == "structure":
            by_name = {member.serialization.get("name", key): (key, member) for key, member in shape.members.items()}
            seen = set()
            for name, inner in value.items():
                if name not in by_name:
                    self.findings.unknown.append(f"{where}.{name}")
                    continue
                seen.add(by_name[name][0])
                self._json(by_name[name][1], inner, f"{where}.{name}")
            return seen
        if kind == "list":
            for inner in value:
                self._json(shape.member, inner, f"{where}[]")
        elif kind in ("integer", "long"):
            if not isinstance(value, int) or isinstance(value, bool):
                self.findings.wrong.append(f"{where}: {value!r} is no number")
        elif kind == "boolean":
            if not isinstance(value, bool):
                self.findings.wrong.append(f"{where}: {value!r} is no boolean")
        elif kind == "timestamp":
            if not isinstance(value, (int, float)):
                self.findings.wrong.append(f"{where}: {value!r} is no time")
        elif not isinstance(value, str):
            self.findings.wrong.append(f"{where}: {value!r} is no string")
        else:
            self._scalar(shape, value, where)
        return set()

    # --- values

    def _scalar(self, shape, text, where, header=False):
        kind = shape.type_name
        try:
            if kind in ("integer", "long"):
                int(text)
            elif kind in ("float", "double"):
                float(text)
            elif kind == "boolean":
                if text not in ("true", "false"):
                    raise ValueError(text)
            elif kind == "timestamp":
                parsed = botocore.utils.parse_timestamp(text)
                if not header and not re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", text):
                    raise ValueError(text)
                assert isinstance(parsed, datetime.datetime)
            elif kind == "blob":
                base64.b64decode(text, validate=True)
            elif kind == "string" and getattr(shape, "enum", None) and text not in shape.enum:
                # AWS adds instance types every month: a name of their form is one.
                if shape.name != "InstanceType" or not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", text):
                    raise ValueError(f"{text!r} is none of {shape.enum}")
        except (ValueError, TypeError) as error:
            self.findings.wrong.append(f"{where}: {kind}: {error}")


def _tag(element):
    return element.tag.rsplit("}", 1)[-1]


def watch(client, findings, answered):
    """Every answer of the client that is no error is checked; `answered` collects the operations' names."""
    service = client.meta.service_model

    def hook(event_name=None, response_dict=None, **_):
        if response_dict is None:
            return
        operation = service.operation_model(event_name.rsplit(".", 1)[-1])
        if response_dict["status_code"] >= 300:
            return
        body = response_dict["body"]
        answered.add(operation.name)
        if not isinstance(body, bytes):
            body = b""  # a stream: the caller reads it
        Checker(operation, findings).check(response_dict["status_code"], dict(response_dict["headers"]), body)

    client.meta.events.register("response-received", hook)
