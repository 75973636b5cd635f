// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/footer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/byte_reader.h"
#include "image/vhd/big_endian.h"
#include "image/vhd/damage.h"

namespace vmferry::image::vhd {
namespace {

constexpr std::uint32_t kVersion = 0x00010000;
constexpr std::size_t kChecksumAt = 64;
constexpr std::size_t kUsedBytes = 85;  // the rest is reserved

std::array<char, 4> FourChars(std::span<const std::byte> bytes) {
  std::array<char, 4> chars = {};
  std::transform(bytes.begin(), bytes.end(), chars.begin(),
                 [](std::byte byte) { return std::to_integer<char>(byte); });
  return chars;
}

struct Creator {
  std::string_view app;
  std::string_view name;
  SizeRule rule;
};

// What qemu-img 7.2 does with each was found out by asking it (footer_test.cc does so again): the
// geometry counts unless the creator is known to write sizes that are no whole geometry.
constexpr Creator kCreators[] = {
    {"vpc ", "Microsoft Virtual PC", SizeRule::kGeometry},
    {"vs  ", "Microsoft Virtual Server", SizeRule::kGeometry},
    {"win ", "Microsoft Hyper-V", SizeRule::kCurrentSize},
    {"d2v ", "Disk2vhd", SizeRule::kCurrentSize},
    {"qemu", "QEMU", SizeRule::kGeometry},
    {"qem2", "QEMU", SizeRule::kCurrentSize},
    {"vbox", "VirtualBox", SizeRule::kGeometry},
    {std::string_view("tap\0", 4), "XenServer", SizeRule::kCurrentSize},
    {"CTXS", "XenConvert", SizeRule::kCurrentSize},
    {std::string_view("wa\0\0", 4), "Microsoft Azure", SizeRule::kGeometry},
};

const Creator* FindCreator(const Footer& footer) {
  const auto* found =
      std::find_if(std::begin(kCreators), std::end(kCreators),
                   [&](const Creator& creator) { return creator.app == footer.creator(); });
  return found == std::end(kCreators) ? nullptr : found;
}

}  // namespace

std::uint32_t Checksum(std::span<const std::byte> bytes, std::size_t at) {
  // VHD 1.0, "Hard Disk Footer Format", Checksum: the one's complement of the sum of all bytes
  // without the checksum.
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i < at || i >= at + 4) sum += std::to_integer<std::uint32_t>(bytes[i]);
  }
  return ~sum;
}

Result<Footer> ParseFooter(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const bool cookie = AsText(reader.Take(kFooterCookie.size())) == kFooterCookie;
  Footer footer;
  footer.features = reader.U32Be();
  const std::uint32_t version = reader.U32Be();
  footer.data_offset_bytes = reader.U64Be();
  footer.created_seconds = reader.U32Be();
  footer.creator_app = FourChars(reader.Take(4));
  footer.creator_version = reader.U32Be();
  footer.creator_host = FourChars(reader.Take(4));
  footer.original_size_bytes = reader.U64Be();
  footer.current_size_bytes = reader.U64Be();
  footer.geometry.cylinders = reader.U16Be();
  footer.geometry.heads = reader.U8();
  footer.geometry.sectors_per_track = reader.U8();
  const std::uint32_t type = reader.U32Be();
  const std::uint32_t checksum = reader.U32Be();
  const std::span<const std::byte> id = reader.Take(footer.unique_id.size());
  footer.saved_state = reader.U8() != 0;
  // VHD 1.0, "Hard Disk Footer Format": the cookie is "conectix".
  if (reader.failed() || !cookie) {
    return Damage("vhd.footer.missing", "there is no VHD footer where one must be");
  }
  std::copy(id.begin(), id.end(), footer.unique_id.begin());
  // VHD 1.0, "Hard Disk Footer Format", File Format Version: the major version changes when older
  // programs cannot read the disk any more.
  if (version >> 16 != kVersion >> 16) {
    return Unsupported("vhd.footer.version", fmt::format("VHD version {}.{} is not known",
                                                         version >> 16, version & 0xffff));
  }
  if (const std::uint32_t sum = Checksum(bytes, kChecksumAt); sum != checksum) {
    return Damage("vhd.footer.checksum",
                  fmt::format("the checksum of the VHD footer is {:#010x}, but its bytes give "
                              "{:#010x}",
                              checksum, sum));
  }
  // VHD 1.0, "Hard Disk Footer Format", Disk Type: 2, 3 or 4; the others are reserved.
  if (type < static_cast<std::uint32_t>(DiskType::kFixed) ||
      type > static_cast<std::uint32_t>(DiskType::kDifferencing)) {
    return Damage("vhd.footer.disk_type",
                  fmt::format("the VHD footer gives disk type {}; 2 to 4 are possible", type));
  }
  footer.type = static_cast<DiskType>(type);
  return footer;
}

std::array<std::byte, kFooterBytes> StoreFooter(const Footer& footer) {
  std::array<std::byte, kFooterBytes> bytes = {};
  BigEndianWriter writer(bytes);
  writer.Text(kFooterCookie);
  writer.U32(footer.features);
  writer.U32(kVersion);
  writer.U64(footer.data_offset_bytes);
  writer.U32(footer.created_seconds);
  writer.Text(footer.creator());
  writer.U32(footer.creator_version);
  writer.Text({footer.creator_host.data(), footer.creator_host.size()});
  writer.U64(footer.original_size_bytes);
  writer.U64(footer.current_size_bytes);
  writer.U16(footer.geometry.cylinders);
  writer.U8(footer.geometry.heads);
  writer.U8(footer.geometry.sectors_per_track);
  writer.U32(static_cast<std::uint32_t>(footer.type));
  writer.U32(0);
  writer.Bytes(footer.unique_id);
  writer.U8(footer.saved_state ? 1 : 0);
  VMFERRY_CHECK(writer.position() == kUsedBytes);
  BigEndianWriter(std::span(bytes).subspan(kChecksumAt)).U32(Checksum(bytes, kChecksumAt));
  return bytes;
}

SizeRule SizeRuleOf(const Footer& footer) {
  if (footer.geometry.sectors() == kMaxGeometrySectors) return SizeRule::kCurrentSize;
  const Creator* creator = FindCreator(footer);
  if (creator != nullptr && creator->rule == SizeRule::kCurrentSize) return SizeRule::kCurrentSize;
  return footer.geometry.sectors() == 0 && footer.current_size_bytes > 0 ? SizeRule::kNoGeometry
                                                                         : SizeRule::kGeometry;
}

Result<std::uint64_t> DiskBytes(const Footer& footer) {
  const std::uint64_t size_bytes = SizeRuleOf(footer) == SizeRule::kGeometry
                                       ? footer.geometry.bytes()
                                       : footer.current_size_bytes;
  // VHD 1.0, "Overview": disks have up to 2,040 GB.
  if (size_bytes > kMaxDiskBytes) {
    return Damage("vhd.footer.size",
                  fmt::format("the VHD footer gives a disk of {} bytes; up to {} are possible",
                              size_bytes, kMaxDiskBytes));
  }
  // A disk is a whole number of sectors; QEMU leaves the rest out, too.
  return size_bytes / kSectorBytes * kSectorBytes;
}

std::string CreatorName(const Footer& footer) {
  const std::string version =
      fmt::format("{}.{}", footer.creator_version >> 16, footer.creator_version & 0xffff);
  if (const Creator* creator = FindCreator(footer)) {
    return fmt::format("{} {}", creator->name, version);
  }
  std::string name;
  for (const char c : footer.creator()) {
    if (std::isgraph(static_cast<unsigned char>(c)) != 0) name.push_back(c);
  }
  return name.empty() ? "" : fmt::format("{} {}", name, version);
}

std::string TypeName(DiskType type) {
  switch (type) {
    case DiskType::kFixed:
      return "fixed";
    case DiskType::kDynamic:
      return "dynamic";
    case DiskType::kDifferencing:
      return "differencing";
  }
  return "unknown";
}

std::string IdText(const UniqueId& id) {
  std::string text;
  for (const std::byte byte : id) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

}  // namespace vmferry::image::vhd
