// SPDX-License-Identifier: Apache-2.0
#include "testing/vhd_builder.h"

#include <algorithm>

namespace vmferry::testing {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kHeaderBytes = 1024;

void PokeText(Bytes& bytes, std::uint64_t offset, std::string_view text) {
  for (const char c : text) bytes[offset++] = static_cast<std::byte>(c);
}

template <std::size_t N>
void PokeId(Bytes& bytes, std::uint64_t offset, const std::array<std::uint8_t, N>& id) {
  for (const std::uint8_t value : id) bytes[offset++] = std::byte{value};
}

void PadToSector(Bytes& bytes) { bytes.resize((bytes.size() + kSector - 1) / kSector * kSector); }

void Append(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

void Sum(Bytes& bytes, std::uint64_t at, std::uint64_t length, std::uint64_t field) {
  PokeBe(bytes, at + field, 0, 4);
  std::uint32_t sum = 0;
  for (std::uint64_t i = 0; i < length; ++i) sum += static_cast<std::uint32_t>(bytes[at + i]);
  PokeBe(bytes, at + field, ~sum & 0xffffffff, 4);
}

Bytes MakeFooter(const VhdBuilder& builder, std::uint64_t length) {
  Bytes footer(kSector);
  PokeText(footer, 0, "conectix");
  PokeBe(footer, 8, builder.features, 4);
  PokeBe(footer, 12, 0x10000, 4);
  PokeBe(footer, 16, builder.kind == VhdBuilder::Kind::kFixed ? ~std::uint64_t{0} : kSector, 8);
  PokeBe(footer, 24, builder.created_seconds, 4);
  PokeText(footer, 28, builder.creator);
  PokeBe(footer, 32, 0x000a0003, 4);
  PokeText(footer, 36, "Wi2k");
  PokeBe(footer, 40, builder.size_bytes, 8);
  PokeBe(footer, 48, builder.size_bytes, 8);
  PokeBe(footer, 56, builder.geometry[0], 2);
  PokeBe(footer, 58, builder.geometry[1], 1);
  PokeBe(footer, 59, builder.geometry[2], 1);
  PokeBe(footer, 60, static_cast<std::uint64_t>(builder.kind), 4);
  PokeId(footer, 68, builder.unique_id);
  PokeBe(footer, 84, builder.saved_state, 1);
  SumVhdFooter(footer, 0);
  footer.resize(length);
  return footer;
}

Bytes MakeHeader(const VhdBuilder& builder, std::uint64_t table_at, std::uint64_t entries,
                 std::uint64_t locators_at) {
  Bytes header(kHeaderBytes);
  PokeText(header, 0, "cxsparse");
  PokeBe(header, 8, ~std::uint64_t{0}, 8);
  PokeBe(header, 16, table_at, 8);
  PokeBe(header, 24, 0x10000, 4);
  PokeBe(header, 28, entries, 4);
  PokeBe(header, 32, builder.block_bytes, 4);
  PokeId(header, 40, builder.parent_id);
  for (std::size_t i = 0; i < builder.parent_name.size(); ++i) {
    PokeBe(header, 64 + 2 * i, static_cast<unsigned char>(builder.parent_name[i]), 2);
  }
  for (std::size_t i = 0; i < builder.locators.size(); ++i) {
    const std::uint64_t at = 576 + 24 * i;
    PokeText(header, at, builder.locators[i].platform);
    PokeBe(header, at + 4, kSector, 4);
    PokeBe(header, at + 8, builder.locators[i].data.size(), 4);
    PokeBe(header, at + 16, locators_at + kSector * i, 8);
  }
  SumVhdHeader(header, 0);
  return header;
}

}  // namespace

void PokeBe(Bytes& bytes, std::uint64_t offset, std::uint64_t value, std::size_t count) {
  for (std::size_t i = count; i > 0; --i) {
    bytes.at(offset + i - 1) = static_cast<std::byte>(value & 0xff);
    value >>= 8;
  }
}

void SumVhdFooter(Bytes& bytes, std::uint64_t at, std::uint64_t length) {
  Sum(bytes, at, length, 64);
}

void SumVhdHeader(Bytes& bytes, std::uint64_t at) { Sum(bytes, at, kHeaderBytes, 36); }

Bytes PlainBytes(std::string_view text) {
  Bytes bytes(text.size());
  PokeText(bytes, 0, text);
  return bytes;
}

Bytes Utf16Le(std::string_view text) {
  Bytes bytes(2 * text.size());
  for (std::size_t i = 0; i < text.size(); ++i) bytes[2 * i] = static_cast<std::byte>(text[i]);
  return bytes;
}

Bytes VhdBuilder::Build() const {
  places = {};
  if (kind == Kind::kFixed) {
    Bytes file = fixed;
    file.resize(size_bytes);
    places.footer = file.size();
    Append(file, MakeFooter(*this, footer_bytes));
    return file;
  }
  const std::uint64_t entries = (size_bytes + block_bytes - 1) / block_bytes;
  places.header = kSector;
  places.table = kSector + kHeaderBytes;
  Bytes file = MakeFooter(*this, kSector);
  const std::uint64_t locators_at = places.table + (4 * entries + kSector - 1) / kSector * kSector;
  Append(file, MakeHeader(*this, places.table, entries, locators_at));
  file.resize(places.table + 4 * entries, std::byte{0xff});
  file.resize(locators_at, std::byte{0xff});
  for (const Locator& locator : locators) {
    Append(file, locator.data);
    PadToSector(file);
  }
  const std::uint64_t bitmap_bytes = (block_bytes / kSector / 8 + kSector - 1) / kSector * kSector +
                                     (block_bytes / kSector < 8 ? kSector : 0);
  for (const auto& [index, data] : blocks) {
    places.blocks[index] = file.size();
    PokeBe(file, places.table + 4 * index, file.size() / kSector, 4);
    const auto bitmap = bitmaps.find(index);
    Bytes stored = bitmap == bitmaps.end() ? Bytes(bitmap_bytes, std::byte{0xff}) : bitmap->second;
    stored.resize(bitmap_bytes);
    Append(file, stored);
    Append(file, data);
  }
  places.footer = file.size();
  Append(file, MakeFooter(*this, footer_bytes));
  return file;
}

}  // namespace vmferry::testing
