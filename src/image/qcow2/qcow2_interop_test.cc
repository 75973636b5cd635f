// SPDX-License-Identifier: Apache-2.0
//
// What QEMU's tools write is read as they read it.

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

namespace vmferry::image::qcow2 {
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

/// The guest's bytes as qemu-img reads them.
Bytes QemuBytes(const TempDir& folder, const std::string& path) {
  const std::string raw = folder / "oracle.raw";
  Qemu({"qemu-img", "convert", "-O", "raw", path, raw});
  const auto text = sys::ReadWholeFile(raw, 256 * kMiB);
  EXPECT_TRUE(text.has_value());
  if (!text) return {};
  const auto bytes = AsBytes(*text);
  return Bytes(bytes.begin(), bytes.end());
}

void ExpectSameAsQemu(const TempDir& folder, const std::string& path) {
  const auto disk = OpenDisk(path);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  ASSERT_TRUE(ReadAll(*disk->image) == QemuBytes(folder, path)) << path;
}

/// 5 MiB and a sector: text that compresses, noise that does not, and zeros.
std::string MakeGuest(std::uint64_t seed) {
  std::string guest(5 * kMiB + 512, '\0');
  testing::FakeRandom random(seed);
  for (std::size_t at = 0; at + 4096 <= guest.size(); at += 4096) {
    const std::uint64_t kind = random.Below(6);
    auto block = std::span(guest).subspan(at, 4096);
    if (kind == 0) random.Fill(std::as_writable_bytes(block));
    if (kind > 3) continue;
    for (std::size_t i = kind == 0 ? 4096 : 0; i < 4096; ++i) {
      block[i] = "the quick brown fox "[(i * kind + at / 4096) % 20];
    }
  }
  std::fill(guest.begin() + 2 * kMiB, guest.begin() + 3 * kMiB + 70000, '\0');
  return guest;
}

TEST(Qcow2Interop, EveryVariantThatQemuImgWrites) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const TempDir folder;
  ASSERT_TRUE(sys::WriteWholeFile(folder / "guest.raw", MakeGuest(1)).has_value());
  const std::vector<std::vector<std::string>> variants = {
      {"-o", "compat=0.10"},
      {"-o", "compat=1.1"},
      {"-o", "compat=1.1,lazy_refcounts=on"},
      {"-o", "cluster_size=512"},
      {"-o", "cluster_size=4k"},
      {"-o", "cluster_size=2M"},
      {"-o", "preallocation=metadata"},
      {"-o", "preallocation=falloc"},
      {"-o", "extended_l2=on,cluster_size=16k"},
      {"-o", "extended_l2=on,cluster_size=128k"},
      {"-o", "extended_l2=on,cluster_size=2M"},
      {"-c"},
      {"-c", "-o", "compat=0.10"},
      {"-c", "-o", "cluster_size=512"},
      {"-c", "-o", "cluster_size=2M"},
      {"-c", "-o", "compression_type=zstd"},
      {"-c", "-o", "compression_type=zstd,cluster_size=4k"},
      {"-c", "-o", "compression_type=zstd,cluster_size=2M"},
      {"-c", "-o", "extended_l2=on,cluster_size=64k"},
  };
  for (const auto& variant : variants) {
    SCOPED_TRACE(variant.back());
    const std::string path = folder / "disk.qcow2";
    std::vector<std::string> command = {"qemu-img", "convert", "-f", "raw", "-O", "qcow2"};
    command.insert(command.end(), variant.begin(), variant.end());
    command.insert(command.end(), {folder / "guest.raw", path});
    Qemu(command);
    ExpectSameAsQemu(folder, path);
  }
}

}  // namespace
}  // namespace vmferry::image::qcow2
