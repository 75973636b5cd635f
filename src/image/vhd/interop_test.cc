// SPDX-License-Identifier: Apache-2.0
//
// What strangers write is read, and what they read is what we read: qemu-img and qemu-io, and
// libvhdi for differencing disks, which QEMU does not know.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/open.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vhd_builder.h"

namespace vmferry::image::vhd {
namespace {

using testing::FakeRandom;
using testing::RunTool;
using testing::TempDir;
using testing::VhdBuilder;
using Bytes = std::vector<std::byte>;

/// The one that Debian's modules belong to; PATH may have another.
constexpr const char* kPython = "/usr/bin/python3";

Bytes ReadAll(const DiskImage& disk) {
  Bytes bytes(disk.SizeBytes(), std::byte{0xee});
  const auto read = disk.Read(0, bytes);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return bytes;
}

std::string FileText(const std::filesystem::path& path) {
  const auto text = sys::ReadWholeFile(path, 64 * kMiB);
  EXPECT_TRUE(text.has_value());
  return text ? *text : "";
}

struct Written {
  const char* options;
  const char* size;
};

class ByQemu : public ::testing::TestWithParam<Written> {};
INSTANTIATE_TEST_SUITE_P(Disks, ByQemu,
                         ::testing::Values(Written{"subformat=dynamic", "9M"},
                                           Written{"subformat=fixed", "9M"},
                                           Written{"subformat=dynamic,force_size=on", "9437696"},
                                           Written{"subformat=fixed,force_size=on", "9437696"},
                                           Written{"subformat=dynamic,force_size=on", "512"}),
                         [](const auto& tested) { return "Case" + std::to_string(tested.index); });

// Random writes by qemu-io, then both read the same, and agree on what is allocated.
TEST_P(ByQemu, RandomWritesAreReadProperty) {
  VMFERRY_NEEDS_TOOL("qemu-io");
  const std::uint64_t seed = 31;
  SCOPED_TRACE(seed);
  FakeRandom random(seed);
  const TempDir dir;
  const std::string path = (dir / "a.vhd").string();
  ASSERT_TRUE(RunTool({"qemu-img", "create", "-q", "-f", "vpc", "-o", GetParam().options, path,
                       GetParam().size})
                  .ok());
  std::uint64_t size_bytes = 0;
  {
    const auto empty = OpenDisk(path, {});
    ASSERT_TRUE(empty.has_value()) << empty.error().ToString();
    size_bytes = empty->image->SizeBytes();
  }
  std::vector<std::string> io = {"qemu-io", "-f", "vpc"};
  for (int i = 0; i < 6; ++i) {
    const std::uint64_t offset = random.Below(size_bytes / 512) * 512;
    const std::uint64_t length = std::min(size_bytes - offset, (1 + random.Below(600)) * 512);
    io.insert(io.end(), {"-c", "write -q -P " + std::to_string(1 + random.Below(255)) + " " +
                                   std::to_string(offset) + " " + std::to_string(length)});
  }
  io.push_back(path);
  const auto wrote = RunTool(io);
  ASSERT_TRUE(wrote.ok()) << wrote.error_output;
  const auto converted =
      RunTool({"qemu-img", "convert", "-f", "vpc", "-O", "raw", path, (dir / "a.raw").string()});
  ASSERT_TRUE(converted.ok()) << converted.error_output;
  const auto disk = OpenDisk(path, {});
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_TRUE(disk->image->Info().defects.empty());
  const Bytes guest = ReadAll(*disk->image);
  EXPECT_TRUE(AsText(guest) == FileText(dir / "a.raw"));
}

TEST(LibVhdi, ReadsDifferencingDisksAsWeDo) {
  if (!RunTool({kPython, "-c", "import pyvhdi"}).ok()) {
    GTEST_SKIP() << "needs python3-libvhdi";
  }
  const TempDir dir;
  FakeRandom random(41);
  VhdBuilder parent;
  parent.size_bytes = 3 * parent.block_bytes;
  VhdBuilder child = parent;
  child.kind = VhdBuilder::Kind::kDifferencing;
  child.parent_id = parent.unique_id;
  child.unique_id = {7, 7};
  child.parent_name = "parent.vhd";
  child.locators = {{"W2ru", testing::Utf16Le(".\\parent.vhd")}};
  for (const std::uint64_t block : {0U, 1U}) {
    parent.blocks[block].resize(parent.block_bytes);
    random.Fill(parent.blocks[block]);
  }
  for (const std::uint64_t block : {1U, 2U}) {
    child.blocks[block].resize(child.block_bytes);
    random.Fill(child.blocks[block]);
    // libvhdi 20210425 ends a run of present sectors only where a byte of the bitmap ends (0x80
    // means eight sectors to it): in each byte the sectors that are there are the last ones.
    for (int i = 0; i < 512; ++i) {
      child.bitmaps[block].push_back(static_cast<std::byte>((1U << random.Below(9)) - 1));
    }
  }
  ASSERT_TRUE(sys::WriteWholeFile(dir / "parent.vhd", AsText(parent.Build())).has_value());
  ASSERT_TRUE(sys::WriteWholeFile(dir / "child.vhd", AsText(child.Build())).has_value());
  const auto read = RunTool({kPython, "-c",
                             "import pyvhdi, sys\n"
                             "parent, child = pyvhdi.file(), pyvhdi.file()\n"
                             "parent.open(sys.argv[1]); child.open(sys.argv[2])\n"
                             "child.set_parent(parent)\n"
                             "out = open(sys.argv[3], 'wb')\n"
                             "left = child.get_media_size()\n"
                             "while left:\n"
                             "  data = child.read_buffer(min(left, 1 << 20))\n"
                             "  out.write(data); left -= len(data)\n",
                             (dir / "parent.vhd").string(), (dir / "child.vhd").string(),
                             (dir / "child.raw").string()});
  ASSERT_TRUE(read.ok()) << read.error_output;
  const auto disk = OpenDisk((dir / "child.vhd").string(), {});
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  const Bytes guest = ReadAll(*disk->image);
  EXPECT_TRUE(AsText(guest) == FileText(dir / "child.raw"));
}

}  // namespace
}  // namespace vmferry::image::vhd
