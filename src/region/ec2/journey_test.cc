// SPDX-License-Identifier: Apache-2.0
//
// The region's services without a network: disks are imported from a fake S3, made snapshots of
// and read back, all through the services' own Handle. qemu-img is real. The guest's part needs
// VMFERRY_TEST_TINY_GUEST (tools/make-guest --kind tiny).
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "http/client.h"
#include "region/ebs/service.h"
#include "region/ec2/filters.h"
#include "region/ec2/service.h"
#include "sys/process.h"
#include "testing/region_journey.h"
#include "text/json.h"

namespace vmferry::region::ec2 {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using text::XmlElement;

TEST_F(Journey, RawDiskArrivesAsItLeft) {
  const std::string disk = SmallDisk();
  const XmlElement imported = Import(Upload(disk, "RAW", 1), "RAW", 1);
  EXPECT_EQ(imported.TextAt("conversionTask/state"), "active");
  EXPECT_EQ(imported.TextAt("conversionTask/statusMessage"), "Pending");
  const std::string instance = imported.TextAt("conversionTask/importInstance/instanceId");
  EXPECT_TRUE(instance.starts_with("i-0"));
  const XmlElement done = Settled(TaskId(imported));
  ASSERT_EQ(done.TextAt("state"), "completed") << done.TextAt("statusMessage");
  EXPECT_EQ(done.TextAt("statusMessage"), "");
  const std::string volumes = "importInstance/volumes/item/";
  EXPECT_EQ(done.TextAt(volumes + "status"), "completed");
  EXPECT_EQ(done.TextAt(volumes + "bytesConverted"), std::to_string(disk.size()));
  const std::string volume = done.TextAt(volumes + "volume/id");
  EXPECT_TRUE(volume.starts_with("vol-0"));
  const XmlElement described = Ok({{"Action", "DescribeInstances"},
                                   {"Filter.1.Name", "block-device-mapping.volume-id"},
                                   {"Filter.1.Value.1", volume}});
  const XmlElement* item = described.FindPath("reservationSet/item/instancesSet/item");
  ASSERT_NE(item, nullptr);
  EXPECT_EQ(item->TextAt("instanceId"), instance);
  EXPECT_EQ(item->TextAt("instanceState/name"), "stopped");

  std::string expected = disk;
  expected.resize(kReadBackBytes, '\0');
  const std::string snapshot = Snapshot(volume);
  EXPECT_TRUE(ReadBack(snapshot, 1) == expected);
  Ok({{"Action", "DeleteSnapshot"}, {"SnapshotId", snapshot}});
  EXPECT_TRUE(Refused({{"Action", "DeleteSnapshot"}, {"SnapshotId", snapshot}})
                  .starts_with("InvalidSnapshot.NotFound"));
  Ok({{"Action", "TerminateInstances"}, {"InstanceId.1", instance}});
  for (int i = 0; i < 100 && disks_->FindVolume(volume); ++i) clock_.SleepFor(milliseconds(50), {});
  EXPECT_TRUE(Ok({{"Action", "DescribeVolumes"}}).FindPath("volumeSet/item") == nullptr);
}

TEST_F(Journey, StreamOptimisedVmdkArrivesAsItLeft) {
  const std::string disk = SmallDisk();
  ASSERT_TRUE(sys::WriteWholeFile(dir_ / "d.raw", disk));
  QemuImg({"convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", dir_ / "d.raw",
           dir_ / "d.vmdk"});
  const std::string vmdk = sys::ReadWholeFile(dir_ / "d.vmdk", kGiB).value();
  const XmlElement done = Settled(TaskId(Import(Upload(vmdk, "VMDK", 1, 50000), "VMDK", 1)));
  ASSERT_EQ(done.TextAt("state"), "completed") << done.TextAt("statusMessage");
  std::string expected = disk;
  expected.resize(kReadBackBytes, '\0');
  EXPECT_TRUE(ReadBack(Snapshot(done.TextAt("importInstance/volumes/item/volume/id")), 1) ==
              expected);
}

TEST_F(Journey, VolumeArrivesWithoutAnInstance) {
  const std::string disk = SmallDisk();
  const std::map<std::string, std::string> request = {
      {"Action", "ImportVolume"},
      {"Version", "2016-11-15"},
      {"AvailabilityZone", "us-east-1a"},
      {"Description", "a volume"},
      {"Image.Format", "RAW"},
      {"Image.Bytes", std::to_string(disk.size())},
      {"Image.ImportManifestUrl", Upload(disk, "RAW", 2, disk.size())},
      {"Volume.Size", "2"}};
  const XmlElement imported = Ok(request);
  EXPECT_EQ(imported.TextAt("conversionTask/state"), "active");
  EXPECT_EQ(imported.FindPath("conversionTask/importInstance"), nullptr);
  EXPECT_EQ(imported.TextAt("conversionTask/importVolume/description"), "a volume");
  EXPECT_TRUE(TaskId(imported).starts_with("import-vol-"));
  const XmlElement done = Settled(TaskId(imported));
  ASSERT_EQ(done.TextAt("state"), "completed") << done.TextAt("statusMessage");
  EXPECT_EQ(done.TextAt("importVolume/bytesConverted"), std::to_string(disk.size()));
  const std::string volume = done.TextAt("importVolume/volume/id");
  const XmlElement described = Ok({{"Action", "DescribeVolumes"}, {"VolumeId.1", volume}});
  EXPECT_EQ(described.TextAt("volumeSet/item/status"), "available");
  EXPECT_EQ(described.TextAt("volumeSet/item/size"), "2");
  EXPECT_EQ(Ok({{"Action", "DescribeInstances"}}).FindPath("reservationSet/item"), nullptr);
  std::string expected = disk;
  expected.resize(kReadBackBytes, '\0');
  EXPECT_TRUE(ReadBack(Snapshot(volume), 2) == expected);

  auto nothing = request;
  nothing["Image.Bytes"] = "0";
  EXPECT_EQ(Refused(nothing),
            "InvalidParameter: Parameter disk-image-size=0 has an invalid format");
  auto elsewhere = request;
  elsewhere["AvailabilityZone"] = "us-east-1b";
  EXPECT_EQ(Refused(elsewhere), "InvalidZone.NotFound: The zone 'us-east-1b' does not exist.");
}

TEST_F(Journey, DescriptorThatNamesAnotherFileIsRefused) {
  const std::string vmdk =
      "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
      "createType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n";
  const XmlElement done = Settled(TaskId(Import(Upload(vmdk, "VMDK", 1), "VMDK", 1)));
  EXPECT_EQ(done.TextAt("state"), "cancelled");
  EXPECT_EQ(done.TextAt("statusMessage"),
            "ClientError: Disk validation failed [Unsupported VMDK File Format]");
  ExpectNothingLeft();
}

TEST_F(Journey, BrokenVmdkIsRefusedAndLeavesNothing) {
  ASSERT_TRUE(sys::WriteWholeFile(dir_ / "d.raw", SmallDisk()));
  QemuImg({"convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", dir_ / "d.raw",
           dir_ / "d.vmdk"});
  std::string vmdk = sys::ReadWholeFile(dir_ / "d.vmdk", kGiB).value();
  // Behind the first grain's marker lies its deflate stream.
  for (std::size_t i = 0x10000 + 12; i < 0x10000 + 60; ++i) vmdk[i] = '\x55';
  const XmlElement done = Settled(TaskId(Import(Upload(vmdk, "VMDK", 1), "VMDK", 1)));
  EXPECT_EQ(done.TextAt("state"), "cancelled");
  EXPECT_EQ(done.TextAt("statusMessage"), "ClientError: Uncompressed data has an invalid length");
  ExpectNothingLeft();
}

TEST_F(Journey, DiskLargerThanItsVolumeIsRefused) {
  ASSERT_TRUE(sys::WriteWholeFile(dir_ / "d.raw", "x"));
  QemuImg({"create", "-f", "vmdk", "-o", "subformat=streamOptimized", dir_ / "d.vmdk", "2G"});
  const std::string vmdk = sys::ReadWholeFile(dir_ / "d.vmdk", kGiB).value();
  const XmlElement done = Settled(TaskId(Import(Upload(vmdk, "VMDK", 1), "VMDK", 1)));
  EXPECT_EQ(done.TextAt("state"), "cancelled");
  EXPECT_TRUE(done.TextAt("statusMessage").starts_with("ClientError: The disk has a virtual size"))
      << done.TextAt("statusMessage");
  ExpectNothingLeft();
}

TEST_F(Journey, TaskWaitsForManifestAndPartsAndSurvivesARestart) {
  const std::string url = "http://127.0.0.1:4500/b/manifest";
  const std::string task = TaskId(Import(url, "RAW", 1));
  const std::string instance = Describe(task).TextAt("importInstance/instanceId");
  clock_.SleepFor(milliseconds(200), {});
  EXPECT_EQ(Describe(task).TextAt("state"), "active");
  EXPECT_EQ(Refused({{"Action", "StartInstances"}, {"InstanceId.1", instance}}),
            "IncorrectInstanceState: Invalid value " + instance +
                " for instanceId. Instance does not have a volume attached at root (/dev/sda1).");
  const std::string disk = SmallDisk();
  Upload(disk, "RAW", 1, 1 << 20, /*parts=*/false);
  s3_.Put(fmt_part(0), disk.substr(0, 1 << 20));
  for (int i = 0; i < 100; ++i) {
    if (Describe(task).TextAt("importInstance/volumes/item/bytesConverted") == "1048576") break;
    clock_.SleepFor(milliseconds(20), {});
  }
  EXPECT_EQ(Describe(task).TextAt("importInstance/volumes/item/statusMessage"),
            "Pending : Downloaded 1048576");
  Abandon();
  Open();
  EXPECT_EQ(Describe(task).TextAt("state"), "active");
  EXPECT_EQ(Describe(task).TextAt("importInstance/instanceId"), instance);
  Upload(disk, "RAW", 1);
  EXPECT_EQ(Settled(task).TextAt("state"), "completed");
}

TEST_F(Journey, UrlOutsideTheRegionIsNeverAsked) {
  const XmlElement done =
      Settled(TaskId(Import("http://169.254.169.254/latest/meta-data", "RAW", 1)));
  EXPECT_EQ(done.TextAt("state"), "cancelled");
  EXPECT_TRUE(done.TextAt("statusMessage").starts_with("ClientError: the URL"))
      << done.TextAt("statusMessage");
  EXPECT_EQ(s3_.requests, 0);
  ExpectNothingLeft();
}

TEST_F(Journey, CancelLeavesNothingAndHappensOnce) {
  const std::string task = TaskId(Import("http://127.0.0.1:4500/b/none", "RAW", 1));
  EXPECT_EQ(Ok({{"Action", "CancelConversionTask"},
                {"ConversionTaskId", task},
                {"ReasonMessage", "changed my mind"}})
                .TextAt("return"),
            "true");
  const XmlElement done = Settled(task);
  EXPECT_EQ(done.TextAt("state"), "cancelled");
  EXPECT_EQ(done.TextAt("statusMessage"), "changed my mind");
  ExpectNothingLeft();
  EXPECT_TRUE(Refused({{"Action", "CancelConversionTask"}, {"ConversionTaskId", task}})
                  .starts_with("DeleteConversionTaskError"));
}

TEST_F(Journey, CancelWorksAtEveryStage) {
  const std::string disk = SmallDisk();
  const std::string url = Upload(disk, "RAW", 1);
  for (int delay_ms = 0; delay_ms < 300; delay_ms += 30) {
    const std::string task = TaskId(Import(url, "RAW", 1));
    clock_.SleepFor(milliseconds(delay_ms), {});
    const Answer cancelled =
        Call2({{"Action", "CancelConversionTask"}, {"ConversionTaskId", task}});
    const XmlElement done = Settled(task);
    if (cancelled.status == 200) {
      EXPECT_EQ(done.TextAt("state"), "cancelled");
      EXPECT_FALSE(instances_->Find(done.TextAt("importInstance/instanceId")));
    } else {
      EXPECT_EQ(done.TextAt("state"), "completed");
      Ok({{"Action", "TerminateInstances"},
          {"InstanceId.1", done.TextAt("importInstance/instanceId")}});
    }
  }
  for (int i = 0; i < 100 && !disks_->ListVolumes()->empty(); ++i) {
    clock_.SleepFor(milliseconds(50), {});
  }
  EXPECT_TRUE(disks_->ListVolumes()->empty());
}

TEST_F(Journey, AskedForFaultsFailTheStage) {
  ASSERT_TRUE(faults_->Add({.operation = "import.convert",
                            .kind = FaultKind::kFail,
                            .message = "Unsupported kernel version 9.9"}));
  const XmlElement done = Settled(TaskId(Import(Upload(SmallDisk(), "RAW", 1), "RAW", 1)));
  EXPECT_EQ(done.TextAt("state"), "cancelled");
  EXPECT_EQ(done.TextAt("statusMessage"), "ClientError: Unsupported kernel version 9.9");
}

TEST_F(Journey, CorruptedByteIsRead) {
  const XmlElement done = Settled(TaskId(Import(Upload(SmallDisk(), "RAW", 1), "RAW", 1)));
  const std::string volume = done.TextAt("importInstance/volumes/item/volume/id");
  Ok({{"Action", "VmferryCorruptVolume"}, {"VolumeId", volume}, {"Offset", "1048580"}});
  std::string expected = SmallDisk();
  expected.resize(kReadBackBytes, '\0');
  const std::string got = ReadBack(Snapshot(volume), 1);
  EXPECT_EQ(static_cast<unsigned char>(got[1048580]),
            static_cast<unsigned char>(expected[1048580]) ^ 0xffU);
  expected[1048580] = got[1048580];
  EXPECT_TRUE(got == expected);
}

TEST_F(Journey, RequestsAreRefusedByName) {
  const std::pair<std::map<std::string, std::string>, std::string> cases[] = {
      {{{"Action", "LaunchRocket"}}, "InvalidAction"},
      {{{"Version", "2016-11-15"}}, "MissingAction"},
      {{{"Action", "DescribeInstances"}, {"Frobnicate", "1"}}, "UnknownParameter"},
      {{{"Action", "DescribeInstances"}, {"InstanceId.1", "i-xyz"}}, "InvalidInstanceID.Malformed"},
      {{{"Action", "DescribeInstances"}, {"InstanceId.1", "i-0123456789abcdef0"}},
       "InvalidInstanceID.NotFound"},
      {{{"Action", "DescribeInstances"}, {"DryRun", "true"}}, "DryRunOperation"},
      {{{"Action", "DescribeVolumes"}, {"VolumeId.1", "vol-0123456789abcdef0"}},
       "InvalidVolume.NotFound"},
      {{{"Action", "DescribeVolumes"}, {"MaxResults", "0"}}, "InvalidMaxResults"},
      {{{"Action", "DescribeVolumes"}, {"NextToken", "nonsense"}}, "InvalidNextToken"},
      {{{"Action", "DescribeConversionTasks"}, {"ConversionTaskId.1", "../etc"}},
       "InvalidConversionTaskId.Malformed"},
      {{{"Action", "DescribeConversionTasks"}, {"ConversionTaskId.1", "import-i-zzzzzzzz"}},
       "InvalidConversionTaskId"},
      {{{"Action", "StartInstances"}}, "MissingParameter"},
      {{{"Action", "CreateTags"}, {"ResourceId.1", "x-1"}, {"Tag.1.Key", "k"}}, "InvalidID"},
      {{{"Action", "ImportInstance"}}, "MissingParameter"},
      {{{"Action", "ImportInstance"}, {"LaunchSpecification.UserData.Data", "eA=="}},
       "UnknownParameter"},
      {{{"Action", "DescribeSubnets"}, {"SubnetId.1", "subnet-1"}}, "InvalidSubnetID.NotFound"},
  };
  for (const auto& [parameters, code] : cases) {
    const std::string refused = Refused(parameters);
    EXPECT_EQ(refused.substr(0, refused.find(": ")), code) << refused;
  }
}

// Images, volumes and instances as records, by the API alone.
TEST_F(Journey, ImagesVolumesAndInstances) {
  const std::string task = TaskId(Import(Upload(std::string(1 << 20, 'x'), "RAW", 1), "RAW", 1));
  ASSERT_EQ(Settled(task).TextAt("state"), "completed");
  const std::string volume = Ok({{"Action", "DescribeVolumes"}}).TextAt("volumeSet/item/volumeId");
  const std::string snapshot = Snapshot(volume);
  std::map<std::string, std::string> request = {{"Action", "RegisterImage"},
                                                {"Name", "an image"},
                                                {"Architecture", "x86_64"},
                                                {"VirtualizationType", "hvm"},
                                                {"BootMode", "uefi-preferred"},
                                                {"RootDeviceName", "/dev/sda1"},
                                                {"BlockDeviceMapping.1.DeviceName", "/dev/sda1"},
                                                {"BlockDeviceMapping.1.Ebs.SnapshotId", snapshot},
                                                {"BlockDeviceMapping.2.DeviceName", "/dev/sdb"},
                                                {"BlockDeviceMapping.2.Ebs.VolumeSize", "3"},
                                                {"BlockDeviceMapping.2.Ebs.VolumeType", "gp3"},
                                                {"TagSpecification.1.ResourceType", "image"},
                                                {"TagSpecification.1.Tag.1.Key", "made"},
                                                {"TagSpecification.1.Tag.1.Value", "here"}};
  const std::string image = Ok(request).TextAt("imageId");
  EXPECT_EQ(Refused(request),
            "InvalidAMIName.Duplicate: AMI name an image is already in use by AMI " + image);
  request["Name"] = "x";
  EXPECT_TRUE(Refused(request).starts_with("InvalidAMIName.Malformed: "));
  EXPECT_TRUE(Refused({{"Action", "DeleteSnapshot"}, {"SnapshotId", snapshot}})
                  .starts_with("InvalidSnapshot.InUse: "));
  const XmlElement found = Ok({{"Action", "DescribeImages"},
                               {"Owner.1", "self"},
                               {"Filter.1.Name", "name"},
                               {"Filter.1.Value.1", "an *"}});
  EXPECT_EQ(found.TextAt("imagesSet/item/imageId"), image);
  EXPECT_EQ(found.TextAt("imagesSet/item/bootMode"), "uefi-preferred");
  EXPECT_EQ(found.TextAt("imagesSet/item/blockDeviceMapping/item/ebs/volumeSize"), "1");
  EXPECT_EQ(found.TextAt("imagesSet/item/tagSet/item/value"), "here");

  std::map<std::string, std::string> run = {{"Action", "RunInstances"},
                                            {"ImageId", image},
                                            {"MinCount", "1"},
                                            {"MaxCount", "1"},
                                            {"InstanceType", "m5.large"},
                                            {"ClientToken", "once"},
                                            {"BlockDeviceMapping.1.DeviceName", "/dev/sdb"},
                                            {"BlockDeviceMapping.1.Ebs.VolumeSize", "5"}};
  EXPECT_TRUE(Refused(run).starts_with("InvalidParameterCombination: Enhanced networking"));
  run["InstanceType"] = "t2.micro";
  run["ImageId"] = "ami-0123456789abcdef0";
  EXPECT_EQ(Refused(run),
            "InvalidAMIID.NotFound: The image id '[ami-0123456789abcdef0]' does not exist");
  run["ImageId"] = image;
  run["KeyName"] = "nobody's";
  EXPECT_TRUE(Refused(run).starts_with("InvalidKeyPair.NotFound: "));
  run.erase("KeyName");
  const XmlElement launched = Ok(run);
  const std::string instance = launched.TextAt("instancesSet/item/instanceId");
  EXPECT_EQ(launched.TextAt("instancesSet/item/currentInstanceBootMode"), "legacy-bios")
      << "t2 has no UEFI";
  EXPECT_EQ(launched.FindPath("instancesSet/item/blockDeviceMapping")->children.size(), 2U);
  EXPECT_EQ(Ok(run).TextAt("instancesSet/item/instanceId"), instance);
  run["MaxCount"] = "2";
  EXPECT_TRUE(Refused(run).starts_with("IdempotentParameterMismatch: "));
  const XmlElement disks = Ok({{"Action", "DescribeVolumes"},
                               {"Filter.1.Name", "attachment.instance-id"},
                               {"Filter.1.Value.1", instance},
                               {"Filter.2.Name", "volume-type"},
                               {"Filter.2.Value.1", "gp3"}});
  EXPECT_EQ(disks.TextAt("volumeSet/item/size"), "5");
  Ok({{"Action", "ModifyInstanceAttribute"},
      {"InstanceId", instance},
      {"DisableApiTermination.Value", "true"}});
  EXPECT_TRUE(Refused({{"Action", "TerminateInstances"}, {"InstanceId.1", instance}})
                  .starts_with("OperationNotPermitted: "));
  EXPECT_EQ(Ok({{"Action", "DescribeInstanceAttribute"},
                {"InstanceId", instance},
                {"Attribute", "disableApiTermination"}})
                .TextAt("disableApiTermination/value"),
            "true");
  Ok({{"Action", "ModifyInstanceAttribute"},
      {"InstanceId", instance},
      {"Attribute", "disableApiTermination"},
      {"Value", "false"}});
  Ok({{"Action", "TerminateInstances"}, {"InstanceId.1", instance}});
  const XmlElement gone = Ok({{"Action", "DeregisterImage"}, {"ImageId", image}});
  EXPECT_EQ(gone.TextAt("return"), "true");
  EXPECT_EQ(Ok({{"Action", "DescribeTags"},
                {"Filter.1.Name", "resource-id"},
                {"Filter.1.Value.1", image}})
                .FindPath("tagSet")
                ->children.size(),
            0U);
}

TEST_F(Journey, PagesAndTagsOfInstances) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(instances_->Add({.id = vm::Instance{}.id + "i-0000000000000000" + std::to_string(i),
                                 .type = "t3.micro",
                                 .reservation_id = "r-" + std::to_string(i)},
                                {{"number", std::to_string(i)}}));
  }
  std::set<std::string> seen;
  std::string token;
  int pages = 0;
  do {
    std::map<std::string, std::string> request = {{"Action", "DescribeInstances"},
                                                  {"MaxResults", "2"}};
    if (!token.empty()) request.emplace("NextToken", token);
    const XmlElement page = Ok(request);
    for (const XmlElement& item : page.Find("reservationSet")->children) {
      seen.insert(item.TextAt("instancesSet/item/instanceId"));
    }
    token = page.TextAt("nextToken");
    ++pages;
  } while (!token.empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(seen.size(), 5U);
  Ok({{"Action", "CreateTags"},
      {"ResourceId.1", "i-00000000000000003"},
      {"Tag.1.Key", "Name"},
      {"Tag.1.Value", "db-three"}});
  const XmlElement found = Ok({{"Action", "DescribeInstances"},
                               {"Filter.1.Name", "tag:Name"},
                               {"Filter.1.Value.1", "db-*"},
                               {"Filter.2.Name", "instance-state-name"},
                               {"Filter.2.Value.1", "running"},
                               {"Filter.2.Value.2", "stopped"}});
  ASSERT_EQ(found.Find("reservationSet")->children.size(), 1U);
  EXPECT_EQ(found.TextAt("reservationSet/item/instancesSet/item/instanceId"),
            "i-00000000000000003");
}

TEST_F(Journey, EbsRefusesWhatItMust) {
  EXPECT_EQ(Ebs("/snapshots/snap-0123456789abcdef0/blocks").status, 404);
  EXPECT_EQ(Ebs("/snapshots/nonsense/blocks").status, 400);
  const XmlElement done = Settled(TaskId(Import(Upload(SmallDisk(), "RAW", 1), "RAW", 1)));
  const std::string volume = done.TextAt("importInstance/volumes/item/volume/id");
  const std::string snapshot = Snapshot(volume);
  const std::string other = Snapshot(volume);
  const text::Json listing =
      text::Json::Parse(Ebs("/snapshots/" + snapshot + "/blocks").body).value();
  const std::string block = std::to_string(listing["Blocks"].Items()[0]["BlockIndex"].AsUint());
  const std::string token = listing["Blocks"].Items()[0]["BlockToken"].AsString();
  const auto get = [&](const std::string& of, const std::string& index, const std::string& with) {
    return Ebs("/snapshots/" + of + "/blocks/" + index, {{"blockToken", with}});
  };
  EXPECT_EQ(get(snapshot, block, token).status, 200);
  for (const Answer& answer : {get(other, block, token), get(snapshot, "0", token),
                               get(snapshot, block, "AAAA"), get(snapshot, block, "")}) {
    EXPECT_EQ(answer.status, 400);
    EXPECT_NE(answer.body.find("INVALID_BLOCK_TOKEN"), std::string::npos);
  }
  EXPECT_NE(Ebs("/snapshots/" + snapshot + "/blocks", {{"pageToken", token}})
                .body.find("INVALID_PAGE_TOKEN"),
            std::string::npos);
  EXPECT_EQ(Ebs("/snapshots/" + snapshot + "/blocks", {{"maxResults", "99"}}).status, 400);
}

TEST(EbsTokens, EndAndFitOnlyTheirSnapshot) {
  testing::TempDir dir;
  const auto database = Database::Open(dir / "db").value();
  sys::SystemRandom random;
  const auto tokens = ebs::Tokens::Open(*database, random).value();
  using enum ebs::TokenKind;
  const std::string token = tokens.Make(kBlock, "snap-1", 77, 1000);
  EXPECT_EQ(tokens.Check(kBlock, "snap-1", token, 999), 77U);
  EXPECT_EQ(tokens.Check(kBlock, "snap-1", token, 1000), std::nullopt);
  EXPECT_EQ(tokens.Check(kBlock, "snap-2", token, 999), std::nullopt);
  EXPECT_EQ(tokens.Check(kPage, "snap-1", token, 999), std::nullopt);
  EXPECT_EQ(ebs::Tokens::Open(*database, random)->Check(kBlock, "snap-1", token, 1), 77U)
      << "the key stays";
  EXPECT_LE(token.size(), 256U);
}

TEST(Filters, WildcardsMatchAsInEc2) {
  EXPECT_TRUE(MatchesWildcard("db-*", "db-three"));
  EXPECT_TRUE(MatchesWildcard("*", ""));
  EXPECT_TRUE(MatchesWildcard("a*b*c", "aXXbYYc"));
  EXPECT_TRUE(MatchesWildcard("?b", "ab"));
  EXPECT_TRUE(MatchesWildcard("a\\*b", "a*b"));
  EXPECT_FALSE(MatchesWildcard("a\\*b", "aXb"));
  EXPECT_FALSE(MatchesWildcard("db", "DB"));
  EXPECT_FALSE(MatchesWildcard("", "x"));
  EXPECT_FALSE(MatchesWildcard("?", ""));
}

using GuestBoots = Journey;

TEST_F(GuestBoots, TinyGuestComesUp) {
  const char* path = std::getenv("VMFERRY_TEST_TINY_GUEST");
  if (path == nullptr) GTEST_SKIP() << "VMFERRY_TEST_TINY_GUEST is not set";
  const std::string disk = sys::ReadWholeFile(path, kGiB).value();
  const XmlElement done =
      Settled(TaskId(Import(Upload(disk, "RAW", 1, 10 << 20), "RAW", 1, "t3.micro")));
  ASSERT_EQ(done.TextAt("state"), "completed") << done.TextAt("statusMessage");
  const std::string id = done.TextAt("importInstance/instanceId");
  EXPECT_EQ(Ok({{"Action", "StartInstances"}, {"InstanceId.1", id}})
                .TextAt("instancesSet/item/currentState/name"),
            "pending");
  std::string status;
  for (int i = 0; i < 1000 && status != "ok"; ++i) {
    status = Ok({{"Action", "DescribeInstanceStatus"}, {"InstanceId.1", id}})
                 .TextAt("instanceStatusSet/item/instanceStatus/status");
    clock_.SleepFor(milliseconds(100), {});
  }
  EXPECT_EQ(status, "ok");
  const XmlElement described = Ok({{"Action", "DescribeInstances"}, {"InstanceId.1", id}});
  const XmlElement* item = described.FindPath("reservationSet/item/instancesSet/item");
  EXPECT_EQ(item->TextAt("ipAddress"), "127.0.0.1");
  EXPECT_EQ(item->TextAt("tagSet/item/key"), "vmferry:forward-22");
  const auto console = codec::Base64Decode(
      Ok({{"Action", "GetConsoleOutput"}, {"InstanceId", id}}).TextAt("output"));
  ASSERT_TRUE(console);
  EXPECT_NE(AsText(*console).find("login:"), std::string_view::npos) << AsText(*console);
  Ok({{"Action", "StopInstances"}, {"InstanceId.1", id}, {"Force", "true"}});
}

}  // namespace
}  // namespace vmferry::region::ec2
