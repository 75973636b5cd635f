// SPDX-License-Identifier: Apache-2.0
//
// Inspects the input as a disk. The first two bytes choose the disk's size, from the input's own to
// far beyond it, so that structures may point behind what is there; a checksum at 0x210 and 0x258
// is made right when the third byte says so, so that the fields behind it are reached.

#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "codec/digest.h"
#include "guest/disk_reader.h"
#include "guest/inspect.h"
#include "testing/memory_disk.h"

namespace {

using Bytes = std::vector<std::byte>;

void Put32(Bytes& bytes, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}

/// Makes the checksums of a GPT at the usual place right: 128 entries of 128 bytes in sector 2.
void RepairGpt(Bytes& bytes) {
  constexpr std::size_t kHeader = 512;
  constexpr std::size_t kEntries = 1024;
  if (bytes.size() < kEntries + 128 * 128) return;
  const std::span<const std::byte> all(bytes);
  Put32(bytes, kHeader + 88, vmferry::codec::Crc32(all.subspan(kEntries, 128 * 128)));
  Put32(bytes, kHeader + 16, 0);
  Put32(bytes, kHeader + 16, vmferry::codec::Crc32(all.subspan(kHeader, 92)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  if (size < 3) return 0;
  const auto raw = std::as_bytes(std::span(data, size)).subspan(3);
  Bytes bytes(raw.begin(), raw.end());
  if ((data[2] & 1) != 0) RepairGpt(bytes);
  const std::uint64_t more = std::uint64_t{data[1]} << (data[0] % 56);
  const std::uint64_t size_bytes = bytes.size() + more;
  const testing::MemoryDisk disk(std::move(bytes), size_bytes);
  const auto layout = guest::InspectGuest(disk);
  VMFERRY_CHECK(layout.has_value());
  VMFERRY_CHECK(disk.reads() <= guest::DiskReader::kMaxReads);
  VMFERRY_CHECK(!layout->firmware.reasons.empty());
  return 0;
}
