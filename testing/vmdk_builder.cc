// SPDX-License-Identifier: Apache-2.0
#include "testing/vmdk_builder.h"

#include <algorithm>

#include "codec/deflate.h"

namespace vmferry::testing {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kDescriptorSectors = 20;
constexpr std::uint64_t kEntries = 512;

void Poke(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint64_t value,
          std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    bytes.at(offset + i) = static_cast<std::byte>((value >> (8 * i)) & 0xff);
  }
}

std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Appends to a file image in whole sectors.
class Writer {
 public:
  explicit Writer(const VmdkBuilder& builder)
      : builder_(builder),
        grain_count_(RoundUp(builder.capacity_sectors, builder.grain_sectors) /
                     builder.grain_sectors),
        table_count_(RoundUp(grain_count_, kEntries) / kEntries),
        directory_(table_count_),
        tables_(table_count_, std::vector<std::uint32_t>(kEntries)) {}

  std::vector<std::byte> Write() {
    builder_.places = {};
    builder_.places.tables.resize(table_count_);
    PutHeader(builder_.layout == VmdkBuilder::Layout::kFooter ? ~std::uint64_t{0} : 0);
    PutDescriptor();
    if (builder_.layout == VmdkBuilder::Layout::kFooter) {
      WriteWithFooter();
    } else {
      WriteDirectoryFirst();
    }
    return std::move(bytes_);
  }

 private:
  bool compressed() const { return (builder_.flags & 0x10000) != 0; }
  std::uint64_t sector() const { return bytes_.size() / kSector; }

  std::uint64_t Extend(std::uint64_t count) {
    const std::uint64_t offset = bytes_.size();
    bytes_.resize(offset + RoundUp(count, kSector));
    return offset;
  }

  void PutHeader(std::uint64_t directory_sector) {
    const std::uint64_t at = Extend(kSector);
    PokeU32(bytes_, at, 0x564d444b);
    PokeU32(bytes_, at + 4, builder_.version);
    PokeU32(bytes_, at + 8, builder_.flags);
    PokeU64(bytes_, at + 12, builder_.capacity_sectors);
    PokeU64(bytes_, at + 20, builder_.grain_sectors);
    PokeU64(bytes_, at + 28, 1);
    PokeU64(bytes_, at + 36, kDescriptorSectors);
    PokeU32(bytes_, at + 44, kEntries);
    PokeU64(bytes_, at + 48, 0);
    PokeU64(bytes_, at + 56, directory_sector);
    PokeU64(bytes_, at + 64, 1 + kDescriptorSectors);
    PokeU32(bytes_, at + 73, 0x0a0d200a);
    PokeU16(bytes_, at + 77, compressed() ? 1 : 0);
  }

  void PutDescriptor() {
    const std::string text = builder_.descriptor.value_or(builder_.DefaultDescriptor());
    const std::uint64_t at = Extend(kDescriptorSectors * kSector);
    std::transform(text.begin(), text.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at),
                   [](char c) { return static_cast<std::byte>(c); });
  }

  void PutMarker(std::uint64_t sectors, std::uint32_t kind) {
    const std::uint64_t at = Extend(kSector);
    PokeU64(bytes_, at, sectors);
    PokeU32(bytes_, at + 12, kind);
  }

  void PutGrain(std::uint64_t index) {
    const auto found = builder_.grains.find(index);
    std::uint32_t& entry = tables_[index / kEntries][index % kEntries];
    if (builder_.zero_grains.contains(index)) entry = 1;
    if (found == builder_.grains.end()) return;
    entry = static_cast<std::uint32_t>(sector());
    builder_.places.grains[index] = bytes_.size();
    if (!compressed()) {
      const std::uint64_t plain_at = Extend(builder_.grain_sectors * kSector);
      std::copy(found->second.begin(), found->second.end(),
                bytes_.begin() + static_cast<std::ptrdiff_t>(plain_at));
      return;
    }
    const auto deflated = codec::ZlibDeflate(found->second);
    const std::uint64_t at = Extend(12 + deflated.size());
    PokeU64(bytes_, at, index * builder_.grain_sectors);
    PokeU32(bytes_, at + 8, static_cast<std::uint32_t>(deflated.size()));
    std::copy(deflated.begin(), deflated.end(),
              bytes_.begin() + static_cast<std::ptrdiff_t>(at + 12));
  }

  bool IsEmpty(std::uint64_t table) const {
    return std::all_of(tables_[table].begin(), tables_[table].end(),
                       [](std::uint32_t entry) { return entry == 0; });
  }

  void FillTable(std::uint64_t table, std::uint64_t at) {
    for (std::uint64_t i = 0; i < kEntries; ++i) PokeU32(bytes_, at + 4 * i, tables_[table][i]);
  }

  void FillDirectory(std::uint64_t at) {
    for (std::uint64_t i = 0; i < table_count_; ++i) PokeU32(bytes_, at + 4 * i, directory_[i]);
    builder_.places.directory = at;
  }

  void WriteWithFooter() {
    for (std::uint64_t table = 0; table < table_count_; ++table) {
      const std::uint64_t end = std::min(grain_count_, (table + 1) * kEntries);
      for (std::uint64_t grain = table * kEntries; grain < end; ++grain) PutGrain(grain);
      if (IsEmpty(table)) continue;
      PutMarker(kEntries * 4 / kSector, 1);
      directory_[table] = static_cast<std::uint32_t>(sector());
      builder_.places.tables[table] = bytes_.size();
      FillTable(table, Extend(kEntries * 4));
    }
    PutMarker(RoundUp(table_count_ * 4, kSector) / kSector, 2);
    const std::uint64_t directory_sector = sector();
    FillDirectory(Extend(table_count_ * 4));
    PutMarker(1, 3);
    builder_.places.footer = bytes_.size();
    PutHeader(directory_sector);
    PutMarker(0, 0);
  }

  /// The copy of directory and tables that stands in front of them; filled in at the end.
  void PlaceRedundant() {
    if ((builder_.flags & 2) == 0) return;
    PokeU64(bytes_, 48, sector());
    builder_.places.redundant_directory = Extend(table_count_ * 4);
    for (std::uint64_t table = 0; table < table_count_; ++table) {
      PokeU32(bytes_, builder_.places.redundant_directory + 4 * table,
              static_cast<std::uint32_t>(sector()));
      redundant_tables_.push_back(Extend(kEntries * 4));
    }
  }

  void WriteDirectoryFirst() {
    PlaceRedundant();
    PokeU64(bytes_, 56, sector());
    const std::uint64_t directory_at = Extend(table_count_ * 4);
    for (std::uint64_t table = 0; table < table_count_; ++table) {
      directory_[table] = static_cast<std::uint32_t>(sector());
      builder_.places.tables[table] = Extend(kEntries * 4);
    }
    PokeU64(bytes_, 64, sector());
    FillDirectory(directory_at);
    for (std::uint64_t grain = 0; grain < grain_count_; ++grain) PutGrain(grain);
    for (std::uint64_t table = 0; table < table_count_; ++table) {
      FillTable(table, builder_.places.tables[table]);
      if (!redundant_tables_.empty()) FillTable(table, redundant_tables_[table]);
    }
  }

  const VmdkBuilder& builder_;
  const std::uint64_t grain_count_;
  const std::uint64_t table_count_;
  std::vector<std::uint32_t> directory_;
  std::vector<std::vector<std::uint32_t>> tables_;
  std::vector<std::uint64_t> redundant_tables_;
  std::vector<std::byte> bytes_;
};

}  // namespace

void PokeU16(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint16_t value) {
  Poke(bytes, offset, value, 2);
}
void PokeU32(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint32_t value) {
  Poke(bytes, offset, value, 4);
}
void PokeU64(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint64_t value) {
  Poke(bytes, offset, value, 8);
}

std::string VmdkBuilder::DefaultDescriptor() const {
  return "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
         "createType=\"" +
         std::string((flags & 0x10000) != 0 ? "streamOptimized" : "monolithicSparse") +
         "\"\n\n# Extent description\nRW " + std::to_string(capacity_sectors) +
         " SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\n"
         "ddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"7\"\n";
}

std::vector<std::byte> VmdkBuilder::Build() const { return Writer(*this).Write(); }

}  // namespace vmferry::testing
