// SPDX-License-Identifier: Apache-2.0
//
// What QEMU's tools write is read as they read it: bytes and kinds of extents.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/open.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::vhdx {
namespace {

using testing::RunTool;
using testing::TempDir;
using Bytes = std::vector<std::byte>;

void Qemu(std::vector<std::string> arguments) {
  const auto done = RunTool(std::move(arguments));
  ASSERT_TRUE(done.ok()) << done.error_output << done.output;
}

Bytes ReadAll(const DiskImage& disk) {
  Bytes bytes(disk.SizeBytes());
  const auto read = disk.Read(0, bytes);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return bytes;
}

Bytes QemuBytes(const TempDir& folder, const std::string& path) {
  const std::string raw = folder / "oracle.raw";
  Qemu({"qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, raw});
  const auto text = sys::ReadWholeFile(raw, 256 * kMiB);
  EXPECT_TRUE(text.has_value());
  if (!text) return {};
  const auto bytes = AsBytes(*text);
  return Bytes(bytes.begin(), bytes.end());
}

/// Random writes and zero writes, as qemu-io commands.
std::vector<std::string> RandomCommands(testing::FakeRandom& random, std::uint64_t size_bytes,
                                        int count) {
  std::vector<std::string> commands;
  for (int i = 0; i < count; ++i) {
    const std::uint64_t length = 512 * (1 + random.Below(300));
    const std::uint64_t offset = 512 * random.Below((size_bytes - length) / 512);
    commands.push_back("-c");
    commands.push_back("write -P " + std::to_string(1 + random.Below(255)) + " " +
                       std::to_string(offset) + " " + std::to_string(length));
  }
  return commands;
}

struct Variant {
  std::string options;
  std::string size;
  std::string subformat;
};

TEST(VhdxInterop, EveryVariantThatQemuImgWrites) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  VMFERRY_NEEDS_TOOL("qemu-io");
  const std::vector<Variant> variants = {
      {"subformat=dynamic,block_size=1M", "5M", "dynamic"},
      {"subformat=dynamic,block_size=1M,block_state_zero=off", "5243392", "dynamic"},
      {"subformat=dynamic,block_size=2M,log_size=2M", "7M", "dynamic"},
      {"subformat=dynamic,block_size=256M", "9M", "dynamic"},
      {"subformat=dynamic", "17M", "dynamic"},
      {"subformat=fixed,block_size=1M", "5M", "fixed"},
      {"subformat=fixed", "1M", "fixed"},
  };
  testing::FakeRandom random(7);
  for (const Variant& variant : variants) {
    SCOPED_TRACE(variant.options);
    const TempDir folder;
    const std::string path = folder / "disk.vhdx";
    Qemu({"qemu-img", "create", "-q", "-f", "vhdx", "-o", variant.options, path, variant.size});
    auto empty = OpenDisk(path);
    ASSERT_TRUE(empty.has_value()) << empty.error().ToString();
    EXPECT_TRUE(ReadAll(*empty->image) == Bytes(empty->image->SizeBytes()));

    std::vector<std::string> command = {"qemu-io", "-f", "vhdx"};
    const auto writes = RandomCommands(random, empty->image->SizeBytes(), 6);
    command.insert(command.end(), writes.begin(), writes.end());
    command.push_back(path);
    Qemu(command);
    const auto disk = OpenDisk(path);
    ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
    EXPECT_EQ(disk->image->Info().subformat, variant.subformat);
    EXPECT_EQ(disk->image->Info().format, "vhdx");
    EXPECT_NE(disk->image->Info().creator.find("QEMU"), std::string::npos);
    EXPECT_EQ(disk->image->Info().identity.size(), 36U);
    EXPECT_TRUE(disk->image->Info().defects.empty()) << disk->image->Info().defects.front();
    ASSERT_TRUE(ReadAll(*disk->image) == QemuBytes(folder, path));
  }
}

TEST(VhdxInterop, EmptyDisk) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const TempDir folder;
  Qemu({"qemu-img", "create", "-q", "-f", "vhdx", folder / "disk.vhdx", "0"});
  const auto disk = OpenDisk(folder / "disk.vhdx");
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(disk->image->SizeBytes(), 0U);
}

}  // namespace
}  // namespace vmferry::image::vhdx
