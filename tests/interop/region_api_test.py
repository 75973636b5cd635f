#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# boto3 of Debian drives every S3, IAM and STS operation that the region models, and finds the rest
# refused by name. Each answer's XML is held against botocore's model: an element that no member of
# the output shape stands for is reported.
#
# labels: interop
# timeout: 240
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

PYTHON = "/usr/bin/python3"
if subprocess.run([PYTHON, "-c", "import boto3"], capture_output=True).returncode != 0:
    harness.skip("boto3 of Debian is missing: apt-get install python3-boto3")

COMMON = r"""
import base64, datetime, hashlib, json, os, xml.etree.ElementTree as ElementTree
import boto3, botocore.config, botocore.exceptions, botocore.parsers

# Members that S3 sends today and Debian's models of 2022 do not know.
NEWER = {"ChecksumCRC64NVME", "ChecksumType", "BucketRegion"}
BESIDE = {"ResponseMetadata", "requestId"}  # of the protocols, not of the shapes
unknown, operations = set(), set()

def walk(shape, element, where):
    kind = shape.type_name
    if kind == "structure":
        members = {m.serialization.get("name", n): m for n, m in shape.members.items()
                   if m.serialization.get("location") in (None,) }
        flat = {m.member.serialization.get("name", n): m for n, m in shape.members.items()
                if m.type_name == "list" and m.serialization.get("flattened")}
        for child in element:
            name = child.tag.split("}")[-1]
            member = members.get(name) or flat.get(name)
            if name in NEWER or name in BESIDE:
                continue
            if member is None:
                unknown.add(f"{where}/{name}")
            elif member.type_name == "list" and member.serialization.get("flattened"):
                walk(member.member, child, f"{where}/{name}")
            else:
                walk(member, child, f"{where}/{name}")
    elif kind == "list":
        for child in element:
            walk(shape.member, child, where)

def watch(client):
    def after(http_response, parsed, model, **_):
        operations.add(f"{model.service_model.service_name}:{model.name}")
        body = http_response.content if not model.has_streaming_output else b""
        if http_response.status_code >= 300 or not body.lstrip().startswith(b"<") or not model.output_shape:
            return
        root = ElementTree.fromstring(body)
        shape = model.output_shape
        payload = shape.serialization.get("payload")
        if payload:
            shape = shape.members[payload]
        wrapper = shape.serialization.get("resultWrapper")
        if wrapper:
            root = next(child for child in root if child.tag.endswith(wrapper))
        if shape.type_name == "structure" and model.name != "GetBucketLocation":
            walk(shape, root, model.name)
    client.meta.events.register("after-call", after)
    return client

session = boto3.Session()
at = dict(endpoint_url=os.environ["AWS_ENDPOINT_URL"],
          config=botocore.config.Config(retries={"max_attempts": 1}))
def client(name, **more):
    return watch(session.client(name, **{**at, **more}))
s3, iam, sts = client("s3"), client("iam"), client("sts")

def code(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return "ok"

def equal(got, want):
    assert got == want, f"{got!r} is not {want!r}"
"""

IAM_STS = r"""
trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "vmie.amazonaws.com"},
         "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}}}]}
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:GetObject",
          "s3:ListBucket"], "Resource": ["arn:aws:s3:::disks", "arn:aws:s3:::disks/*"]},
          {"Effect": "Allow", "Action": ["ec2:Describe*", "ec2:CopySnapshot"], "Resource": "*"}]}
equal(code(iam.get_role, RoleName="vmimport"), "NoSuchEntity")
made = iam.create_role(RoleName="vmimport", AssumeRolePolicyDocument=json.dumps(trust), Description="imports",
                       Tags=[{"Key": "a", "Value": "b & c"}])["Role"]
equal(code(iam.create_role, RoleName="vmimport", AssumeRolePolicyDocument=json.dumps(trust)), "EntityAlreadyExists")
equal(code(iam.create_role, RoleName="bad", AssumeRolePolicyDocument="{"), "MalformedPolicyDocument")
equal(code(iam.create_role, RoleName="b d", AssumeRolePolicyDocument=json.dumps(trust)), "ValidationError")
role = iam.get_role(RoleName="vmimport")["Role"]
equal(role["AssumeRolePolicyDocument"], trust)
equal(role["Tags"], [{"Key": "a", "Value": "b & c"}])
equal(role["Arn"], made["Arn"])
iam.put_role_policy(RoleName="vmimport", PolicyName="vmimport", PolicyDocument=json.dumps(policy))
equal(iam.get_role_policy(RoleName="vmimport", PolicyName="vmimport")["PolicyDocument"], policy)
equal(iam.list_role_policies(RoleName="vmimport")["PolicyNames"], ["vmimport"])
equal(iam.list_attached_role_policies(RoleName="vmimport")["AttachedPolicies"], [])
equal(iam.list_instance_profiles_for_role(RoleName="vmimport")["InstanceProfiles"], [])
equal(code(iam.delete_role, RoleName="vmimport"), "DeleteConflict")
equal(code(iam.delete_role_policy, RoleName="vmimport", PolicyName="other"), "NoSuchEntity")
equal(code(iam.create_user, UserName="x"), "NotImplemented")

anyone = {"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole",
          "Condition": {"StringEquals": {"sts:ExternalId": "secret"}}}}
iam.create_role(RoleName="worker", Path="/team/", AssumeRolePolicyDocument=json.dumps(anyone), MaxSessionDuration=7200)
worker = iam.get_role(RoleName="worker")["Role"]["Arn"]
pages = iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1})
equal([r["RoleName"] for p in pages for r in p["Roles"]], ["vmimport", "worker"])
equal([r["RoleName"] for r in iam.list_roles(PathPrefix="/team/")["Roles"]], ["worker"])
equal(code(sts.assume_role, RoleArn=worker, RoleSessionName="me"), "AccessDenied")
equal(code(sts.assume_role, RoleArn=made["Arn"], RoleSessionName="me", ExternalId="vmimport"), "AccessDenied")
equal(code(sts.assume_role, RoleArn=worker, RoleSessionName="me", ExternalId="secret", DurationSeconds=7300),
      "ValidationError")
equal(code(sts.assume_role, RoleArn=worker, RoleSessionName="me", ExternalId="secret", Policy="{}"), "NotImplemented")
got = sts.assume_role(RoleArn=worker, RoleSessionName="me", ExternalId="secret", DurationSeconds=900)
left = got["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
assert 600 < left.total_seconds() < 930, left
assert got["Credentials"]["AccessKeyId"].startswith("ASIA")
keys = dict(aws_access_key_id=got["Credentials"]["AccessKeyId"],
            aws_secret_access_key=got["Credentials"]["SecretAccessKey"],
            aws_session_token=got["Credentials"]["SessionToken"])
who = client("sts", **keys).get_caller_identity()
equal(who["Arn"], got["AssumedRoleUser"]["Arn"])
equal(who["UserId"], got["AssumedRoleUser"]["AssumedRoleId"])
theirs = client("s3", **keys)
theirs.create_bucket(Bucket="by-session")
theirs.put_object(Bucket="by-session", Key="k", Body=b"x" * 100000)
equal(client("ec2", **keys).describe_regions()["Regions"][0]["RegionName"], "us-east-1")
import urllib.request
for version in ("s3", "s3v4"):  # Signature Version 2 is what boto3 takes when nobody chooses
    signer = client("s3", **keys, config=botocore.config.Config(signature_version=version))
    url = signer.generate_presigned_url("get_object", Params=dict(Bucket="by-session", Key="k",
                                                                  ResponseContentType="a/b"))
    equal("AWSAccessKeyId" in url, version == "s3")
    with urllib.request.urlopen(url) as answer:
        equal((len(answer.read()), answer.headers["Content-Type"]), (100000, "a/b"))
    put = signer.generate_presigned_url("put_object", Params=dict(Bucket="by-session", Key="put"))
    equal(urllib.request.urlopen(urllib.request.Request(put, b"x", method="PUT", headers={"Content-Type": ""})).status, 200)
    for bad in (url.replace("by-session/k", "by-session/put"), url.replace("a%2Fb", "a%2Fc"), url[:-6] + "AAAAAA"):
        try:
            urllib.request.urlopen(bad)
            raise SystemExit("believed " + bad)
        except urllib.error.HTTPError as error:
            assert error.code in (400, 403), error.code
broken = dict(keys, aws_session_token=keys["aws_session_token"][:-9] + "AAAAAAAA=")
equal(code(client("s3", **broken).list_buckets), "InvalidToken")
equal(code(client("sts", **broken).get_caller_identity), "InvalidClientTokenId")
equal(code(client("ec2", **broken).describe_regions), "AuthFailure")
own = sts.get_session_token(DurationSeconds=900)["Credentials"]
again = client("sts", aws_access_key_id=own["AccessKeyId"], aws_secret_access_key=own["SecretAccessKey"],
               aws_session_token=own["SessionToken"])
equal(again.get_caller_identity()["Arn"], sts.get_caller_identity()["Arn"])
equal(code(again.get_session_token), "AccessDenied")
iam.update_assume_role_policy(RoleName="worker", PolicyDocument=json.dumps(trust))
equal(code(sts.assume_role, RoleArn=worker, RoleSessionName="me", ExternalId="secret"), "AccessDenied")
iam.delete_role(RoleName="worker")
iam.delete_role_policy(RoleName="vmimport", PolicyName="vmimport")
iam.delete_role(RoleName="vmimport")
"""

S3 = r"""
b = dict(Bucket="api-bucket")
s3.create_bucket(**b)
o = dict(b, Key="dir/k")
etag = s3.put_object(**o, Body=b"hello", Tagging="a=1&b=x%20y", Metadata={"m": "1"})["ETag"]
raw = s3.get_object(**o)
equal(raw["TagCount"], 2)
s3.put_object_tagging(**o, Tagging={"TagSet": [{"Key": "c", "Value": "<&>"}]})
equal(s3.get_object_tagging(**o)["TagSet"], [{"Key": "c", "Value": "<&>"}])
s3.delete_object_tagging(**o)
equal(s3.get_object_tagging(**o)["TagSet"], [])
equal(code(s3.put_object_tagging, **o, Tagging={"TagSet": [{"Key": str(i), "Value": ""} for i in range(11)]}), "BadRequest")
equal(s3.get_object_acl(**o)["Grants"][0]["Permission"], "FULL_CONTROL")
equal(s3.get_bucket_acl(**b)["Grants"][0]["Permission"], "FULL_CONTROL")
equal(code(s3.put_bucket_acl, **b, ACL="public-read"), "AccessControlListNotSupported")

# Conditions.
past, future = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=d) for d in (-1, 1))
equal(code(s3.get_object, **o, IfNoneMatch=etag), "304")
equal(code(s3.get_object, **o, IfMatch='"x"'), "PreconditionFailed")
equal(code(s3.get_object, **o, IfModifiedSince=future), "304")
equal(code(s3.head_object, **o, IfUnmodifiedSince=past), "412")
equal(s3.get_object(**o, IfMatch=etag, IfUnmodifiedSince=past)["Body"].read(), b"hello")
source = {"CopySource": {"Bucket": "api-bucket", "Key": "dir/k"}}
copied = s3.copy_object(**b, Key="copy", **source)
equal(copied["CopyObjectResult"]["ETag"], etag)
equal(s3.head_object(**b, Key="copy")["Metadata"], {"m": "1"})
s3.copy_object(**b, Key="copy", **source, MetadataDirective="REPLACE", Metadata={"n": "2"}, ContentType="a/b",
               TaggingDirective="REPLACE", Tagging="t=1", ChecksumAlgorithm="SHA1")
head = s3.head_object(**b, Key="copy", ChecksumMode="ENABLED")
equal((head["Metadata"], head["ContentType"]), ({"n": "2"}, "a/b"))
equal(head["ChecksumSHA1"], base64.b64encode(hashlib.sha1(b"hello").digest()).decode())
equal(code(s3.copy_object, **b, Key="c2", **source, CopySourceIfMatch='"x"'), "PreconditionFailed")
equal(code(s3.copy_object, **b, Key="c2", **source, CopySourceIfNoneMatch=etag), "PreconditionFailed")
equal(code(s3.copy_object, **b, Key="c2", **source, CopySourceIfModifiedSince=future), "PreconditionFailed")
equal(code(s3.copy_object, **b, Key="c2", **source, CopySourceIfUnmodifiedSince=past), "PreconditionFailed")
equal(code(s3.copy_object, **o, **source), "InvalidRequest")
equal(code(s3.copy_object, **b, Key="c2", CopySource="api-bucket/absent"), "NoSuchKey")
equal(code(s3.copy_object, **b, Key="c2", CopySource="no-such-bucket/k"), "NoSuchBucket")
strange = "a+b c/ü?&=%41/../x"
s3.put_object(**b, Key=strange, Body=b"1")
s3.copy_object(**b, Key="plain", CopySource={"Bucket": "api-bucket", "Key": strange})
equal(s3.get_object(**b, Key="plain")["Body"].read(), b"1")
s3.delete_object(**b, Key=strange)

# Parts.
big = os.urandom(6 << 20)
s3.put_object(**b, Key="big", Body=big)
for algorithm in (None, "CRC32", "CRC32C", "SHA256"):
    extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    upload = s3.create_multipart_upload(**b, Key="mp", **extra)["UploadId"]
    u = dict(b, Key="mp", UploadId=upload)
    member = "Checksum" + (algorithm or "none")
    one = s3.upload_part_copy(**u, PartNumber=1, CopySource="/api-bucket/big", CopySourceRange="bytes=0-5242879")["CopyPartResult"]
    two = s3.upload_part(**u, PartNumber=2, Body=b"end", **extra)
    equal(code(s3.upload_part_copy, **u, PartNumber=3, CopySource="/api-bucket/big", CopySourceRange="bytes=0-99999999"),
          "InvalidArgument")
    listed = s3.list_parts(**u, MaxParts=1)
    equal((listed["IsTruncated"], listed["Parts"][0]["Size"]), (True, 5242880))
    equal(s3.list_parts(**u, PartNumberMarker=1)["Parts"][0]["ETag"], two["ETag"])
    parts = [{"PartNumber": n, "ETag": p["ETag"], **({member: p[member]} if algorithm else {})}
             for n, p in ((1, one), (2, two))]
    done = s3.complete_multipart_upload(**u, MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-2"'), done
    part = s3.get_object(**b, Key="mp", PartNumber=2)
    equal((part["Body"].read(), part["PartsCount"]), (b"end", 2))
    equal(s3.head_object(**b, Key="mp", PartNumber=1)["ContentLength"], 5242880)
    equal(code(s3.get_object, **b, Key="mp", PartNumber=3), "InvalidPartNumber")
    equal(s3.get_object(**b, Key="mp")["Body"].read(), big[:5242880] + b"end")
    s3.delete_object(**b, Key="mp")
ids = [s3.create_multipart_upload(**b, Key=k)["UploadId"] for k in ("u1", "u2", "u2")]
pages = s3.get_paginator("list_multipart_uploads").paginate(**b, PaginationConfig={"PageSize": 1})
equal(sorted(u["UploadId"] for p in pages for u in p.get("Uploads", [])), sorted(ids))
equal([u["Key"] for u in s3.list_multipart_uploads(**b, Prefix="u1")["Uploads"]], ["u1"])
equal(code(s3.delete_bucket, **b), "BucketNotEmpty")
for key, upload in zip(("u1", "u2", "u2"), ids):
    s3.abort_multipart_upload(**b, Key=key, UploadId=upload)
equal(code(s3.list_parts, **b, Key="u1", UploadId=ids[0]), "NoSuchUpload")

# Settings of buckets.
equal(s3.get_bucket_encryption(**b)["ServerSideEncryptionConfiguration"]["Rules"][0]
      ["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256")
s3.put_bucket_encryption(**b, ServerSideEncryptionConfiguration={"Rules": [
    {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}]})
equal(s3.get_bucket_encryption(**b)["ServerSideEncryptionConfiguration"]["Rules"][0]["BucketKeyEnabled"], True)
s3.delete_bucket_encryption(**b)
equal(code(s3.put_bucket_encryption, **b, ServerSideEncryptionConfiguration={"Rules": [
    {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}), "NotImplemented")
s3.put_bucket_ownership_controls(**b, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]})
equal(s3.get_bucket_ownership_controls(**b)["OwnershipControls"]["Rules"][0]["ObjectOwnership"], "BucketOwnerPreferred")
s3.delete_bucket_ownership_controls(**b)
equal(code(s3.get_bucket_ownership_controls, **b), "OwnershipControlsNotFoundError")
block = dict(BlockPublicAcls=True, IgnorePublicAcls=False, BlockPublicPolicy=True, RestrictPublicBuckets=False)
s3.put_public_access_block(**b, PublicAccessBlockConfiguration=block)
equal(s3.get_public_access_block(**b)["PublicAccessBlockConfiguration"], block)
s3.delete_public_access_block(**b)
equal(code(s3.get_public_access_block, **b), "NoSuchPublicAccessBlockConfiguration")
equal(code(s3.get_bucket_lifecycle_configuration, **b), "NoSuchLifecycleConfiguration")
rules = [{"ID": "r", "Status": "Enabled", "Filter": {"And": {"Prefix": "p/", "Tags": [{"Key": "k", "Value": "v"}]}},
          "Expiration": {"Days": 3}},
         {"ID": "abort", "Status": "Disabled", "Filter": {"Prefix": ""},
          "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}]
s3.put_bucket_lifecycle_configuration(**b, LifecycleConfiguration={"Rules": rules})
equal(s3.get_bucket_lifecycle_configuration(**b)["Rules"], rules)
s3.delete_bucket_lifecycle(**b)
equal(code(s3.get_bucket_tagging, **b), "NoSuchTagSet")
s3.put_bucket_tagging(**b, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
equal(s3.get_bucket_tagging(**b)["TagSet"], [{"Key": "k", "Value": "v"}])
s3.delete_bucket_tagging(**b)
equal(s3.get_bucket_versioning(**b).get("Status"), None)
for read, absent in ((s3.get_bucket_policy, "NoSuchBucketPolicy"), (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
                     (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
                     (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
                     (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError")):
    equal(code(read, **b), absent)
equal(s3.get_bucket_request_payment(**b)["Payer"], "BucketOwner")
for read in (s3.get_bucket_logging, s3.get_bucket_notification_configuration, s3.get_bucket_accelerate_configuration):
    read(**b)
equal(code(s3.put_bucket_policy, **b, Policy="{}"), "NotImplemented")
equal(code(s3.put_bucket_versioning, **b, VersioningConfiguration={"Status": "Enabled"}), "NotImplemented")
equal(code(s3.put_object, **o, Body=b"", ServerSideEncryption="aws:kms"), "NotImplemented")
equal(code(s3.select_object_content, **o, Expression="x", ExpressionType="SQL", InputSerialization={},
           OutputSerialization={}), "NotImplemented")

# Listings.
versions = s3.list_object_versions(**b, Prefix="dir/")["Versions"]
equal([(v["Key"], v["VersionId"], v["IsLatest"]) for v in versions], [("dir/k", "null", True)])
equal({x["Key"] for x in s3.list_objects_v2(**b, FetchOwner=True)["Contents"]}, {"big", "copy", "dir/k", "plain"})
equal([p["Prefix"] for p in s3.list_objects(**b, Delimiter="/")["CommonPrefixes"]], ["dir/"])
equal("api-bucket" in [x["Name"] for x in s3.list_buckets()["Buckets"]], True)
gone = s3.delete_objects(**b, Delete={"Objects": [{"Key": k} for k in ("big", "copy", "dir/k", "plain")]})
equal(len(gone["Deleted"]), 4)
equal(code(s3.head_bucket, Bucket="no-such-bucket"), "404")
s3.delete_bucket(**b)
"""

END = r"""
assert not unknown, f"elements without a member: {sorted(unknown)}"
print(len(operations), "operations")
"""


class Api(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="api-")
        cls.addClassCleanup(folder.cleanup)
        cls.environment = {**os.environ, "VMFERRY_STATE": str(pathlib.Path(folder.name) / "state")}
        cls.addClassCleanup(subprocess.run, [harness.VMFERRY, "region", "stop"], env=cls.environment,
                            capture_output=True)
        subprocess.run([harness.VMFERRY, "region", "start", "--port", "0"], env=cls.environment, check=True,
                       capture_output=True)
        info = json.loads((pathlib.Path(folder.name) / "state" / "region" / "region.json").read_text())
        region = pathlib.Path(folder.name) / "state" / "region"
        cls.environment.update(AWS_CONFIG_FILE=str(region / "aws-config"), AWS_PROFILE=info["profile"],
                               AWS_SHARED_CREDENTIALS_FILE=str(region / "aws-credentials"),
                               AWS_ENDPOINT_URL=info["endpoint"], AWS_CA_BUNDLE=info["ca_bundle"])

    def boto3(self, program, at_least):
        done = subprocess.run([PYTHON, "-c", COMMON + program + END], env=self.environment, capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertGreaterEqual(int(done.stdout.split()[0]), at_least)

    def test_iam_and_sts(self):
        self.boto3(IAM_STS, 16)

    def test_s3(self):
        self.boto3(S3, 48)

    def test_s3_over_tls(self):
        secure = self.environment["AWS_ENDPOINT_URL"].replace("http:", "https:")
        self.boto3(f"import os\nat['endpoint_url'] = {secure!r}\ns3 = client('s3')\n" + S3, 48)


if __name__ == "__main__":
    harness.main(__file__)
