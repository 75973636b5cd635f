// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/se_sparse_header.h"

#include <fmt/format.h>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/vmdk/damage.h"
#include "image/vmdk/header.h"

namespace vmferry::image::vmdk {
namespace {

SeSparseHeader::Part TakePart(ByteReader& reader) {
  SeSparseHeader::Part part;
  part.offset_sectors = reader.U64Le();
  part.sectors = reader.U64Le();
  return part;
}

Result<void> CheckFeatures(std::uint64_t version, std::uint64_t grain_sectors,
                           std::uint64_t table_sectors, std::uint64_t flags) {
  if (version != kSeVersion) {
    return Unsupported("vmdk.se_sparse.version",
                       fmt::format("seSparse version {:#x} is not known", version));
  }
  if (grain_sectors != kSeGrainSectors || table_sectors != kSeTableSectors) {
    return Unsupported("vmdk.se_sparse.grain_size",
                       fmt::format("the seSparse header gives grains of {} sectors and grain "
                                   "tables of {}; only {} and {} are known",
                                   grain_sectors, table_sectors, kSeGrainSectors, kSeTableSectors));
  }
  if (flags != 0) {
    return Unsupported(
        "vmdk.se_sparse.flags",
        fmt::format("the seSparse header has flags {:#x}, which are not known", flags));
  }
  return {};
}

/// What reading needs must be large enough, and behind the header.
Result<void> CheckLayout(const SeSparseHeader& header) {
  const std::uint64_t tables =
      DivCeil(DivCeil(header.capacity_sectors, kSeGrainSectors), kSeEntriesPerTable);
  struct Need {
    const char* name;
    const SeSparseHeader::Part& part;
    std::uint64_t sectors;
  };
  const Need needs[] = {{"volatile header", header.volatile_header, 1},
                        {"grain directory", header.directory, DivCeil(tables * 8, kSectorBytes)},
                        {"grain tables", header.tables, 0},
                        {"grains", header.grains, 0}};
  for (const Need& need : needs) {
    if (need.part.offset_sectors != 0 && need.part.sectors >= need.sectors &&
        CheckedAdd(need.part.offset_sectors, need.part.sectors)) {
      continue;
    }
    return Damage(
        "vmdk.se_sparse.layout",
        fmt::format("the seSparse header places its {} at sector {} with {} sectors; at "
                    "least {} behind the header are needed",
                    need.name, need.part.offset_sectors, need.part.sectors, need.sectors));
  }
  return {};
}

}  // namespace

Result<SeSparseHeader> ParseSeSparseHeader(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const std::uint64_t magic = reader.U64Le();
  const std::uint64_t version = reader.U64Le();
  SeSparseHeader header;
  header.capacity_sectors = reader.U64Le();
  const std::uint64_t grain_sectors = reader.U64Le();
  const std::uint64_t table_sectors = reader.U64Le();
  const std::uint64_t flags = reader.U64Le();
  std::uint64_t reserved = 0;
  for (int i = 0; i < 4; ++i) reserved |= reader.U64Le();
  header.volatile_header = TakePart(reader);
  header.journal_header = TakePart(reader);
  header.journal = TakePart(reader);
  header.directory = TakePart(reader);
  header.tables = TakePart(reader);
  header.free_bitmap = TakePart(reader);
  header.back_map = TakePart(reader);
  header.grains = TakePart(reader);
  reader.Skip(kSeHeaderBytes - 26 * 8);
  if (reader.failed()) {
    return Damage(
        "vmdk.se_sparse.truncated",
        fmt::format("the file ends inside the seSparse header, after {} bytes", bytes.size()));
  }
  if (magic != kSeMagic) {
    return Damage(
        "vmdk.se_sparse.magic",
        fmt::format("the seSparse header starts with {:#018x}, not {:#018x}", magic, kSeMagic));
  }
  VMFERRY_RETURN_IF_ERROR(CheckFeatures(version, grain_sectors, table_sectors, flags));
  if (reserved != 0) {
    return Damage("vmdk.se_sparse.reserved", "reserved fields of the seSparse header are not zero");
  }
  if (header.capacity_sectors == 0 || header.capacity_sectors > kMaxCapacitySectors) {
    return Damage(
        "vmdk.se_sparse.capacity",
        fmt::format("the seSparse header gives a capacity of {} sectors; 1 to {} are possible",
                    header.capacity_sectors, kMaxCapacitySectors));
  }
  VMFERRY_RETURN_IF_ERROR(CheckLayout(header));
  return header;
}

Result<void> CheckVolatileHeader(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const std::uint64_t magic = reader.U64Le();
  reader.Skip(2 * 8);  // free grain tables, next transaction: only writers need them
  const std::uint64_t replay = reader.U64Le();
  if (reader.failed() || magic != kSeVolatileMagic) {
    return Damage("vmdk.se_sparse.volatile_header",
                  fmt::format("the volatile header of the seSparse extent starts with {:#018x}, "
                              "not {:#018x}",
                              magic, kSeVolatileMagic));
  }
  if (replay == 0) return {};
  return Error(ErrorCode::kFailedPrecondition, "vmdk.se_sparse.journal",
               "the seSparse extent has changes in its journal that were never put in place: its "
               "host went down while writing")
      .WithRemedy(
          "start and stop the VM on its host, or clone the disk there with vmkfstools -i: both "
          "replay the journal");
}

}  // namespace vmferry::image::vmdk
