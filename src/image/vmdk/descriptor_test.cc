// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/descriptor.h"

#include <gtest/gtest.h>

#include <string>

namespace vmferry::image::vmdk {
namespace {

constexpr std::string_view kGood = R"(# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fffffffe
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW 4096 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB
ddb.adapterType = "lsilogic"
ddb.comment = "a = b"
)";

std::string Replaced(std::string_view what, std::string_view with) {
  std::string text(kGood);
  text.replace(text.find(what), what.size(), with);
  return text;
}

std::string Refusal(std::string_view text) {
  const auto descriptor = ParseDescriptor(text);
  if (!descriptor) return descriptor.error().reason();
  const auto parent = HasParent(*descriptor);
  if (!parent) return parent.error().reason();
  const auto checked = CheckEmbedded(*descriptor, 4096, 128);
  return checked ? "" : checked.error().reason();
}

TEST(VmdkDescriptor, ReadsKeysExtentsAndDatabase) {
  const auto descriptor = ParseDescriptor(std::string(kGood) + std::string(100, '\0') + "junk");
  ASSERT_TRUE(descriptor.has_value()) << descriptor.error().ToString();
  EXPECT_EQ(descriptor->create_type, "streamOptimized");
  EXPECT_EQ(descriptor->content_id, "fffffffe");
  EXPECT_EQ(descriptor->parent_content_id, "ffffffff");
  ASSERT_EQ(descriptor->extents.size(), 1U);
  EXPECT_EQ(descriptor->extents[0].access, "RW");
  EXPECT_EQ(descriptor->extents[0].sectors, 4096U);
  EXPECT_EQ(descriptor->extents[0].type, "SPARSE");
  EXPECT_EQ(descriptor->extents[0].file_name, "disk.vmdk");
  EXPECT_EQ(descriptor->Entry("ddb.adapterType"), "lsilogic");
  EXPECT_EQ(descriptor->Entry("ddb.comment"), "a = b");
  EXPECT_EQ(descriptor->Entry("ddb.absent"), "");
}

TEST(VmdkDescriptor, TakesWhatOtherWritersWrite) {
  EXPECT_EQ(Refusal(kGood), "");
  std::string with_carriage_returns;
  for (const char c : kGood) {
    if (c == '\n') with_carriage_returns += '\r';
    with_carriage_returns += c;
  }
  EXPECT_EQ(Refusal(with_carriage_returns), "");
  EXPECT_EQ(Refusal(Replaced("parentCID=ffffffff", "parentCID = FFFFFFFF")), "");
  EXPECT_EQ(Refusal(Replaced("RW 4096 ", "RDONLY   4096\t")), "");
  EXPECT_EQ(Refusal(Replaced("RW 4096", "RW 4090")), "") << "VirtualBox: capacity in whole grains";
  EXPECT_EQ(Refusal(Replaced("version=1", "RW = 5")), "") << "a key that looks like an extent";
}

TEST(VmdkDescriptor, RefusesWhatItDoesNotUnderstand) {
  struct Case {
    std::string text;
    std::string reason;
  };
  const std::string extent = "RW 4096 SPARSE \"disk.vmdk\"";
  const std::vector<Case> cases = {
      {"", "vmdk.descriptor.signature"},
      {"# Disk", "vmdk.descriptor.signature"},
      {"hello", "vmdk.descriptor.signature"},
      {Replaced("version=1", "nonsense"), "vmdk.descriptor.syntax"},
      {Replaced("version=1", "=1"), "vmdk.descriptor.syntax"},
      {Replaced("version=1", "two words=1"), "vmdk.descriptor.syntax"},
      {Replaced("version=1", "version=\"1"), "vmdk.descriptor.syntax"},
      {Replaced("version=1", "version=1\""), "vmdk.descriptor.syntax"},
      {Replaced("version=1", "version=\"1\" 2"), "vmdk.descriptor.syntax"},
      {Replaced("version=1", "version=\x01"), "vmdk.descriptor.syntax"},
      {Replaced(extent, "RW"), "vmdk.descriptor.syntax"},
      {Replaced(extent, "RW -1 SPARSE \"disk.vmdk\""), "vmdk.descriptor.syntax"},
      {Replaced(extent, "RW 99999999999999999999 SPARSE \"disk.vmdk\""), "vmdk.descriptor.syntax"},
      {Replaced(extent, "RW 4096"), "vmdk.descriptor.syntax"},
      {Replaced(extent, "RW 4096 SPARSE disk.vmdk"), "vmdk.descriptor.syntax"},
      {Replaced(extent, "RW 4096 SPARSE \"disk.vmdk"), "vmdk.descriptor.syntax"},
      {Replaced(extent, "rw 4096 SPARSE \"disk.vmdk\""), "vmdk.descriptor.syntax"},
      {Replaced("version=1", "createType=\"monolithicFlat\""), "vmdk.descriptor.duplicate"},
      {Replaced("version=1", "CID=1"), "vmdk.descriptor.duplicate"},
      {Replaced("version=1", "parentCID=ffffffff"), "vmdk.descriptor.duplicate"},
      {std::string(kGood) + std::string(5000, '\n'), "vmdk.descriptor.too_long"},
  };
  for (const Case& tested : cases) EXPECT_EQ(Refusal(tested.text), tested.reason) << tested.text;
}

TEST(VmdkDescriptor, RefusesDisksThatAreMoreThanThisFile) {
  struct Case {
    std::string text;
    std::string reason;
  };
  const std::string extent = "RW 4096 SPARSE \"disk.vmdk\"";
  const std::string bad = "vmdk.descriptor.bad_extent";
  const std::vector<Case> cases = {
      {Replaced("\"streamOptimized\"", "\"monolithicFlat\""), "vmdk.descriptor.create_type"},
      {Replaced("\"streamOptimized\"", "\"streamoptimized\""), "vmdk.descriptor.create_type"},
      {Replaced("createType=\"streamOptimized\"", ""), "vmdk.descriptor.create_type"},
      {Replaced("parentCID=ffffffff", "parentCID=1234567890"), "vmdk.descriptor.content_id"},
      {Replaced("parentCID=ffffffff", "parentCID=-1"), "vmdk.descriptor.content_id"},
      {Replaced("version=1", "parentFileNameHint=\"base.vmdk\""), "vmdk.descriptor.has_parent"},
      {Replaced(extent, ""), bad},
      {Replaced(extent, extent + "\n" + extent), bad},
      {Replaced(extent, extent + "\nRW 10 FLAT \"/etc/passwd\" 0"), bad},
      {Replaced(extent, "RW 4096 FLAT \"disk.vmdk\" 0"), bad},
      {Replaced(extent, "RW 4096 ZERO"), bad},
      {Replaced(extent, "RW 4096 SPARSE \"/etc/passwd\""), bad},
      {Replaced(extent, "RW 4096 SPARSE \"../disk.vmdk\""), bad},
      {Replaced(extent, "RW 4096 SPARSE \"a\\disk.vmdk\""), bad},
      {Replaced(extent, "RW 4096 SPARSE \"C:disk.vmdk\""), bad},
      {Replaced(extent, "RW 4096 SPARSE \"..\""), bad},
      {Replaced(extent, "RW 4096 SPARSE \"\""), bad},
      {Replaced(extent, "RW 4096 SPARSE \"disk.vmdk\" 8"), bad},
      {Replaced(extent, "NOACCESS 4096 SPARSE \"disk.vmdk\""), bad},
      {Replaced("RW 4096", "RW 4097"), bad},
      {Replaced("RW 4096", "RW 3968"), bad},
      {Replaced("RW 4096", "RW 0"), bad},
  };
  for (const Case& tested : cases) EXPECT_EQ(Refusal(tested.text), tested.reason) << tested.text;
}

}  // namespace
}  // namespace vmferry::image::vmdk
