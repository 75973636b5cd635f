// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "base/byte_reader.h"
#include "base/units.h"
#include "region/import/local_url.h"
#include "region/import/manifest.h"
#include "region/import/task.h"
#include "region/import/upload_gate.h"
#include "testing/temp_dir.h"

namespace vmferry::region {
namespace {

// The shape of Amazon's first sample: no declaration, `end` before `start`, SigV2 URLs, two parts.
constexpr std::string_view kTwoParts = R"(<manifest>
    <version>2010-11-15</version>
    <file-format>VMDK</file-format>
    <importer><name>ec2-upload-disk-image</name><version>1.0.0</version><release>2010-11-15</release></importer>
    <self-destruct-url>https://b.s3.amazonaws.com/m.xml?AWSAccessKeyId=A&amp;Expires=1&amp;Signature=x</self-destruct-url>
    <import>
        <size>12595200</size>
        <volume-size>8</volume-size>
        <parts count="2">
            <part index="0">
                <byte-range end="10485759" start="0"/>
                <key>k.part0</key>
                <head-url>http://h/0</head-url><get-url>http://g/0?a=1&amp;b=2</get-url><delete-url>http://d/0</delete-url>
            </part>
            <part index="1">
                <byte-range end="12595199" start="10485760"/>
                <key>k.part1</key>
                <head-url>http://h/1</head-url><get-url>http://g/1</get-url><delete-url>http://d/1</delete-url>
            </part>
        </parts>
    </import>
</manifest>)";

// The shape of the second one: the whole object as one part whose `end` is the size.
constexpr std::string_view kOnePart =
    R"(<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<manifest><version>2010-11-15</version><file-format>VMDK</file-format>
<importer><name>disk.vmdk</name><version>1.0.0</version><release>2010-11-15</release></importer>
<self-destruct-url>http://d</self-destruct-url>
<import><size>994433536</size><volume-size>10</volume-size>
<parts count="1"><part index="0"><byte-range end="994433536" start="0"></byte-range><key>disk.vmdk</key>
<head-url>http://h</head-url><get-url>http://g</get-url></part></parts></import></manifest>)";

std::string Replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result(text);
  const std::size_t at = result.find(from);
  EXPECT_NE(at, result.npos) << from;
  result.replace(at, from.size(), to);
  return result;
}

TEST(Manifest, ReadsAmazonsSampleOfTwoParts) {
  for (const bool strict : {false, true}) {
    const auto manifest = ParseManifest(kTwoParts, strict);
    ASSERT_TRUE(manifest) << manifest.error().ToString();
    EXPECT_EQ(manifest->format, ImageFormat::kVmdk);
    EXPECT_EQ(manifest->size_bytes, 12595200U);
    EXPECT_EQ(manifest->volume_gib, 8U);
    ASSERT_EQ(manifest->parts.size(), 2U);
    EXPECT_EQ(manifest->parts[0].length_bytes, 10485760U);
    EXPECT_EQ(manifest->parts[0].get_url, "http://g/0?a=1&b=2");
    EXPECT_EQ(manifest->parts[1].start_bytes, 10485760U);
  }
}

TEST(Manifest, TakesEndEqualToSizeUnlessStrict) {
  const auto manifest = ParseManifest(kOnePart, false);
  ASSERT_TRUE(manifest) << manifest.error().ToString();
  EXPECT_EQ(manifest->parts[0].length_bytes, 994433536U);
  EXPECT_FALSE(ParseManifest(kOnePart, true));
}

TEST(Manifest, TakesPartsInAnyOrder) {
  std::string swapped = Replaced(kTwoParts, "part index=\"0\"", "part index=\"X\"");
  swapped = Replaced(swapped, "part index=\"1\"", "part index=\"0\"");
  swapped = Replaced(swapped, "part index=\"X\"", "part index=\"1\"");
  EXPECT_FALSE(ParseManifest(swapped, false)) << "index order is the file's order";
}

TEST(Manifest, WrongCountIsRefusedOnlyStrictly) {
  const std::string wrong = Replaced(kTwoParts, "count=\"2\"", "count=\"3\"");
  EXPECT_TRUE(ParseManifest(wrong, false));
  EXPECT_FALSE(ParseManifest(wrong, true));
}

struct Fault {
  std::string_view from;
  std::string_view to;
};

TEST(Manifest, RefusesWhatCannotBeAssembled) {
  for (const Fault& fault : {
           Fault{"<size>12595200</size>", "<size>12595201</size>"},
           Fault{"<size>12595200</size>", "<size>0</size>"},
           Fault{"<size>12595200</size>", "<size>-1</size>"},
           Fault{"<size>12595200</size>", "<size>99999999999999999999</size>"},
           Fault{"<size>12595200</size>", ""},
           Fault{"start=\"10485760\"", "start=\"10485761\""},  // gap
           Fault{"start=\"10485760\"", "start=\"10485759\""},  // overlap
           Fault{"start=\"10485760\"", "start=\"x\""},
           Fault{"end=\"12595199\" ", ""},
           Fault{"end=\"12595199\"", "end=\"12595300\""},
           Fault{"end=\"12595199\"", "end=\"10\""},
           Fault{"part index=\"1\"", "part index=\"0\""},
           Fault{"<get-url>http://g/1</get-url>", ""},
           Fault{"<file-format>VMDK</file-format>", "<file-format>ISO</file-format>"},
           Fault{"<manifest>", "<!DOCTYPE m [<!ENTITY a \"b\">]><manifest>"},
           Fault{"</manifest>", ""},
       }) {
    const auto manifest = ParseManifest(Replaced(kTwoParts, fault.from, fault.to), false);
    ASSERT_FALSE(manifest) << fault.from << " -> " << fault.to;
    EXPECT_EQ(manifest.error().reason(), "region.bad_manifest");
  }
  EXPECT_FALSE(ParseManifest("", false));
  EXPECT_FALSE(ParseManifest("KDMV", false));
  EXPECT_FALSE(ParseManifest("<other/>", false));
}

// A VMDK header with an embedded descriptor, as VMware and QEMU write them.
class Vmdk : public ::testing::Test {
 protected:
  static constexpr std::string_view kDescriptor =
      "# Disk DescriptorFile\nversion=1\nCID=7e5b80a7\nparentCID=ffffffff\n"
      "createType=\"streamOptimized\"\n\n# Extent description\n"
      "RDONLY_OR_RW 131072 SPARSE \"x.vmdk\"\n\n# The Disk Data Base\n"
      "ddb.virtualHWVersion = \"4\"\n";

  static std::string Number(std::uint64_t value, std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>((value >> (8 * i)) & 0xff);
    return text;
  }
  static std::string Header(std::uint64_t capacity, std::uint64_t gd, std::uint64_t descriptor = 1,
                            std::uint64_t descriptor_sectors = 20) {
    std::string header = "KDMV" + Number(3, 4) + Number(0x30001, 4) + Number(capacity, 8) +
                         Number(128, 8) + Number(descriptor, 8) + Number(descriptor_sectors, 8) +
                         Number(512, 4) + Number(0, 8) + Number(gd, 8);
    header.resize(512, '\0');
    return header;
  }
  Result<void> Check(std::string header, std::string descriptor, const std::string& footer) {
    descriptor.resize(20 * 512, '\0');
    const std::string content = header + descriptor + std::string(4096, '\0') + footer;
    const auto file = sys::File::Open(dir_ / "disk", sys::File::Mode::kCreate);
    EXPECT_TRUE(file->Truncate(0));
    EXPECT_TRUE(file->WriteAt(0, AsBytes(content)));
    return CheckUpload(*file, ImageFormat::kVmdk);
  }
  static std::string Good() { return Replaced(kDescriptor, "RDONLY_OR_RW", "RW"); }
  static constexpr std::uint64_t kAtEnd = ~std::uint64_t{0};
  static std::string Footer(std::uint64_t capacity) {
    return Header(capacity, 30, 0, 0) + std::string(512, '\0');
  }
  testing::TempDir dir_;
};

TEST_F(Vmdk, StreamOptimisedAndSelfContainedPasses) {
  const auto checked = Check(Header(131072, kAtEnd), Good(), Footer(131072));
  EXPECT_TRUE(checked) << checked.error().ToString();
}

TEST_F(Vmdk, NothingThatNamesAnotherFilePasses) {
  const std::string good = Good();
  const std::pair<std::string, std::string> cases[] = {
      {Header(0, kAtEnd), good},                // a descriptor that QEMU would follow
      {Header(131072, kAtEnd, 2), good},        // a descriptor elsewhere
      {Header(131072, kAtEnd, 0, 0), good},     // none
      {Header(131072, kAtEnd, 1, 5000), good},  // one past the end
      {Header(131072, kAtEnd),
       Replaced(good, "RW 131072 SPARSE \"x.vmdk\"", "RW 131072 FLAT \"/etc/passwd\" 0")},
      {Header(131072, kAtEnd), good + "RW 1 FLAT \"/etc/passwd\" 0\n"},
      {Header(131072, kAtEnd), Replaced(good, "streamOptimized", "monolithicFlat")},
      {Header(131072, kAtEnd), Replaced(good, "streamOptimized", "twoGbMaxExtentSparse")},
      {Header(131072, kAtEnd), Replaced(good, "parentCID=ffffffff", "parentCID=12345678")},
      {Header(131072, kAtEnd), good + "parentFileNameHint=\"/etc/passwd\"\n"},
      {Header(131072, kAtEnd), good + "#PARENTfilenamehint=\"/etc/passwd\"\n"},
      {Header(131072, kAtEnd), "RW 131072 FLAT \"/etc/passwd\" 0\n"},
      {"# Disk DescriptorFile\n" + std::string(490, ' '), good},
      {"COWD" + std::string(508, '\0'), good},
  };
  for (const auto& [header, descriptor] : cases) {
    const auto checked = Check(header, descriptor, Footer(131072));
    ASSERT_FALSE(checked) << descriptor;
    EXPECT_EQ(checked.error().message(), "Disk validation failed [Unsupported VMDK File Format]");
  }
}

TEST_F(Vmdk, FooterMustAgreeWithTheHeader) {
  EXPECT_FALSE(Check(Header(131072, kAtEnd), Good(), Footer(0)));
  EXPECT_FALSE(Check(Header(131072, kAtEnd), Good(), std::string(1024, '\0')));
}

TEST(Vhd, NeedsItsFooter) {
  testing::TempDir dir;
  const auto file = sys::File::Open(dir / "disk", sys::File::Mode::kCreate);
  ASSERT_TRUE(file->Truncate(4096));
  EXPECT_FALSE(CheckUpload(*file, ImageFormat::kVhd));
  ASSERT_TRUE(file->WriteAt(4096 - 512, AsBytes("conectix")));
  const char fixed[] = {0, 0, 0, 2};
  ASSERT_TRUE(file->WriteAt(4096 - 512 + 60, AsBytes(std::string_view(fixed, 4))));
  EXPECT_TRUE(CheckUpload(*file, ImageFormat::kVhd));
  const char differencing[] = {0, 0, 0, 4};
  ASSERT_TRUE(file->WriteAt(4096 - 512 + 60, AsBytes(std::string_view(differencing, 4))));
  EXPECT_EQ(CheckUpload(*file, ImageFormat::kVhd).error().message(), "Footers not identical");
}

TEST(LocalUrl, OnlyThisRegionIsAsked) {
  Settings settings;
  settings.port = 4500;
  for (const char* good :
       {"http://127.0.0.1:4500/b/k?X=1", "http://localhost:4500/b/k",
        "https://b.s3.us-east-1.amazonaws.com/k?X=1", "http://s3.amazonaws.com/b/k"}) {
    const auto request = LocalRequest(good, settings);
    ASSERT_TRUE(request) << good;
    EXPECT_EQ(request->url.host, "127.0.0.1");
    EXPECT_EQ(request->url.port, 4500);
    EXPECT_EQ(request->url.scheme, "http");
  }
  EXPECT_EQ(LocalRequest("https://b.s3.us-east-1.amazonaws.com/k", settings)->headers.Find("Host"),
            "b.s3.us-east-1.amazonaws.com");
  for (const char* bad :
       {"http://127.0.0.1:4501/b/k", "http://169.254.169.254/latest/meta-data",
        "http://example.com/x", "file:///etc/passwd", "http://127.0.0.1:4500@example.com/x", "x",
        "http://s3.us-east-1.amazonaws.com.evil.example/x", "ftp://127.0.0.1:4500/x"}) {
    EXPECT_FALSE(LocalRequest(bad, settings)) << bad;
  }
}

TEST(Task, StatesFollowTheirTable) {
  using enum TaskState;
  const std::set<std::pair<TaskState, TaskState>> allowed = {
      {kActive, kCompleted}, {kActive, kCancelling}, {kCancelling, kCancelled}};
  for (const TaskState from : {kActive, kCancelling, kCancelled, kCompleted}) {
    for (const TaskState to : {kActive, kCancelling, kCancelled, kCompleted}) {
      EXPECT_EQ(MayFollow(from, to), allowed.contains({from, to}));
    }
  }
}

TEST(Task, TellsItsProgressAsAwsDoes) {
  ConversionTask task;
  EXPECT_EQ(DiskMessage(task), "Pending : Downloaded 0");
  task.bytes_converted = 1268776960;
  EXPECT_EQ(DiskMessage(task), "Pending : Downloaded 1268776960");
  task.stage = TaskStage::kConvert;
  task.convert_percent = 50;
  EXPECT_EQ(DiskMessage(task), "Progress: 50%");
  task.stage = TaskStage::kInstance;
  EXPECT_EQ(DiskMessage(task), "");
}

}  // namespace
}  // namespace vmferry::region
