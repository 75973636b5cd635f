// SPDX-License-Identifier: Apache-2.0
#include "testing/esx_extent_builder.h"

#include <algorithm>

#include "testing/vmdk_builder.h"

namespace vmferry::testing {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kEntries = 4096;  // of a grain table, in both formats

std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Appends zeros in whole sectors and returns where they begin.
std::uint64_t Extend(std::vector<std::byte>& bytes, std::uint64_t count) {
  const std::uint64_t offset = bytes.size();
  bytes.resize(offset + RoundUp(count, kSector));
  return offset;
}

void Put(std::vector<std::byte>& bytes, std::uint64_t at, const std::vector<std::byte>& data) {
  std::copy(data.begin(), data.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

std::vector<std::byte> CowBuilder::Build() const {
  const std::uint64_t tables =
      RoundUp(RoundUp(capacity_sectors, grain_sectors) / grain_sectors, kEntries) / kEntries;
  places = {};
  places.tables.resize(tables);
  std::vector<std::byte> bytes(4 * kSector);
  PokeU32(bytes, 0, 0x44574f43);
  PokeU32(bytes, 4, 1);
  PokeU32(bytes, 8, flags);
  PokeU32(bytes, 12, capacity_sectors);
  PokeU32(bytes, 16, grain_sectors);
  PokeU32(bytes, 20, 4);
  PokeU32(bytes, 24, static_cast<std::uint32_t>(RoundUp(tables * 4, kSector) / 4));
  PokeU32(bytes, 32, 1);  // geometry: cylinders, heads, sectors
  PokeU32(bytes, 36, 255);
  PokeU32(bytes, 40, 63);
  places.directory = Extend(bytes, tables * 4);
  for (const auto& [grain, data] : grains) {
    std::uint64_t& table = places.tables.at(grain / kEntries);
    if (table == 0) {
      table = Extend(bytes, kEntries * 4);
      PokeU32(bytes, places.directory + grain / kEntries * 4,
              static_cast<std::uint32_t>(table / kSector));
    }
    const std::uint64_t at = Extend(bytes, grain_sectors * kSector);
    PokeU32(bytes, table + grain % kEntries * 4, static_cast<std::uint32_t>(at / kSector));
    Put(bytes, at, data);
    places.grains[grain] = at;
  }
  PokeU32(bytes, 28, static_cast<std::uint32_t>(bytes.size() / kSector));
  return bytes;
}

std::vector<std::byte> SeSparseBuilder::Build() const {
  constexpr std::uint64_t kGrain = 8 * kSector;
  constexpr std::uint64_t kTable = 64 * kSector;
  const std::uint64_t table_count = RoundUp(RoundUp(capacity_sectors, 8) / 8, kEntries) / kEntries;
  std::map<std::uint64_t, std::uint64_t> entries;  // by grain
  std::uint64_t number = 0;
  for (const auto& [grain, data] : grains) {
    entries[grain] = (std::uint64_t{3} << 60) | ((number & 0xfff) << 48) | (number >> 12);
    ++number;
  }
  for (const std::uint64_t grain : zero_grains) entries[grain] = std::uint64_t{2} << 60;
  for (const std::uint64_t grain : unmapped_grains) entries[grain] = std::uint64_t{1} << 60;

  places = {};
  places.tables.resize(table_count);
  std::vector<std::byte> bytes(kSector);
  std::uint64_t part = 0;  // of the header's list of places
  const auto place = [&](std::uint64_t at, std::uint64_t sectors) {
    PokeU64(bytes, 80 + 16 * part, at / kSector);
    PokeU64(bytes, 80 + 16 * part + 8, sectors);
    ++part;
    return at;
  };
  const auto add = [&](std::uint64_t sectors) {
    return place(Extend(bytes, sectors * kSector), sectors);
  };
  PokeU64(bytes, 0, 0xcafebabe);
  PokeU64(bytes, 8, 0x0000000200000001);
  PokeU64(bytes, 16, capacity_sectors);
  PokeU64(bytes, 24, 8);
  PokeU64(bytes, 32, 64);
  places.volatile_header = add(1);
  add(2);     // journal header
  add(2048);  // journal
  places.directory = add(RoundUp(table_count * 8, kSector) / kSector);
  std::set<std::uint64_t> used;
  for (const auto& [grain, entry] : entries) used.insert(grain / kEntries);
  const std::uint64_t tables_at = add(used.size() * kTable / kSector);
  add(1);  // free bitmap
  add(1);  // back map
  bytes.resize(RoundUp(bytes.size(), kGrain));
  const std::uint64_t grains_at = add(grains.size() * 8);
  PokeU64(bytes, places.volatile_header, 0xcafecafe);
  std::uint64_t index = 0;
  for (const std::uint64_t table : used) {
    PokeU64(bytes, places.directory + table * 8, (std::uint64_t{1} << 60) | index);
    places.tables[table] = tables_at + index * kTable;
    ++index;
  }
  for (const auto& [grain, entry] : entries) {
    PokeU64(bytes, places.tables[grain / kEntries] + grain % kEntries * 8, entry);
  }
  std::uint64_t at = grains_at;
  for (const auto& [grain, data] : grains) {
    Put(bytes, at, data);
    places.grains[grain] = at;
    at += kGrain;
  }
  return bytes;
}

std::string DescriptorText::Text() const {
  std::string text = "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=" + content_id +
                     "\nparentCID=" + parent_content_id + "\ncreateType=\"" + create_type + "\"\n";
  if (!parent_hint.empty()) text += "parentFileNameHint=\"" + parent_hint + "\"\n";
  text += "\n# Extent description\n";
  for (const std::string& line : extents) text += line + "\n";
  return text +
         "\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"
         "ddb.longContentID = \"0123456789abcdef0123456712345678\"\n"
         "ddb.virtualHWVersion = \"14\"\n";
}

}  // namespace vmferry::testing
