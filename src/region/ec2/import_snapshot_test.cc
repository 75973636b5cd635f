// SPDX-License-Identifier: Apache-2.0
//
// ImportSnapshot through the service's own Handle, with disks that qemu-img wrote.
#include "testing/region_journey.h"

namespace vmferry::region::ec2 {
namespace {

using Parameters = std::map<std::string, std::string>;

class ImportSnapshotCall : public Journey {
 protected:
  void SetUp() override {
    Journey::SetUp();
    MakeRole();
  }
  static Parameters Request(const std::string& format) {
    return {{"Action", "ImportSnapshot"},
            {"Version", "2016-11-15"},
            {"Description", "a disk"},
            {"DiskContainer.Description", "its root"},
            {"DiskContainer.Format", format},
            {"DiskContainer.UserBucket.S3Bucket", "b"},
            {"DiskContainer.UserBucket.S3Key", "some/disk"}};
  }
  XmlElement Described(const std::string& task) {
    return *Ok({{"Action", "DescribeImportSnapshotTasks"}, {"ImportTaskId.1", task}})
                .FindPath("importSnapshotTaskSet/item");
  }
  // The task's snapshotTaskDetail once it has ended.
  XmlElement Ended(const std::string& task) {
    for (int i = 0; i < 1200; ++i) {
      const std::string status = Described(task).TextAt("snapshotTaskDetail/status");
      if (status == "completed" || status == "deleted") break;
      clock_.SleepFor(milliseconds(25), {});
    }
    return *Described(task).Find("snapshotTaskDetail");
  }
  XmlElement Run(const Parameters& request) { return Ended(Ok(request).TextAt("importTaskId")); }
  // The disk as qemu-img writes it in the format.
  std::string Written(const std::string& disk, const std::string& format,
                      const std::string& options = "") {
    EXPECT_TRUE(sys::WriteWholeFile(dir_ / "d.raw", disk));
    std::vector<std::string> arguments = {"convert", "-f", "raw", "-O", format};
    if (!options.empty()) arguments.insert(arguments.end(), {"-o", options});
    arguments.insert(arguments.end(), {dir_ / "d.raw", dir_ / "d.out"});
    QemuImg(arguments);
    return sys::ReadWholeFile(dir_ / "d.out", kGiB).value();
  }
};

TEST_F(ImportSnapshotCall, EveryFormatArrivesAsItLeft) {
  const std::string disk = SmallDisk();
  std::string expected = disk;
  expected.resize(kReadBackBytes, '\0');
  const std::vector<std::pair<std::string, std::string>> uploads = {
      {"RAW", disk},
      {"VMDK", Written(disk, "vmdk", "subformat=streamOptimized")},
      {"VHD", Written(disk, "vpc", "subformat=dynamic,force_size=on")},
      {"vhd", Written(disk, "vpc", "subformat=fixed,force_size=on")},
      {"VHDX", Written(disk, "vhdx")}};
  for (const auto& [format, content] : uploads) {
    s3_.Put("/b/some/disk", content);
    const XmlElement begun = Ok(Request(format));
    const std::string task = begun.TextAt("importTaskId");
    EXPECT_TRUE(task.starts_with("import-snap-0")) << task;
    EXPECT_EQ(begun.TextAt("snapshotTaskDetail/status"), "active");
    EXPECT_EQ(begun.TextAt("snapshotTaskDetail/statusMessage"), "pending");
    EXPECT_EQ(begun.TextAt("snapshotTaskDetail/diskImageSize"), "0.0");
    const XmlElement done = Ended(task);
    ASSERT_EQ(done.TextAt("status"), "completed") << format << done.TextAt("statusMessage");
    EXPECT_EQ(done.Find("statusMessage"), nullptr);
    EXPECT_EQ(done.Find("progress"), nullptr);
    EXPECT_EQ(done.TextAt("diskImageSize"), std::to_string(content.size()) + ".0");
    EXPECT_EQ(done.TextAt("userBucket/s3Key"), "some/disk");
    const std::string snapshot = done.TextAt("snapshotId");
    const XmlElement described = *Ok({{"Action", "DescribeSnapshots"}, {"SnapshotId.1", snapshot}})
                                      .FindPath("snapshotSet/item");
    EXPECT_EQ(described.TextAt("status"), "completed");
    EXPECT_EQ(described.TextAt("volumeSize"), "1");
    EXPECT_EQ(described.TextAt("description"), "Created by AWS-VMImport service for " + task);
    EXPECT_TRUE(ReadBack(snapshot, 1) == expected) << format;
    Ok({{"Action", "DeleteSnapshot"}, {"SnapshotId", snapshot}});
  }
  ExpectNothingLeft();
}

TEST_F(ImportSnapshotCall, UnwrittenBlocksAreNotListed) {
  std::string disk(3 << 20, '\0');
  disk[2 << 20] = 'x';
  s3_.Put("/b/some/disk", disk);
  const std::string snapshot = Run(Request("RAW")).TextAt("snapshotId");
  const Answer listing = Ebs("/snapshots/" + snapshot + "/blocks", {{"maxResults", "100"}});
  const text::Json body = text::Json::Parse(listing.body).value();
  ASSERT_EQ(body["Blocks"].Items().size(), 1U) << listing.body;
  EXPECT_EQ(body["Blocks"].Items()[0]["BlockIndex"].AsUint(), 4U);
}

TEST_F(ImportSnapshotCall, WithoutItsRoleItIsRefusedAsAwsDoes) {
  Parameters request = Request("RAW");
  request["RoleName"] = "other";
  EXPECT_EQ(Refused(request),
            "InvalidParameter: The service role other provided does not exist or does not have "
            "sufficient permissions");
  MakeRole("other");
  s3_.Put("/b/some/disk", SmallDisk());
  EXPECT_EQ(Run(request).TextAt("status"), "completed");
  // The role has been given bucket b and no other.
  request["DiskContainer.UserBucket.S3Bucket"] = "elsewhere";
  EXPECT_EQ(Run(request).TextAt("statusMessage"),
            "ClientError: Disk validation failed [We do not have access to the given resource. "
            "Reason 403 Forbidden]");
}

TEST_F(ImportSnapshotCall, BadUploadsEndDeletedWithAwsWords) {
  const std::string disk = SmallDisk();
  std::string vmdk = Written(disk, "vmdk", "subformat=streamOptimized");
  for (std::size_t i = 0x10000 + 12; i < 0x10000 + 60; ++i) vmdk[i] = '\x55';
  std::string vhd = Written(disk, "vpc", "subformat=dynamic,force_size=on");
  vhd[vhd.size() - 512 + 63] = 4;  // differencing
  std::string vhdx = Written(disk, "vhdx");
  const std::string parameters("\x37\x67\xa1\xca\x36\xfa\x43\x4d", 8);
  const std::size_t at = vhdx.find(parameters);
  ASSERT_NE(at, vhdx.npos);
  std::string parent = vhdx;
  parent.replace(at, 8, "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45", 8);
  parent.replace(at + 8, 8, "\xab\xf7\xd3\xd8\x48\x34\xab\x0c", 8);
  const std::string failed = "ClientError: Disk validation failed ";
  const std::tuple<std::string, std::string, std::string> cases[] = {
      {"VMDK", vmdk, "ClientError: Uncompressed data has an invalid length"},
      {"VMDK", disk, failed + "[Unsupported VMDK File Format]"},
      {"VMDK", Written(disk, "vmdk", "subformat=monolithicFlat"),
       failed + "[Unsupported VMDK File Format]"},
      {"VHD", vhd, "ClientError: Footers not identical"},
      {"VHD", disk, failed + "[Unsupported VHD File Format]"},
      {"VHDX", parent, failed + "[Unsupported VHDX File Format]"},
      {"VHDX", disk, failed + "[Unsupported VHDX File Format]"},
      {"VHDX", vhdx.substr(0, 4 << 20), failed + "[Unsupported specified file format]"}};
  for (const auto& [format, content, message] : cases) {
    s3_.Put("/b/some/disk", content);
    const XmlElement done = Run(Request(format));
    EXPECT_EQ(done.TextAt("status"), "deleted");
    EXPECT_EQ(done.TextAt("statusMessage"), message) << format;
  }
  Parameters missing = Request("RAW");
  missing["DiskContainer.UserBucket.S3Key"] = "nothing";
  EXPECT_EQ(Run(missing).TextAt("statusMessage"),
            failed + "[We do not have access to the given resource. Reason 404 Not Found]");
  ExpectNothingLeft();
}

TEST_F(ImportSnapshotCall, UrlsOfThisRegionAreFollowedAndNoOthers) {
  s3_.Put("/b/some/disk", SmallDisk());
  for (const char* url : {"s3://b/some/disk", "http://127.0.0.1:4500/b/some/disk",
                          "http://127.0.0.1:4500/b/some/disk?X-Amz-Algorithm=x&X-Amz-Signature=y",
                          "https://s3.us-east-1.amazonaws.com/b/some/disk"}) {
    const XmlElement done = Run({{"Action", "ImportSnapshot"},
                                 {"DiskContainer.Format", "RAW"},
                                 {"DiskContainer.Url", url}});
    EXPECT_EQ(done.TextAt("status"), "completed") << url << done.TextAt("statusMessage");
    EXPECT_EQ(done.TextAt("url"), url);
  }
  const int before = s3_.requests;
  for (const char* url : {"http://169.254.169.254/latest/meta-data", "http://example.com/b/k",
                          "file:///etc/passwd", "s3://b", "x"}) {
    EXPECT_EQ(Refused({{"Action", "ImportSnapshot"},
                       {"DiskContainer.Format", "RAW"},
                       {"DiskContainer.Url", url}}),
              "InvalidParameter: Invalid S3 source location");
  }
  const XmlElement done = Run({{"Action", "ImportSnapshot"},
                               {"DiskContainer.Format", "RAW"},
                               {"DiskContainer.Url", "http://example.com/b/k?X-Amz-Signature=y"}});
  EXPECT_EQ(done.TextAt("status"), "deleted");
  EXPECT_EQ(s3_.requests, before);
}

TEST_F(ImportSnapshotCall, ClientTokenMakesItHappenOnce) {
  s3_.Put("/b/some/disk", SmallDisk());
  Parameters request = Request("RAW");
  request["ClientToken"] = "t";
  request["TagSpecification.1.ResourceType"] = "import-snapshot-task";
  request["TagSpecification.1.Tag.1.Key"] = "why";
  request["TagSpecification.1.Tag.1.Value"] = "test";
  const std::string task = Ok(request).TextAt("importTaskId");
  EXPECT_EQ(Ok(request).TextAt("importTaskId"), task);
  EXPECT_EQ(Ended(task).TextAt("status"), "completed");
  EXPECT_EQ(Ok(request).TextAt("importTaskId"), task);
  EXPECT_EQ(Described(task).TextAt("tagSet/item/value"), "test");
  request["Description"] = "another disk";
  EXPECT_TRUE(Refused(request).starts_with("IdempotentParameterMismatch: "));
  const XmlElement found = Ok({{"Action", "DescribeImportSnapshotTasks"},
                               {"Filters.1.Name", "tag:why"},
                               {"Filters.1.Value.1", "te*"},
                               {"Filters.2.Name", "task-state"},
                               {"Filters.2.Value.1", "completed"}});
  EXPECT_EQ(found.TextAt("importSnapshotTaskSet/item/importTaskId"), task);
  EXPECT_TRUE(
      Refused({{"Action", "DescribeImportSnapshotTasks"}, {"ImportTaskId.1", "import-ami-0"}})
          .starts_with("InvalidConversionTaskId.Malformed: "));
}

TEST_F(ImportSnapshotCall, CancelLeavesNothingAtAnyMoment) {
  s3_.Put("/b/some/disk", Written(SmallDisk(), "vmdk", "subformat=streamOptimized"));
  for (int delay_ms = 0; delay_ms < 300; delay_ms += 30) {
    const std::string task = Ok(Request("VMDK")).TextAt("importTaskId");
    clock_.SleepFor(milliseconds(delay_ms), {});
    const Answer answer = Call2({{"Action", "CancelImportTask"},
                                 {"ImportTaskId", task},
                                 {"CancelReason", "changed my mind"}});
    const XmlElement done = Ended(task);
    if (answer.status != 200) {
      EXPECT_NE(answer.body.find("IncorrectState"), std::string::npos) << answer.body;
      EXPECT_EQ(done.TextAt("status"), "completed");
      Ok({{"Action", "DeleteSnapshot"}, {"SnapshotId", done.TextAt("snapshotId")}});
      continue;
    }
    EXPECT_EQ(done.TextAt("status"), "deleted");
    EXPECT_EQ(done.TextAt("statusMessage"), "changed my mind");
  }
  ExpectNothingLeft();
}

TEST_F(ImportSnapshotCall, RestartBeginsTheStageAgain) {
  const std::string disk = SmallDisk();
  s3_.Put("/b/some/disk", Written(disk, "vmdk", "subformat=streamOptimized"));
  std::string expected = disk;
  expected.resize(kReadBackBytes, '\0');
  for (int delay_ms = 0; delay_ms < 240; delay_ms += 40) {
    const std::string task = Ok(Request("VMDK")).TextAt("importTaskId");
    clock_.SleepFor(milliseconds(delay_ms), {});
    Abandon();
    Open();
    const XmlElement done = Ended(task);
    ASSERT_EQ(done.TextAt("status"), "completed") << done.TextAt("statusMessage");
    EXPECT_TRUE(ReadBack(done.TextAt("snapshotId"), 1) == expected);
    Ok({{"Action", "DeleteSnapshot"}, {"SnapshotId", done.TextAt("snapshotId")}});
  }
  ExpectNothingLeft();
}

TEST_F(ImportSnapshotCall, AskedForFaultsFailTheStage) {
  s3_.Put("/b/some/disk", SmallDisk());
  for (const char* stage :
       {"import.download", "import.convert", "import.snapshot", "import.register"}) {
    ASSERT_TRUE(
        faults_->Add({.operation = stage, .kind = FaultKind::kFail, .message = "as asked"}));
    const XmlElement done = Run(Request("RAW"));
    EXPECT_EQ(done.TextAt("status"), "deleted");
    EXPECT_EQ(done.TextAt("statusMessage"), "ClientError: as asked");
  }
  ExpectNothingLeft();
}

}  // namespace
}  // namespace vmferry::region::ec2
