// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/parent_locator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "base/byte_reader.h"
#include "image/vhdx/damage.h"
#include "image/vhdx/guid.h"
#include "image/vhdx/utf16.h"

namespace vmferry::image::vhdx {
namespace {

constexpr Guid kVhdxLocator = MakeGuid("b04aefb7-d19e-4a81-b789-25b8e9445913");
constexpr std::size_t kHeaderBytes = 20;
constexpr std::size_t kEntryBytes = 12;
/// Hyper-V writes six. All of them may name the same bytes, up to 64 KiB of them: thousands would
/// be gigabytes of text.
constexpr std::uint16_t kMaxPairs = 64;

/// [MS-VHDX] 2.6.2.6.3: in this order.
constexpr std::array<std::string_view, 3> kPathKeys = {"relative_path", "volume_path",
                                                       "absolute_win32_path"};
constexpr std::array<std::string_view, 2> kLinkageKeys = {"parent_linkage", "parent_linkage2"};

using Pairs = std::map<std::string, std::string, std::less<>>;

Result<std::string> TextAt(std::span<const std::byte> bytes, std::uint32_t offset_bytes,
                           std::uint16_t length_bytes) {
  if (length_bytes == 0) return std::string();
  // [MS-VHDX] 2.6.2.6.2: offsets count from the locator's beginning and are not zero.
  if (offset_bytes < kHeaderBytes || offset_bytes > bytes.size() ||
      length_bytes > bytes.size() - offset_bytes) {
    return Damage("vhdx.parent_locator.place",
                  fmt::format("the VHDX parent locator of {} bytes places {} of them at byte {}",
                              bytes.size(), length_bytes, offset_bytes));
  }
  auto text = Utf16ToUtf8(bytes.subspan(offset_bytes, length_bytes));
  if (text) return *std::move(text);
  return Damage(
      "vhdx.parent_locator.text",
      fmt::format("the VHDX parent locator holds no UTF-16 text at byte {}", offset_bytes));
}

Result<Pairs> ReadPairs(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const Guid type = ReadGuid(reader);
  reader.Skip(2);
  const std::uint16_t count = reader.U16Le();
  if (reader.failed() || count * kEntryBytes > reader.remaining()) {
    return Damage("vhdx.parent_locator.truncated",
                  fmt::format("the VHDX parent locator ends after {} bytes", bytes.size()));
  }
  if (type != kVhdxLocator) {
    return Unsupported("vhdx.parent_locator.type",
                       fmt::format("the VHDX names its parent by a locator of type {}, which is "
                                   "not known",
                                   GuidText(type)));
  }
  if (count > kMaxPairs) {
    return Damage(
        "vhdx.parent_locator.count",
        fmt::format("the VHDX parent locator has {} pairs; {} is the most", count, kMaxPairs));
  }
  Pairs pairs;
  for (std::uint16_t i = 0; i < count; ++i) {
    const std::uint32_t key_offset_bytes = reader.U32Le();
    const std::uint32_t value_offset_bytes = reader.U32Le();
    const std::uint16_t key_bytes = reader.U16Le();
    const std::uint16_t value_bytes = reader.U16Le();
    VMFERRY_ASSIGN_OR_RETURN(std::string key, TextAt(bytes, key_offset_bytes, key_bytes));
    VMFERRY_ASSIGN_OR_RETURN(std::string value, TextAt(bytes, value_offset_bytes, value_bytes));
    pairs.emplace(std::move(key), std::move(value));
  }
  return pairs;
}

/// "{83ED2BD5-...}" as Info().identity spells it; empty when it is no GUID.
std::string IdentityOf(std::string_view text) {
  if (text.size() >= 2 && text.front() == '{' && text.back() == '}') {
    text = text.substr(1, text.size() - 2);
  }
  std::string identity;
  for (const char c : text) identity += c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  const bool shaped = identity.size() == 36 && identity[8] == '-' && identity[13] == '-' &&
                      identity[18] == '-' && identity[23] == '-' &&
                      std::count_if(identity.begin(), identity.end(), is_hex) == 32;
  if (!shaped) identity.clear();
  return identity;
}

}  // namespace

Result<ParentLocator> ParseParentLocator(std::span<const std::byte> bytes) {
  VMFERRY_ASSIGN_OR_RETURN(const Pairs pairs, ReadPairs(bytes));
  ParentLocator locator;
  for (const std::string_view key : kLinkageKeys) {
    const auto found = pairs.find(key);
    if (found == pairs.end()) continue;
    std::string identity = IdentityOf(found->second);
    if (identity.empty()) {
      return Damage("vhdx.parent_locator.linkage",
                    fmt::format("the {} of the VHDX is no GUID", key));
    }
    locator.identities.push_back(std::move(identity));
  }
  // [MS-VHDX] 2.6.2.6.3: parent_linkage must be there.
  if (locator.identities.empty()) {
    return Damage("vhdx.parent_locator.linkage",
                  "the VHDX parent locator does not say which disk is the parent");
  }
  for (const std::string_view key : kPathKeys) {
    const auto found = pairs.find(key);
    if (found != pairs.end() && !found->second.empty()) locator.names.push_back(found->second);
  }
  return locator;
}

}  // namespace vmferry::image::vhdx
