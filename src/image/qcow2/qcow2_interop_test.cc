// SPDX-License-Identifier: Apache-2.0
//
// What QEMU's tools write is read as they read it.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/extent_list.h"
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

/// 3 MiB and a sector: text that compresses, noise that does not, and zeros.
std::string MakeGuest(std::uint64_t seed) {
  std::string guest(3 * kMiB + 512, '\0');
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
  std::fill(guest.begin() + kMiB, guest.begin() + 2 * kMiB + 70000, '\0');
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

/// What qemu-io did, on a copy in memory.
class Oracle {
 public:
  explicit Oracle(std::size_t size) : bytes_(size) {}

  /// A random write inside the first `size` bytes, as a command of qemu-io: the first one to a
  /// disk is compressed (QEMU compresses only into clusters that are absent), later ones are data
  /// or zeros.
  std::string Change(testing::FakeRandom& random, bool first, std::size_t size,
                     std::size_t cluster_bytes) {
    const std::uint64_t kind = first ? 0 : 1 + random.Below(7);
    std::size_t at = random.Below(size / 512) * 512;
    std::size_t length = (1 + random.Below(3 * cluster_bytes / 512)) * 512;
    if (first) {
      at = at / cluster_bytes * cluster_bytes;
      length = 4 * cluster_bytes;
    }
    length = std::min(length, size - at);
    const std::uint64_t pattern = kind == 1 || kind == 2 ? 0 : 1 + random.Below(255);
    std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at), length,
                static_cast<std::byte>(pattern));
    const char* flags = kind == 0 ? "-c -P " : kind == 1 ? "-z" : kind == 2 ? "-z -u" : "-P ";
    return std::string("write ") + flags + (pattern == 0 ? "" : std::to_string(pattern)) + " " +
           std::to_string(at) + " " + std::to_string(length);
  }
  void Resize(std::size_t size) { bytes_.resize(size); }
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

/// A chain of five disks of growing and shrinking sizes, each written to at random.
void CheckRandomChain(std::uint64_t seed, const char* options, std::size_t cluster_bytes) {
  const TempDir folder;
  testing::FakeRandom random(seed);
  Oracle oracle(0);
  std::string path;
  for (int level = 0; level < 5; ++level) {
    const std::size_t size = (20 + random.Below(20)) * cluster_bytes + random.Below(9) * 512;
    const std::string parent = path.substr(path.rfind('/') + 1);
    path = folder / ("level" + std::to_string(level) + ".qcow2");
    std::vector<std::string> create = {"qemu-img", "create", "-q", "-f", "qcow2", "-o", options};
    if (level > 0) create.insert(create.end(), {"-F", "qcow2", "-b", parent});
    create.insert(create.end(), {path, std::to_string(size)});
    Qemu(create);
    oracle.Resize(size);
    std::vector<std::string> write = {"qemu-io", "-f", "qcow2"};
    for (int i = 0; i < 12; ++i) {
      write.insert(write.end(), {"-c", oracle.Change(random, i == 0, size, cluster_bytes)});
    }
    write.push_back(path);
    Qemu(write);
  }
  const auto disk = OpenDisk(path);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(disk->image->Info().chain.size(), 4U);
  EXPECT_EQ(disk->files.size(), 5U);
  ASSERT_TRUE(ReadAll(*disk->image) == oracle.bytes());
  Bytes split(oracle.bytes().size());
  for (std::size_t at = 0; at < split.size();) {
    const std::size_t size = std::min(split.size() - at, 1 + random.Below(2 * cluster_bytes));
    ASSERT_TRUE(disk->image->Read(at, std::span(split).subspan(at, size)).has_value());
    at += size;
  }
  ASSERT_TRUE(split == oracle.bytes());
}

TEST(Qcow2Interop, ChainsWrittenByQemuIoReadLikeTheOracleProperty) {
  VMFERRY_NEEDS_TOOL("qemu-io");
  struct Case {
    const char* options;
    std::size_t cluster_bytes;
  };
  std::uint64_t seed = 1;
  for (const Case& tested : {Case{"cluster_size=64k", 65536}, Case{"cluster_size=512", 512},
                             Case{"cluster_size=16k,extended_l2=on", 16384},
                             Case{"cluster_size=4k,compression_type=zstd", 4096}}) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " " + tested.options);
    CheckRandomChain(seed++, tested.options, tested.cluster_bytes);
  }
}

/// Data and the rest, as qemu-img map tells them for a disk without a parent; joined.
std::vector<Extent> MapOfQemu(const std::string& path) {
  const auto mapped = RunTool({"qemu-img", "map", "--output=json", "-f", "qcow2", path});
  EXPECT_TRUE(mapped.ok()) << mapped.error_output;
  const auto number = [](std::string_view line, std::string_view key) {
    return std::stoull(std::string(line.substr(line.find(key) + key.size(), 20)));
  };
  std::vector<Extent> extents;
  std::string_view rest = mapped.output;
  while (rest.find("\"start\"") != rest.npos) {
    rest.remove_prefix(rest.find("\"start\""));
    const std::string_view line = rest.substr(0, rest.find('}') + 1);
    const bool data = line.find("\"data\": true") != line.npos;
    AppendExtent(extents, {number(line, "\"start\": "), number(line, "\"length\": "),
                           data ? ExtentKind::kData : ExtentKind::kHole});
    rest.remove_prefix(line.size());
  }
  return extents;
}

TEST(Qcow2Interop, AllocationIsWhatQemuImgMapSays) {
  VMFERRY_NEEDS_TOOL("qemu-io");
  const TempDir folder;
  for (const char* options : {"cluster_size=64k", "cluster_size=2M,extended_l2=on"}) {
    const std::string path = folder / "disk.qcow2";
    Qemu({"qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "64G"});
    Qemu({"qemu-io", "-f", "qcow2", "-c", "write 0 1M", "-c", "write 4M 64k", "-c",
          "write 4096M 2M", "-c", "write 65535M 1M", "-c", "write -z 100M 64M", path});
    const auto disk = OpenDisk(path);
    ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
    const auto extents = disk->image->Extents(0, disk->image->SizeBytes());
    ASSERT_TRUE(extents.has_value());
    std::vector<Extent> joined;
    for (const Extent& extent : *extents) {
      AppendExtent(joined,
                   {extent.offset_bytes, extent.length_bytes,
                    extent.kind == ExtentKind::kData ? ExtentKind::kData : ExtentKind::kHole});
    }
    EXPECT_EQ(joined, MapOfQemu(path)) << options;
    EXPECT_TRUE(std::any_of(extents->begin(), extents->end(), [](const Extent& extent) {
      return extent.kind == ExtentKind::kZero && extent.length_bytes == 64 * kMiB;
    }));
  }
}

TEST(Qcow2Interop, StandsOnAVmdkAndOnSnapshotsOfItself) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  VMFERRY_NEEDS_TOOL("qemu-io");
  const TempDir folder;
  ASSERT_TRUE(sys::WriteWholeFile(folder / "guest.raw", MakeGuest(2)).has_value());
  Qemu({"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized",
        folder / "guest.raw", folder / "base.vmdk"});
  const std::string path = folder / "disk.qcow2";
  Qemu({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "vmdk", "-b", "base.vmdk", path});
  Qemu({"qemu-io", "-f", "qcow2", "-c", "write -P 7 100k 300k", path});
  Qemu({"qemu-img", "snapshot", "-c", "first", path});
  Qemu({"qemu-io", "-f", "qcow2", "-c", "write -P 9 200k 300k", path});
  ExpectSameAsQemu(folder, path);
}

}  // namespace
}  // namespace vmferry::image::qcow2
