// SPDX-License-Identifier: Apache-2.0
//
// Journey: the region's services without a network, driven through their own Handle. S3 is a fake
// that answers the import service; qemu-img is real.

#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "http/client.h"
#include "region/core/role_store.h"
#include "region/ebs/service.h"
#include "region/ec2/service.h"
#include "sys/process.h"
#include "testing/temp_dir.h"
#include "text/json.h"

namespace vmferry::region::ec2 {

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
    response.headers.Set("Content-Length", std::to_string(found->second.size()));
    if (request.method == "HEAD") return response;
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

inline constexpr std::size_t kReadBackBytes = 8 << 20;

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
    image_tasks_ =
        ImageTasks::Open(*context_, sandbox_, *disks_, s3_, {.poll = milliseconds(20)}).value();
    ec2_.emplace(World{*context_, *disks_, *images_, *instances_, *importer_, *image_tasks_});
    ebs_ = ebs::EbsService::Open(*context_, *disks_).value();
    ASSERT_TRUE(disks_->Start());
    ASSERT_TRUE(instances_->Start());
    ASSERT_TRUE(importer_->Start());
    ASSERT_TRUE(image_tasks_->Start());
  }
  // Without Stop: as near to kill -9 as a test in one process comes.
  void Abandon() {
    ebs_.reset();
    ec2_.reset();
    image_tasks_.reset();
    importer_.reset();
    instances_.reset();
    images_.reset();
    disks_.reset();
    context_.reset();
    faults_.reset();
    database_.reset();
  }
  void Close() {
    image_tasks_->Stop({});
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
  // The role that the user guide has everybody make.
  void MakeRole(const std::string& name = "vmimport") {
    auto roles = RoleStore::Open(*database_).value();
    ASSERT_TRUE(
        roles->Add({.name = name,
                    .id = "AROA0000000000000000",
                    .arn = "arn:aws:iam::123456789012:role/" + name,
                    .trust_policy =
                        R"({"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":)"
                        R"({"Service":"vmie.amazonaws.com"},"Action":"sts:AssumeRole","Condition":)"
                        R"({"StringEquals":{"sts:Externalid":"vmimport"}}}]})"}));
    ASSERT_TRUE(roles->PutPolicy(
        name, "p",
        R"({"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":)"
        R"(["s3:GetBucketLocation","s3:GetObject","s3:ListBucket"],"Resource":)"
        R"(["arn:aws:s3:::b","arn:aws:s3:::b/*"]},{"Effect":"Allow","Action":)"
        R"(["ec2:ModifySnapshotAttribute","ec2:CopySnapshot","ec2:RegisterImage","ec2:Describe*"],)"
        R"("Resource":"*"}]})",
        10240));
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
  std::unique_ptr<ImageTasks> image_tasks_;
  std::optional<Ec2Service> ec2_;
  std::unique_ptr<ebs::EbsService> ebs_;
};

}  // namespace vmferry::region::ec2
