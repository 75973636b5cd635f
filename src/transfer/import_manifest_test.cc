// SPDX-License-Identifier: Apache-2.0
#include "transfer/import_manifest.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "transfer/piece_plan.h"

namespace vmferry::transfer {
namespace {

ImportManifest TwoParts() {
  return {.file_format = "VMDK",
          .importer_name = "vmferry",
          .importer_version = "0.1.0",
          .importer_release = "2010-11-15",
          .self_destruct_url = "https://b.s3.amazonaws.com/m?X-Amz-Expires=1&X-Amz-Signature=s",
          .size_bytes = 12595200,
          .volume_size_gib = 8,
          .parts = {{0, 10485759, "p/disk.part0", "http://h/0?a=1&b=2", "http://g/0", "http://d/0"},
                    {10485760, 12595199, "p/disk.part1", "http://h/1", "http://g/1", ""}}};
}

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

TEST(ImportManifest, WritesTheDocumentedForm) {
  const std::string document = WriteManifest(TwoParts());
  EXPECT_EQ(document, R"(<?xml version="1.0" encoding="UTF-8"?>
<manifest>
    <version>2010-11-15</version>
    <file-format>VMDK</file-format>
    <importer>
        <name>vmferry</name>
        <version>0.1.0</version>
        <release>2010-11-15</release>
    </importer>
    <self-destruct-url>https://b.s3.amazonaws.com/m?X-Amz-Expires=1&amp;X-Amz-Signature=s</self-destruct-url>
    <import>
        <size>12595200</size>
        <volume-size>8</volume-size>
        <parts count="2">
            <part index="0">
                <byte-range end="10485759" start="0"/>
                <key>p/disk.part0</key>
                <head-url>http://h/0?a=1&amp;b=2</head-url>
                <get-url>http://g/0</get-url>
                <delete-url>http://d/0</delete-url>
            </part>
            <part index="1">
                <byte-range end="12595199" start="10485760"/>
                <key>p/disk.part1</key>
                <head-url>http://h/1</head-url>
                <get-url>http://g/1</get-url>
            </part>
        </parts>
    </import>
</manifest>
)");
}

TEST(ImportManifest, ReadsBackWhatItWrote) {
  const auto manifest = ParseManifest(WriteManifest(TwoParts()));
  ASSERT_TRUE(manifest) << manifest.error().ToString();
  EXPECT_EQ(manifest->self_destruct_url, TwoParts().self_destruct_url);
  EXPECT_EQ(manifest->parts[0].head_url, "http://h/0?a=1&b=2");
  EXPECT_EQ(manifest->parts[1].delete_url, "");
  EXPECT_EQ(WriteManifest(*manifest), WriteManifest(TwoParts()));
}

// The shape of the second official sample: one part whose end equals the size, standalone
// declaration, a byte-range that is not self-closed, no delete-url.
TEST(ImportManifest, ReadsTheSinglePartSampleForm) {
  const auto manifest = ParseManifest(R"(<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<manifest>
  <version>2010-11-15</version><file-format>RAW</file-format>
  <importer><name>image.raw</name><version>1.0.0</version><release>2010-11-15</release></importer>
  <self-destruct-url>https://x/image.raw?X-Amz-SignedHeaders=Host</self-destruct-url>
  <import><size>994433536</size><volume-size>8</volume-size>
    <parts count="1"><part index="0"><byte-range end="994433536" start="0"></byte-range>
      <key>image.raw</key><head-url>https://x/h</head-url><get-url>https://x/g</get-url></part>
    </parts></import></manifest>)");
  ASSERT_TRUE(manifest) << manifest.error().ToString();
  EXPECT_EQ(manifest->parts[0].end, 994433535U);
}

TEST(ImportManifest, RefusesWhatBreaksTheSchema) {
  const std::pair<const char*, const char*> changes[] = {
      {"<version>2010-11-15</version>\n    <file", "<version>1</version>\n    <file"},
      {"VMDK", "QCOW2"},
      {"<size>12595200</size>", "<size>-1</size>"},
      {"<size>12595200</size>", "<size>12595201</size>"},
      {"count=\"2\"", "count=\"3\""},
      {"index=\"1\"", "index=\"2\""},
      {"start=\"10485760\"", "start=\"10485761\""},
      {"start=\"10485760\"", "start=\"10485759\""},
      {"<get-url>http://g/1</get-url>", ""},
      {"<byte-range end=\"10485759\" start=\"0\"/>", ""},
      {"<name>vmferry</name>", ""},
      {"</manifest>", "</manifest>x"},
  };
  for (const auto& [from, to] : changes) {
    std::string document = WriteManifest(TwoParts());
    ReplaceAll(document, from, to);
    EXPECT_FALSE(ParseManifest(document)) << from << " -> " << to;
  }
}

TEST(PiecePlan, CutsAsAmazonsToolsDo) {
  const auto plan = PiecePlan::Make(1'070'948'352);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->count(), 103U);  // as observed with ec2-import-instance
  EXPECT_EQ(plan->At(0).length_bytes, 10'485'760U);
  const Piece last = plan->At(102);
  EXPECT_EQ(last.offset_bytes + last.length_bytes, 1'070'948'352U);
  EXPECT_EQ(PiecePlan::Make(10'485'760)->count(), 1U);
  EXPECT_EQ(PiecePlan::Make(10'485'761)->count(), 2U);
}

TEST(PiecePlan, GrowsPartsToKeepTheirNumberBounded) {
  const auto plan = PiecePlan::Make(200 * kGiB);
  ASSERT_TRUE(plan);
  EXPECT_LE(plan->count(), kPartCountMax);
  EXPECT_EQ(plan->part_bytes(), 21 * kMiB);
  EXPECT_EQ(PiecePlan::Make(0).error().reason(), "transfer.empty");
  EXPECT_EQ(PiecePlan::Make(2 * kTiB).error().reason(), "transfer.too_large");
}

TEST(VolumeSizeGib, RoundsUp) {
  EXPECT_EQ(VolumeSizeGib(1), 1U);
  EXPECT_EQ(VolumeSizeGib(2 * kGiB), 2U);
  EXPECT_EQ(VolumeSizeGib(2 * kGiB + 1), 3U);
}

}  // namespace
}  // namespace vmferry::transfer
