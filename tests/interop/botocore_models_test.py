#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Every operation that the region carries out is called by Debian's boto3, and its raw answer is held against botocore's
# model: no unknown element, every value of its type, every required member. The region itself lists its operations: one
# that is new here needs an example below, unless it can be called without parameters.
#
# labels: interop
# timeout: 240
# lock: guest
import base64
import contextlib
import datetime
import hashlib
import json
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import boto
import harness
import model_check

BLOCK = harness.BLOCK

# Operations without an example, and why.
EXCEPTIONS = {
    ("ec2", "VmferryCorruptVolume"): "not AWS: no model knows it",
    **{("s3", name): "answers the error that there is none: they are not modelled" for name in (
        "GetBucketPolicy", "GetBucketPolicyStatus", "GetBucketCors", "GetBucketReplication", "GetBucketWebsite",
        "GetObjectLockConfiguration")},
    **{("s3", name): "refused: buckets have no ACLs" for name in ("PutBucketAcl", "PutObjectAcl")},
}

# Members of AWS that are younger than Debian's botocore.
YOUNGER = {
    "ebs": r"\.SseType$",
    "ec2": r"\.(completionTime|fullSnapshotSizeInBytes|sseType|currentInstanceBootMode)$",
    "s3": r"(\.ChecksumType|header x-amz-(checksum-type|bucket-arn|transition-default-minimum-object-size|"
          r"checksum-crc64nvme)|'CRC64NVME' is none of .*)$",
}

# Members that aws-reference.md names for these operations: they have to be there.
NAMED_MEMBERS = {
    ("ebs", "StartSnapshot"): {"SnapshotId", "OwnerId", "Status", "StartTime", "VolumeSize", "BlockSize"},
    ("ebs", "PutSnapshotBlock"): {"Checksum", "ChecksumAlgorithm"},
    ("ebs", "CompleteSnapshot"): {"Status"},
    ("ebs", "ListSnapshotBlocks"): {"Blocks", "ExpiryTime", "VolumeSize", "BlockSize"},
    ("ebs", "ListChangedBlocks"): {"ChangedBlocks", "ExpiryTime", "VolumeSize", "BlockSize"},
    ("ebs", "GetSnapshotBlock"): {"DataLength", "BlockData", "Checksum", "ChecksumAlgorithm"},
    ("ec2", "ImportInstance"): {"ConversionTask"},
    ("ec2", "ImportVolume"): {"ConversionTask"},
    ("ec2", "ImportImage"): {"ImportTaskId", "Status", "StatusMessage", "Progress", "SnapshotDetails"},
    ("ec2", "ImportSnapshot"): {"ImportTaskId", "SnapshotTaskDetail"},
    ("ec2", "CreateVolume"): {"VolumeId", "Size", "State", "CreateTime", "AvailabilityZone"},
    ("ec2", "CreateSnapshot"): {"SnapshotId", "VolumeId", "State", "StartTime", "VolumeSize", "OwnerId"},
    ("ec2", "RunInstances"): {"Instances", "OwnerId", "ReservationId"},
    ("ec2", "RegisterImage"): {"ImageId"},
    ("sts", "GetCallerIdentity"): {"Arn", "UserId", "Account"},
    ("sts", "AssumeRole"): {"Credentials", "AssumedRoleUser"},
    ("iam", "CreateRole"): {"Role"},
    ("s3", "PutObject"): {"ETag"},
    ("s3", "GetObject"): {"ETag", "Body", "ContentLength", "LastModified"},
    ("s3", "CompleteMultipartUpload"): {"ETag", "Bucket", "Key", "Location"},
}

TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"Service": "vmie.amazonaws.com"}, "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}}}]})
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"], "Resource": "*"},
    {"Effect": "Allow", "Action": ["ec2:ModifySnapshotAttribute", "ec2:CopySnapshot", "ec2:RegisterImage",
                                   "ec2:Describe*"], "Resource": "*"}]})
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPp9UmuJLgwFtLkVQ0H0SaDZ1jxJ7KsIhL0J0bVtE2v test"


class Journey:
    """Calls that build on each other. A step whose operation the region does not carry out is left out."""

    def __init__(self, lab, operations, findings, answered):
        self.lab, self.operations = lab, operations
        self.clients, self.answered = {}, answered
        for service in operations:
            self.clients[service] = boto.client(lab.region_folder, service)
            answered[service] = set()
            model_check.watch(self.clients[service], findings[service], answered[service])
        self.s3, self.ec2, self.ebs, self.sts, self.iam = (self.clients.get(name) for name in
                                                           ("s3", "ec2", "ebs", "sts", "iam"))
        self.names = {service: {client.meta.method_to_api_mapping[method]: method
                                for method in client.meta.method_to_api_mapping}
                      for service, client in self.clients.items()}
        self.failures = []

    def has(self, service, *operations):
        return all(operation in self.operations.get(service, ()) for operation in operations)

    def call(self, service, operation, **parameters):
        """The answer, or {} when the region has no such operation or refuses the example."""
        if not self.has(service, operation):
            return {}
        try:
            return getattr(self.clients[service], self.names[service][operation])(**parameters)
        except boto.botocore.exceptions.ClientError as error:
            self.failures.append(f"{service} {operation}: {error}")
        except boto.botocore.exceptions.ParamValidationError as error:
            self.failures.append(f"{service} {operation}: {error}")
        return {}

    def wait(self, ready, seconds=120):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = ready()
            if found:
                return found
            time.sleep(0.2)
        return None

    # --- S3

    def walk_s3(self):
        call = lambda operation, **parameters: self.call("s3", operation, Bucket="models-test", **parameters)
        call("CreateBucket")
        call("HeadBucket")
        call("PutBucketTagging", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        call("PutBucketOwnershipControls", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
        call("PutPublicAccessBlock", PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True})
        call("PutBucketEncryption", ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]})
        for name in ("PutBucketLifecycleConfiguration", "PutBucketLifecycle"):
            if name == "PutBucketLifecycle" and self.has("s3", "PutBucketLifecycleConfiguration"):
                continue
            call(name, LifecycleConfiguration={"Rules": [{
                "ID": "old", "Status": "Enabled", "Filter": {"Prefix": "parts/"}, "Expiration": {"Days": 7},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}]})
        call("PutObject", Key="a key/ü", Body=b"content", ChecksumAlgorithm="CRC32C", Metadata={"x": "y"},
             ContentType="text/plain")
        call("PutObject", Key="b", Body=b"content")
        call("PutObjectTagging", Key="b", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        call("GetObjectTagging", Key="b")
        call("GetObjectAcl", Key="b")
        call("ListObjectVersions")
        call("GetObject", Key="a key/ü", Range="bytes=1-3").get("Body", contextlib.nullcontext()).__enter__()
        call("HeadObject", Key="a key/ü", ChecksumMode="ENABLED")
        call("GetObjectAttributes", Key="a key/ü", ObjectAttributes=["ETag", "Checksum", "ObjectParts", "ObjectSize",
                                                                     "StorageClass"])
        call("CopyObject", Key="c", CopySource={"Bucket": "models-test", "Key": "a key/ü"})
        call("ListObjects", Delimiter="/", MaxKeys=1)
        call("ListObjectsV2", Delimiter="/", EncodingType="url", FetchOwner=True)
        parts = []
        upload = call("CreateMultipartUpload", Key="m", ChecksumAlgorithm="SHA256").get("UploadId", "")
        sums = []
        for number, body in ((1, b"x" * (5 << 20)), (2, b"end")):
            sums.append(base64.b64encode(hashlib.sha256(body).digest()).decode())
            part = call("UploadPart", Key="m", UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
            parts.append({"PartNumber": number, "ETag": part.get("ETag", ""), "ChecksumSHA256": sums[-1]})
        call("ListMultipartUploads")
        call("ListParts", Key="m", UploadId=upload)
        call("CompleteMultipartUpload", Key="m", UploadId=upload, MultipartUpload={"Parts": parts})
        other = call("CreateMultipartUpload", Key="n").get("UploadId", "")
        call("UploadPartCopy", Key="n", UploadId=other, PartNumber=1, CopySource={"Bucket": "models-test", "Key": "m"})
        call("AbortMultipartUpload", Key="n", UploadId=other)
        for operation in sorted(self.operations["s3"]):
            if operation.startswith("GetBucket") or operation == "GetPublicAccessBlock":
                if ("s3", operation) not in EXCEPTIONS:
                    call(operation)
        call("DeleteObjectTagging", Key="b")
        call("DeleteObject", Key="b")
        call("DeleteObjects", Delete={"Objects": [{"Key": "c"}, {"Key": "none"}]})
        self.call("s3", "ListBuckets")
        for operation in sorted(self.operations["s3"]):
            if operation.startswith(("DeleteBucket", "DeletePublicAccessBlock")) and operation != "DeleteBucket":
                call(operation)
        self.call("s3", "CreateBucket", Bucket="models-test-2")
        self.call("s3", "DeleteBucket", Bucket="models-test-2")

    # --- IAM, STS

    def walk_iam(self):
        call = lambda operation, **parameters: self.call("iam", operation, **parameters)
        call("CreateRole", RoleName="vmimport", AssumeRolePolicyDocument=TRUST, Description="for imports")
        call("GetRole", RoleName="vmimport")
        call("UpdateAssumeRolePolicy", RoleName="vmimport", PolicyDocument=TRUST)
        call("PutRolePolicy", RoleName="vmimport", PolicyName="vmimport", PolicyDocument=POLICY)
        call("GetRolePolicy", RoleName="vmimport", PolicyName="vmimport")
        for name in ("ListRolePolicies", "ListAttachedRolePolicies", "ListInstanceProfilesForRole"):
            call(name, RoleName="vmimport")
        account = self.call("sts", "GetCallerIdentity").get("Account", "")
        call("CreateRole", RoleName="person", AssumeRolePolicyDocument=TRUST.replace(
            '{"Service": "vmie.amazonaws.com"}', '{"AWS": "arn:aws:iam::%s:root"}' % account).replace(
            ', "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}}', ""))
        self.call("sts", "AssumeRole", RoleArn=f"arn:aws:iam::{account}:role/person", RoleSessionName="models")
        self.call("sts", "GetSessionToken")

    def end_iam(self):
        self.call("iam", "DeleteRolePolicy", RoleName="vmimport", PolicyName="vmimport")
        self.call("iam", "DeleteRole", RoleName="vmimport")

    # --- EBS direct

    def walk_ebs(self):
        call = lambda operation, **parameters: self.call("ebs", operation, **parameters)
        data = bytes([1]) * BLOCK
        sum_of = base64.b64encode(hashlib.sha256(data).digest()).decode()
        parent = None
        for _ in range(2):
            more = {"ParentSnapshotId": parent} if parent else {"Encrypted": False}
            snapshot = call("StartSnapshot", VolumeSize=1, Description="models", Tags=[{"Key": "a", "Value": "b"}],
                            **more)["SnapshotId"]
            call("PutSnapshotBlock", SnapshotId=snapshot, BlockIndex=3 if parent else 0, BlockData=data,
                 DataLength=BLOCK, Checksum=sum_of, ChecksumAlgorithm="SHA256", Progress=10)
            call("CompleteSnapshot", SnapshotId=snapshot, ChangedBlocksCount=1)
            self.wait(lambda: self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] != "pending")
            if not parent:
                blocks = call("ListSnapshotBlocks", SnapshotId=snapshot)["Blocks"]
                call("GetSnapshotBlock", SnapshotId=snapshot, BlockIndex=0, BlockToken=blocks[0]["BlockToken"])
                parent = snapshot
        call("ListChangedBlocks", FirstSnapshotId=parent, SecondSnapshotId=snapshot)
        return parent

    # --- EC2

    def walk_ec2(self, snapshot):
        call = lambda operation, **parameters: self.call("ec2", operation, **parameters)
        zone = call("DescribeAvailabilityZones")["AvailabilityZones"][0]["ZoneName"]
        call("EnableEbsEncryptionByDefault")
        call("GetEbsEncryptionByDefault")
        call("DisableEbsEncryptionByDefault")
        call("ImportKeyPair", KeyName="models", PublicKeyMaterial=ED25519.encode())
        call("DescribeKeyPairs")

        # volumes and snapshots
        volume = call("CreateVolume", AvailabilityZone=zone, SnapshotId=snapshot, VolumeType="gp3",
                      TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]}])
        volume = volume.get("VolumeId")
        if volume:
            self.wait(lambda: self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available")
            made = call("CreateSnapshot", VolumeId=volume, Description="models").get("SnapshotId")
            self.wait(lambda: self.ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"] != "pending")
            call("CreateTags", Resources=[made], Tags=[{"Key": "a", "Value": "b"}])
            call("DescribeTags")
            call("DeleteTags", Resources=[made], Tags=[{"Key": "a"}])
            call("DescribeSnapshots", OwnerIds=["self"])
            call("DeleteSnapshot", SnapshotId=made)
        else:
            call("CreateTags", Resources=[snapshot], Tags=[{"Key": "a", "Value": "b"}])
        call("DescribeVolumes")

        # machine images and instances
        image = call("RegisterImage", Name="models", Architecture="x86_64", RootDeviceName="/dev/sda1",
                     VirtualizationType="hvm", EnaSupport=True, BlockDeviceMappings=[
                         {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot, "DeleteOnTermination": True}}],
                     ).get("ImageId")
        call("DescribeImages", Owners=["self"])
        instance = None
        if image:
            instance = (call("RunInstances", ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro").get(
                "Instances") or [{}])[0].get("InstanceId")
        imported, task = self.import_instance()
        instance = instance or imported
        if not volume:
            (own,) = self.ec2.describe_instances(InstanceIds=[imported])["Reservations"][0]["Instances"][0][
                "BlockDeviceMappings"]
            made = call("CreateSnapshot", VolumeId=own["Ebs"]["VolumeId"], Description="models")["SnapshotId"]
            self.wait(lambda: self.ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"] != "pending")
            call("DeleteSnapshot", SnapshotId=made)
            call("StartInstances", InstanceIds=[instance])
        if instance:
            self.wait(lambda: self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
                      ["State"]["Name"] != "pending")
            call("DescribeInstances")
            call("DescribeInstanceStatus", IncludeAllInstances=True)
            self.wait(lambda: self.call("ec2", "GetConsoleOutput", InstanceId=instance), 10)
            call("RebootInstances", InstanceIds=[instance])
            for attribute in ("instanceType", "disableApiTermination", "rootDeviceName", "blockDeviceMapping",
                              "instanceInitiatedShutdownBehavior", "userData"):
                if not self.has("ec2", "DescribeInstanceAttribute"):
                    break
                with contextlib.suppress(boto.botocore.exceptions.ClientError):
                    self.ec2.describe_instance_attribute(InstanceId=instance, Attribute=attribute)
            if self.has("ec2", "GetConsoleScreenshot"):
                call("GetConsoleScreenshot", InstanceId=instance)
            if volume:
                call("AttachVolume", VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
            call("StopInstances", InstanceIds=[instance], Force=True)
            self.wait(lambda: self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
                      ["State"]["Name"] == "stopped")
            call("ModifyInstanceAttribute", InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "stop"})
            if volume:
                call("DetachVolume", VolumeId=volume)
                self.wait(lambda: self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available")
            call("StartInstances", InstanceIds=[instance])
            call("TerminateInstances", InstanceIds=[instance])
            self.wait(lambda: self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
                      ["State"]["Name"] == "terminated")
        if volume:
            call("DeleteVolume", VolumeId=volume)
        if image:
            call("DeregisterImage", ImageId=image)
        if instance != imported:
            call("TerminateInstances", InstanceIds=[imported])
        self.import_others(zone)
        call("DeleteKeyPair", KeyName="models")

    def manifest(self, name):
        """URL of a manifest that is not there: the task waits for it."""
        return self.url("get_object", f"{name}manifest.xml")

    def url(self, method, key):
        return self.s3.generate_presigned_url(method, {"Bucket": "models-test", "Key": key})

    def import_instance(self):
        """(instance, task) of an import that went through: a raw disk of 1 MiB."""
        size = 1 << 20
        self.s3.put_object(Bucket="models-test", Key="ipart0", Body=bytes(size))
        escaped = {name: self.url(f"{name}_object", "ipart0").replace("&", "&amp;") for name in ("get", "head", "delete")}
        self.s3.put_object(Bucket="models-test", Key="imanifest.xml", Body=f"""<manifest><version>2010-11-15</version>
            <file-format>RAW</file-format><importer><name>models</name><version>1</version><release>1</release></importer>
            <self-destruct-url>{self.url("delete_object", "imanifest.xml").replace("&", "&amp;")}</self-destruct-url>
            <import><size>{size}</size><volume-size>1</volume-size><parts count="1"><part index="0">
            <byte-range end="{size - 1}" start="0"/><key>ipart0</key><head-url>{escaped["head"]}</head-url>
            <get-url>{escaped["get"]}</get-url><delete-url>{escaped["delete"]}</delete-url>
            </part></parts></import></manifest>""".encode())
        answer = self.call("ec2", "ImportInstance", Platform="Linux", LaunchSpecification={
            "Architecture": "x86_64", "InstanceType": "t3.micro"}, DiskImages=[{
                "Image": {"Format": "RAW", "Bytes": 1 << 20, "ImportManifestUrl": self.manifest("i")},
                "Volume": {"Size": 1}, "Description": "disk"}], Description="models")
        task = answer["ConversionTask"]["ConversionTaskId"]
        instance = answer["ConversionTask"]["ImportInstance"]["InstanceId"]
        look = lambda: self.call("ec2", "DescribeConversionTasks", ConversionTaskIds=[task])["ConversionTasks"][0]
        if not self.wait(lambda: look()["State"] in ("completed", "cancelled")) or look()["State"] != "completed":
            self.failures.append(f"the import ended as {look()}")
        return instance, task

    def import_others(self, zone):
        call = lambda operation, **parameters: self.call("ec2", operation, **parameters)
        task = call("ImportVolume", AvailabilityZone=zone, Description="models", Volume={"Size": 1}, Image={
            "Format": "RAW", "Bytes": 1 << 20, "ImportManifestUrl": self.manifest("v")})
        if task:
            call("DescribeConversionTasks")
            call("CancelConversionTask", ConversionTaskId=task["ConversionTask"]["ConversionTaskId"])
        self.s3.put_object(Bucket="models-test", Key="disk.raw", Body=bytes(1 << 20))
        where = {"Format": "RAW", "UserBucket": {"S3Bucket": "models-test", "S3Key": "disk.raw"}}
        snapshot = call("ImportSnapshot", Description="models", DiskContainer=where).get("ImportTaskId")
        image = call("ImportImage", Description="models", DiskContainers=[where]).get("ImportTaskId")
        if image:
            call("CancelImportTask", ImportTaskId=image)
        call("DescribeImportSnapshotTasks")
        call("DescribeImportImageTasks")
        if snapshot:
            self.wait(lambda: self.ec2.describe_import_snapshot_tasks(ImportTaskIds=[snapshot])["ImportSnapshotTasks"]
                      [0]["SnapshotTaskDetail"]["Status"] in ("completed", "deleted"))
        call("DescribeImportImageTasks")


class BotocoreModels(harness.TestCase):
    def test_answers_are_those_of_the_models(self):
        with harness.Lab() as lab:
            lab.start_region(None, "--port", 0)
            listed = json.loads(lab.aws().request(
                "vmferry", "POST", "/", body=json.dumps({"action": "Operations", "parameters": {}}).encode()))
            operations = {service: set(names) for service, names in listed.items()}
            for service in ("s3", "ec2", "ebs", "sts", "iam"):
                self.assertTrue(operations.get(service), f"the region lists no operations of {service}")
            findings = {service: model_check.Findings() for service in operations}
            answered = {}
            journey = Journey(lab, operations, findings, answered)
            journey.walk_iam()
            journey.walk_s3()
            journey.walk_ec2(journey.walk_ebs())
            journey.end_iam()
            self.call_the_rest(journey)

            failures = list(journey.failures)
            for service, names in operations.items():
                failures += [f"{service}: {failure}" for failure in sorted(set(findings[service].failures()))
                             if not re.search(YOUNGER.get(service, "$^"), failure)]
                for operation in sorted(names - answered[service]):
                    if operation == "DeleteVolume" and "CreateVolume" not in names:
                        continue  # nothing here makes a volume that it could delete
                    if (service, operation) not in EXCEPTIONS:
                        failures.append(f"{service} {operation}: no example was answered; add one to this test")
                for operation in sorted(names & answered[service]):
                    sent = findings[service].sent.get(operation, set())
                    for member in sorted(NAMED_MEMBERS.get((service, operation), set()) - sent):
                        failures.append(f"{service} {operation}: {member} is not sent")
            for service in sorted(answered):
                print(f"{service}: {len(answered[service])} of {len(operations[service])} operations compared")
            self.assertEqual(failures, [], "\n" + "\n".join(failures))

    @staticmethod
    def call_the_rest(journey):
        """What has no example and needs no parameters."""
        for service, names in journey.operations.items():
            model = journey.clients[service].meta.service_model
            for operation in sorted(names - journey.answered[service]):
                if operation not in journey.names[service] or (service, operation) in EXCEPTIONS:
                    continue
                shape = model.operation_model(operation).input_shape
                if shape is None or not shape.required_members:
                    journey.call(service, operation)


if __name__ == "__main__":
    harness.main(__file__)
