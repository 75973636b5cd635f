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
#include "testing/temp_dir.h"
#include "text/json.h"

namespace vmferry::region::ec2 {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using text::XmlElement;

// Answers GET with objects held in memory; everything else is 404.
class FakeS3 final : public http::Client {
 public:
  Result<http::Response> Send(const http::Request& request, const http::SendOptions& options,
                              const OpContext&) override {
    ++requests;
    EXPECT_EQ(request.url.host, "127.0.0.1");
    const std::lock_guard lock(mutex);
    const auto found = objects.find(request.url.path);
    http::Response response;
    response.status = found == objects.end() ? 404 : 200;
    if (found == objects.end()) return response;
    if (options.sink) {
      VMFERRY_RETURN_IF_ERROR(options.sink(AsBytes(found->second)));
    } else {
      response.body = found->second;
    }
    return response;
  }
  void Put(const std::string& path, std::string content) {
    const std::lock_guard lock(mutex);
    objects[path] = std::move(content);
  }

  std::mutex mutex;
  std::map<std::string, std::string> objects;
  std::atomic<int> requests = 0;
};

constexpr std::size_t kReadBackBytes = 8 << 20;

class Journey : public ::testing::Test {
 protected:
  void SetUp() override {
    settings_.folder = dir_ / "region";
    ASSERT_TRUE(sys::MakeFolders(settings_.folder));
    settings_.port = 4500;
    settings_.account_id = "123456789012";
    Open();
  }
  void TearDown() override { Close(); }

  void Open() {
    database_ = Database::Open(settings_.folder / "region.db").value();
    faults_ = FaultRules::Open(*database_).value();
    context_.emplace(Context{clock_, random_, log_, *database_, settings_, *faults_});
    disks_ = vm::Disks::Open(*context_, sandbox_).value();
    images_ = vm::Images::Open(*context_).value();
    instances_ = vm::Instances::Open(*context_, sandbox_, *disks_, {.memory_mib_max = 256}).value();
    importer_ =
        Importer::Open(*context_, sandbox_, *disks_, *instances_, s3_, {.poll = milliseconds(20)})
            .value();
    ec2_.emplace(World{*context_, *disks_, *images_, *instances_, *importer_});
    ebs_ = ebs::EbsService::Open(*context_, *disks_).value();
    ASSERT_TRUE(disks_->Start());
    ASSERT_TRUE(instances_->Start());
    ASSERT_TRUE(importer_->Start());
  }
  // Without Stop: as near to kill -9 as a test in one process comes.
  void Abandon() {
    ebs_.reset();
    ec2_.reset();
    importer_.reset();
    instances_.reset();
    images_.reset();
    disks_.reset();
    context_.reset();
    faults_.reset();
    database_.reset();
  }
  void Close() {
    importer_->Stop({});
    instances_->Stop({clock_.DeadlineIn(seconds(5)), {}});
    disks_->Stop({});
    Abandon();
  }

  Answer Call2(const std::map<std::string, std::string>& parameters) {
    Call call;
    call.method = "POST";
    call.path = "/";
    call.request_id = "r";
    for (const auto& [name, value] : parameters) {
      if (!call.payload.memory.empty()) call.payload.memory += '&';
      call.payload.memory += http::PercentEncode(name) + "=" + http::PercentEncode(value);
    }
    return ec2_->Handle(call);
  }
  XmlElement Ok(const std::map<std::string, std::string>& parameters) {
    const Answer answer = Call2(parameters);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return text::ParseXml(answer.body).value();
  }
  // "Code: Message"
  std::string Refused(const std::map<std::string, std::string>& parameters) {
    const Answer answer = Call2(parameters);
    EXPECT_NE(answer.status, 200) << answer.body;
    const XmlElement root = text::ParseXml(answer.body).value();
    return root.TextAt("Errors/Error/Code") + ": " + root.TextAt("Errors/Error/Message");
  }

  // Puts a disk in parts of `part_bytes` and its manifest; returns the manifest's URL.
  std::string Upload(const std::string& content, const std::string& format, std::uint64_t gib,
                     std::size_t part_bytes = 1 << 20, bool parts = true) {
    std::string list;
    std::size_t count = 0;
    for (std::size_t at = 0; at < content.size(); at += part_bytes, ++count) {
      const std::string piece = content.substr(at, part_bytes);
      if (parts) s3_.Put(fmt_part(count), piece);
      list += "<part index=\"" + std::to_string(count) + "\"><byte-range start=\"" +
              std::to_string(at) + "\" end=\"" + std::to_string(at + piece.size() - 1) +
              "\"/><key>k</key><get-url>http://127.0.0.1:4500" + fmt_part(count) +
              "?X-Amz-Signature=s&amp;x=1</get-url></part>";
    }
    s3_.Put("/b/manifest", "<manifest><version>2010-11-15</version><file-format>" + format +
                               "</file-format><import><size>" + std::to_string(content.size()) +
                               "</size><volume-size>" + std::to_string(gib) +
                               "</volume-size><parts count=\"" + std::to_string(count) + "\">" +
                               list + "</parts></import></manifest>");
    return "http://127.0.0.1:4500/b/manifest?X-Amz-Signature=s";
  }
  static std::string fmt_part(std::size_t index) { return "/b/part" + std::to_string(index); }

  XmlElement Import(const std::string& url, const std::string& format, std::uint64_t gib,
                    const std::string& type = "t3.micro") {
    return Ok({{"Action", "ImportInstance"},
               {"Version", "2016-11-15"},
               {"Platform", "Linux"},
               {"Description", "a disk"},
               {"LaunchSpecification.Architecture", "x86_64"},
               {"LaunchSpecification.InstanceType", type},
               {"DiskImage.1.Image.Format", format},
               {"DiskImage.1.Image.Bytes", "1"},
               {"DiskImage.1.Image.ImportManifestUrl", url},
               {"DiskImage.1.Volume.Size", std::to_string(gib)}});
  }
  XmlElement Describe(const std::string& task) {
    return *Ok({{"Action", "DescribeConversionTasks"}, {"ConversionTaskId.1", task}})
                .FindPath("conversionTasks/item");
  }
  XmlElement Settled(const std::string& task) {
    for (int i = 0; i < 600; ++i) {
      const XmlElement item = Describe(task);
      const std::string state = item.TextAt("state");
      if (state == "completed" || state == "cancelled") return item;
      clock_.SleepFor(milliseconds(50), {});
    }
    return Describe(task);
  }
  std::string TaskId(const XmlElement& imported) {
    return imported.TextAt("conversionTask/conversionTaskId");
  }

  Answer Ebs(const std::string& path, std::vector<NameValue> query = {}) {
    Call call;
    call.method = "GET";
    call.path = path;
    call.query = std::move(query);
    return ebs_->Handle(call);
  }
  // The first MiBs of a snapshot as the EBS direct APIs give it, where all of it must lie;
  // unlisted blocks are zero.
  std::string ReadBack(const std::string& snapshot, std::uint64_t gib) {
    std::string disk(kReadBackBytes, '\0');
    std::string page;
    do {
      const Answer listing =
          Ebs("/snapshots/" + snapshot + "/blocks", {{"maxResults", "100"}, {"pageToken", page}});
      EXPECT_EQ(listing.status, 200) << listing.body;
      const text::Json body = text::Json::Parse(listing.body).value();
      EXPECT_EQ(body["BlockSize"].AsUint(), 524288U);
      EXPECT_EQ(body["VolumeSize"].AsUint(), gib);
      for (const text::Json& block : body["Blocks"].Items()) {
        const std::uint64_t index = block["BlockIndex"].AsUint();
        const Answer answer = Ebs("/snapshots/" + snapshot + "/blocks/" + std::to_string(index),
                                  {{"blockToken", block["BlockToken"].AsString()}});
        EXPECT_EQ(answer.status, 200) << answer.body.substr(0, 200);
        for (const auto& [name, value] : answer.headers) {
          if (name != "x-amz-Checksum") continue;
          EXPECT_EQ(value, codec::Base64Encode(codec::Sha256(AsBytes(answer.body))));
        }
        EXPECT_LT(index * 524288, kReadBackBytes);
        disk.replace(index * 524288, 524288, answer.body);
      }
      page = body["NextToken"].AsString();
    } while (!page.empty());
    return disk;
  }
  std::string Snapshot(const std::string& volume) {
    const std::string id = Ok({{"Action", "CreateSnapshot"},
                               {"VolumeId", volume},
                               {"TagSpecification.1.ResourceType", "snapshot"},
                               {"TagSpecification.1.Tag.1.Key", "why"},
                               {"TagSpecification.1.Tag.1.Value", "test"}})
                               .TextAt("snapshotId");
    for (int i = 0; i < 600; ++i) {
      const XmlElement described = Ok({{"Action", "DescribeSnapshots"}, {"SnapshotId.1", id}});
      const XmlElement* item = described.FindPath("snapshotSet/item");
      if (item->TextAt("status") != "pending") {
        EXPECT_EQ(item->TextAt("status"), "completed") << item->TextAt("statusMessage");
        EXPECT_EQ(item->TextAt("progress"), "100%");
        EXPECT_EQ(item->TextAt("tagSet/item/key"), "why");
        break;
      }
      clock_.SleepFor(milliseconds(50), {});
    }
    return id;
  }
  void ExpectNothingLeft() {
    EXPECT_EQ(Ok({{"Action", "DescribeVolumes"}}).FindPath("volumeSet/item"), nullptr);
    EXPECT_EQ(Ok({{"Action", "DescribeInstances"}}).FindPath("reservationSet/item"), nullptr);
    EXPECT_TRUE(std::filesystem::is_empty(settings_.folder / "import"));
    for (const auto& entry : std::filesystem::directory_iterator(settings_.folder / "vm")) {
      ADD_FAILURE() << entry.path() << " is left";
    }
  }
  static std::string SmallDisk() {
    std::string disk(5 << 20, '\0');
    for (std::size_t i = 0; i < 70000; ++i) disk[(1 << 20) + i] = static_cast<char>(i * 7);
    disk[disk.size() - 1] = 'e';
    return disk;
  }
  std::string QemuImg(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "qemu-img");
    const auto outcome = sys::RunProcess(clock_, {.arguments = std::move(arguments)}, {});
    EXPECT_TRUE(outcome && outcome->exit_code == 0) << outcome->error_output;
    return outcome->output;
  }

  testing::TempDir dir_;
  sys::SystemClock clock_;
  sys::SystemRandom random_;
  NullLog log_;
  Settings settings_;
  FakeS3 s3_;
  vm::Sandbox sandbox_ = vm::Sandbox::ForThisProcess();
  std::unique_ptr<Database> database_;
  std::unique_ptr<FaultRules> faults_;
  std::optional<Context> context_;
  std::unique_ptr<vm::Disks> disks_;
  std::unique_ptr<vm::Images> images_;
  std::unique_ptr<vm::Instances> instances_;
  std::unique_ptr<Importer> importer_;
  std::optional<Ec2Service> ec2_;
  std::unique_ptr<ebs::EbsService> ebs_;
};

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

TEST_F(Journey, PagesAndTagsOfInstances) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(instances_->Add(
        {.id = vm::Instance{}.id + "i-0000000000000000" + std::to_string(i), .type = "t3.micro"},
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

TEST_F(Journey, TinyGuestComesUp) {
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
