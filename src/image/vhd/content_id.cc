// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/content_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "image/vhd/big_endian.h"

namespace vmferry::image::vhd {

void AppendChecksums(EncodedPart& part) {
  for (const EncodedUnit& unit : part.units) {
    const std::uint32_t crc =
        codec::Crc32c(part.bytes.bytes().subspan(unit.offset_bytes, unit.length_bytes));
    part.bytes.Append(codec::CrcBytes(crc));
  }
}

ContentId::ContentId(std::string_view encoder_id, std::uint64_t size_bytes) {
  Mix(AsBytes(fmt::format("{} {}", encoder_id, size_bytes)));
}

void ContentId::Add(EncodedPart& part) {
  const std::size_t room = ChecksumRoom(part.units.size());
  const std::span<const std::byte> checksums = std::as_const(part.bytes).bytes().last(room);
  for (std::size_t i = 0; i < part.units.size(); ++i) {
    std::array<std::byte, sizeof(std::uint64_t) + sizeof(std::uint32_t)> entry;
    BigEndianWriter writer(entry);
    writer.U64(part.units[i].guest_offset_bytes);
    writer.Bytes(checksums.subspan(i * sizeof(std::uint32_t), sizeof(std::uint32_t)));
    Mix(entry);
  }
  part.bytes.Resize(part.bytes.size() - room);
}

UniqueId ContentId::Id() const {
  UniqueId id;
  std::copy_n(state_.begin(), id.size(), id.begin());
  // RFC 9562, section 5.8: version 8, an id made by one's own rules.
  id[6] = (id[6] & std::byte{0x0f}) | std::byte{0x80};
  id[8] = (id[8] & std::byte{0x3f}) | std::byte{0x80};
  return id;
}

Result<void> ContentId::Restore(std::span<const std::byte> state) {
  if (state.size() != state_.size()) {
    return Error(ErrorCode::kDataLoss, "encoder.bad_state",
                 fmt::format("the state of a VHD encoder has {} bytes, not {}", state.size(),
                             state_.size()));
  }
  std::copy(state.begin(), state.end(), state_.begin());
  return {};
}

void ContentId::Mix(std::span<const std::byte> bytes) {
  std::array<std::byte, 2 * sizeof(state_)> input = {};
  // The texts and entries that are mixed in are short; a longer one would be cut.
  const std::size_t count = std::min(bytes.size(), sizeof(state_));
  std::copy(state_.begin(), state_.end(), input.begin());
  std::copy_n(bytes.begin(), count, input.begin() + sizeof(state_));
  state_ = codec::Sha256(input);
}

}  // namespace vmferry::image::vhd
