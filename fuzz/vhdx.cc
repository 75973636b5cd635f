// SPDX-License-Identifier: Apache-2.0
//
// Opens the input as a VHDX, after making its checksums right, and reads from it.
//
// A VHDX has 5 MiB at least, nearly all of them zero. So the input is a list of pieces: two bytes
// of offset in units of 512 bytes, two bytes of length, and the bytes. The seeds in
// corpus/vhdx are what VhdxBuilder makes, cut into such pieces.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/units.h"
#include "codec/digest.h"
#include "image/vhdx/vhdx_image.h"

namespace {

using vmferry::ByteReader;
using vmferry::kKiB;
using vmferry::kMiB;
using vmferry::Result;
using vmferry::image::ByteSource;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kPage = 4 * kKiB;
constexpr std::uint64_t kUnit = 512;
constexpr std::uint64_t kFileBytes = 8 * kMiB;

/// A file of zeros but for some pages.
class SparseSource final : public ByteSource {
 public:
  explicit SparseSource(std::uint64_t size_bytes) : size_bytes_(size_bytes) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<void> ReadAt(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size_bytes_ || out.size() > size_bytes_ - offset) {
      return vmferry::Error(vmferry::ErrorCode::kUnavailable, "io.short_read", "past the end");
    }
    if (!out.empty()) std::memset(out.data(), 0, out.size());
    const std::uint64_t end = offset + out.size();
    for (auto page = pages_.lower_bound(offset / kPage);
         page != pages_.end() && page->first * kPage < end; ++page) {
      const std::uint64_t from = std::max(offset, page->first * kPage);
      const std::uint64_t to = std::min(end, (page->first + 1) * kPage);
      std::memcpy(out.data() + (from - offset), page->second.data() + from % kPage, to - from);
    }
    return {};
  }

  Result<vmferry::sys::FileRun> RunAt(std::uint64_t offset) const override {
    const std::uint64_t length = std::min(kPage - offset % kPage, size_bytes_ - offset);
    return vmferry::sys::FileRun{offset, length, pages_.count(offset / kPage) == 0};
  }

  void Write(std::uint64_t offset, std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) {
      if (offset >= size_bytes_) return;
      Bytes& page = pages_.try_emplace(offset / kPage, Bytes(kPage)).first->second;
      page[offset++ % kPage] = byte;
    }
  }

  /// Makes the CRC32C of a structure right that has it in bytes 4 to 7.
  void Sum(std::uint64_t offset, std::uint64_t length) {
    if (offset > size_bytes_ || length > size_bytes_ - offset) return;
    Bytes bytes(length);
    VMFERRY_CHECK(ReadAt(offset, bytes).has_value());
    std::fill_n(bytes.begin() + 4, 4, std::byte{0});
    const std::uint32_t sum = vmferry::codec::Crc32c(bytes);
    std::array<std::byte, 4> stored;
    for (unsigned i = 0; i < 4; ++i) stored[i] = static_cast<std::byte>(sum >> (8 * i) & 0xff);
    Write(offset + 4, stored);
  }

  /// Sums what looks like a structure with a checksum. Log entries that wrap are left alone.
  void SumAll() {
    for (const std::uint64_t at : {64 * kKiB, 128 * kKiB}) Sum(at, kPage);
    for (const std::uint64_t at : {192 * kKiB, 256 * kKiB}) Sum(at, 64 * kKiB);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> entries;
    for (const auto& [index, page] : pages_) {
      ByteReader reader(page);
      if (vmferry::AsText(reader.Take(4)) != "loge") continue;
      reader.Skip(4);
      const std::uint32_t length = reader.U32Le();
      if (length >= kPage && length <= 64 * kKiB) entries.emplace_back(index * kPage, length);
    }
    for (const auto& [at, length] : entries) Sum(at, length);
  }

 private:
  const std::uint64_t size_bytes_;
  std::map<std::uint64_t, Bytes> pages_;
};

/// The extents of a window cover it exactly and tell the truth about zeros.
void CheckWindow(const vmferry::image::DiskImage& disk, std::uint64_t offset,
                 std::uint64_t length) {
  const auto extents = disk.Extents(offset, length);
  if (!extents) return;
  std::uint64_t at = offset;
  for (const vmferry::image::Extent& extent : *extents) {
    VMFERRY_CHECK(extent.offset_bytes == at && extent.length_bytes > 0);
    at += extent.length_bytes;
    Bytes bytes(std::min<std::uint64_t>(extent.length_bytes, 3 * 4096 + 5));
    const bool read = disk.Read(extent.offset_bytes, bytes).has_value();
    if (extent.kind == vmferry::image::ExtentKind::kData) continue;
    VMFERRY_CHECK(read);
    VMFERRY_CHECK(std::all_of(bytes.begin(), bytes.end(),
                              [](std::byte byte) { return byte == std::byte{0}; }));
  }
  VMFERRY_CHECK(at == offset + length);
}

/// A parent of zeros, so that differencing disks can be read, too.
class ZeroParent final : public vmferry::image::DiskImage {
 public:
  std::uint64_t SizeBytes() const override { return 3 * kMiB; }
  Result<void> Read(std::uint64_t, std::span<std::byte> out) const override {
    if (!out.empty()) std::memset(out.data(), 0, out.size());
    return {};
  }
  Result<std::vector<vmferry::image::Extent>> Extents(std::uint64_t offset,
                                                      std::uint64_t length) const override {
    std::vector<vmferry::image::Extent> extents;
    if (length > 0) extents.push_back({offset, length, vmferry::image::ExtentKind::kZero});
    return extents;
  }
  const vmferry::image::DiskImageInfo& Info() const override { return info_; }

 private:
  vmferry::image::DiskImageInfo info_;
};

class ZeroCompanions final : public vmferry::image::Companions {
 public:
  Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view,
                                                 vmferry::image::NameStyle) override {
    return vmferry::Error(vmferry::ErrorCode::kNotFound, "image.chain.missing", "no extents");
  }
  Result<vmferry::image::ParentDisk> OpenParent(const vmferry::image::ParentRequest&) override {
    vmferry::image::ParentDisk parent;
    parent.image = std::make_unique<ZeroParent>();
    return parent;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader input(std::as_bytes(std::span(data, size)));
  auto source = std::make_unique<SparseSource>(kFileBytes);
  source->Write(0, vmferry::AsBytes("vhdxfile"));
  while (input.remaining() > 4) {
    const std::uint64_t offset = input.U16Le() * kUnit;
    const std::size_t length = std::min<std::size_t>(input.U16Le(), input.remaining());
    source->Write(offset, input.Take(length));
  }
  source->SumAll();
  ZeroCompanions companions;
  const auto disk = vmferry::image::vhdx::Open(std::move(source), companions);
  if (!disk) return 0;
  const std::uint64_t disk_bytes = (*disk)->SizeBytes();
  const std::uint64_t window = std::min<std::uint64_t>(disk_bytes, 4 * kMiB);
  CheckWindow(**disk, 0, window);
  CheckWindow(**disk, disk_bytes - window, window);
  return 0;
}
