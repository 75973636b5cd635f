// SPDX-License-Identifier: Apache-2.0
#include "image/ova/tar_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>

#include "base/byte_reader.h"
#include "base/check.h"

namespace vmferry::image::ova {
namespace {

constexpr std::size_t kNumberBytes = 12;

void Put(std::span<std::byte> block, std::size_t offset, std::string_view text) {
  const auto bytes = AsBytes(text);
  std::copy(bytes.begin(), bytes.end(), block.begin() + static_cast<std::ptrdiff_t>(offset));
}

/// Eleven octal digits, or a big-endian number behind 0x80.
void PutNumber(std::span<std::byte> block, std::size_t offset, std::uint64_t value) {
  if (value < std::uint64_t{1} << 33) {
    Put(block, offset, fmt::format("{:011o}", value));
    return;
  }
  block[offset] = std::byte{0x80};
  for (std::size_t i = kNumberBytes - 1; i > 0; --i) {
    block[offset + i] = static_cast<std::byte>(value & 0xff);
    value >>= 8;
  }
}

}  // namespace

std::array<std::byte, kTarBlockBytes> MakeTarHeader(std::string_view name, std::uint64_t size_bytes,
                                                    std::uint64_t modified_s) {
  VMFERRY_CHECK(!name.empty() && name.size() <= 100);
  std::array<std::byte, kTarBlockBytes> block = {};
  Put(block, 0, name);
  Put(block, 100, "0000644");
  Put(block, 108, "0000000");
  Put(block, 116, "0000000");
  PutNumber(block, 124, size_bytes);
  PutNumber(block, 136, modified_s);
  Put(block, 148, "        ");
  Put(block, 156, "0");
  Put(block, 257, "ustar");
  Put(block, 263, "00");
  unsigned sum = 0;
  for (const std::byte byte : block) sum += std::to_integer<unsigned>(byte);
  // "ustar Interchange Format", chksum: six digits, NUL, blank.
  Put(block, 148, fmt::format("{:06o}", sum));
  block[154] = std::byte{0};
  return block;
}

}  // namespace vmferry::image::ova
