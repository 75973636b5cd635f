// SPDX-License-Identifier: Apache-2.0
//
// The footer of a VHD: the last sector of the file, and in dynamic and differencing disks a copy of
// it in the first.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "image/vhd/geometry.h"

namespace vmferry::image::vhd {

inline constexpr std::size_t kFooterBytes = 512;
/// What Virtual PC before 2004 wrote.
inline constexpr std::size_t kOldFooterBytes = 511;
inline constexpr std::string_view kFooterCookie = "conectix";
/// What Hyper-V and QEMU take: 2,040 GiB.
inline constexpr std::uint64_t kMaxDiskBytes = std::uint64_t{0xff000000} * kSectorBytes;
/// "No offset", for fixed disks and in the dynamic header.
inline constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

inline constexpr std::uint32_t kFeatureTemporary = 1;
inline constexpr std::uint32_t kFeatureReserved = 2;  ///< always set

using UniqueId = std::array<std::byte, 16>;

enum class DiskType : std::uint32_t {
  kFixed = 2,
  kDynamic = 3,
  kDifferencing = 4,
};

struct Footer {
  std::uint32_t features = kFeatureReserved;
  std::uint64_t data_offset_bytes = kNoOffset;  ///< of the dynamic header
  std::uint32_t created_seconds = 0;            ///< since 2000-01-01 UTC
  std::array<char, 4> creator_app = {};
  std::uint32_t creator_version = 0;
  std::array<char, 4> creator_host = {};
  std::uint64_t original_size_bytes = 0;
  std::uint64_t current_size_bytes = 0;
  Geometry geometry;
  DiskType type = DiskType::kFixed;
  UniqueId unique_id = {};
  bool saved_state = false;

  std::string_view creator() const { return {creator_app.data(), creator_app.size()}; }
};

/// Reads a footer of 512 or 511 bytes and checks it by itself.
///
/// Errors: kDataLoss vhd.footer.missing (no cookie), vhd.footer.checksum, vhd.footer.disk_type;
///         kUnimplemented vhd.footer.version.
Result<Footer> ParseFooter(std::span<const std::byte> bytes);

/// The footer as it is stored, its checksum filled in.
std::array<std::byte, kFooterBytes> StoreFooter(const Footer& footer);

/// The checksum over `bytes`, in which the stored checksum at `at` counts as zero.
std::uint32_t Checksum(std::span<const std::byte> bytes, std::size_t at);

/// By what the size of the disk is found.
enum class SizeRule {
  kGeometry,
  kCurrentSize,
  kNoGeometry,  ///< the geometry should count, but there is none
};

/// Programs disagree on what the size of a VHD is: this follows qemu-img 7.2, creator by creator.
SizeRule SizeRuleOf(const Footer& footer);

/// The size of the disk after SizeRuleOf. Errors: kDataLoss vhd.footer.size above 2,040 GiB.
Result<std::uint64_t> DiskBytes(const Footer& footer);

/// "Microsoft Hyper-V 10.0": the program that wrote the disk.
std::string CreatorName(const Footer& footer);

/// "fixed", "dynamic", "differencing".
std::string TypeName(DiskType type);

/// 32 digits in lower case.
std::string IdText(const UniqueId& id);

}  // namespace vmferry::image::vhd
