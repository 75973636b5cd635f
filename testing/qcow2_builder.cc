// SPDX-License-Identifier: Apache-2.0
#include "testing/qcow2_builder.h"

#include <algorithm>
#include <span>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/units.h"
#include "codec/deflate.h"

namespace vmferry::testing {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
constexpr std::uint64_t kExtendedL2 = 1U << 4;

std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  return DivCeil(value, unit) * unit;
}

/// RFC 8878: a frame with its content's size, in blocks that are not compressed.
Bytes ZstdFrame(std::span<const std::byte> data) {
  constexpr std::size_t kBlockBytes = 65536;
  Bytes frame(9 + DivCeil(data.size(), kBlockBytes) * 3 + data.size());
  ByteWriter writer(frame);
  writer.U32Le(0xfd2fb528);
  writer.U8(0xa0);  // single segment, four bytes of content size
  writer.U32Le(static_cast<std::uint32_t>(data.size()));
  while (!data.empty()) {
    const std::size_t size = std::min(kBlockBytes, data.size());
    const auto header = static_cast<std::uint32_t>(size << 3 | (size == data.size() ? 1 : 0));
    writer.U16Le(static_cast<std::uint16_t>(header & 0xffff));
    writer.U8(static_cast<std::uint8_t>(header >> 16));
    writer.Put(data.first(size));
    data = data.subspan(size);
  }
  return frame;
}

Bytes RawDeflate(std::span<const std::byte> data) {
  Bytes stream(codec::Deflater::Bound(data.size()));
  codec::Deflater deflater(codec::Deflater::Wrapper::kRaw, 12);
  stream.resize(deflater.Deflate(data, stream).value());
  return stream;
}

/// The file while it grows, with the references to its clusters.
class File {
 public:
  File(const Qcow2Builder& builder) : builder_(builder) { Allocate(cluster_bytes()); }

  std::uint64_t cluster_bytes() const { return std::uint64_t{1} << builder_.cluster_bits; }
  Bytes& bytes() { return bytes_; }

  /// Whole clusters at the end, referred to once.
  std::uint64_t Allocate(std::uint64_t length_bytes) {
    const std::uint64_t place = RoundUp(bytes_.size(), cluster_bytes());
    bytes_.resize(place + RoundUp(length_bytes, cluster_bytes()));
    Refer(place, length_bytes);
    return place;
  }
  /// Bytes at the end, wherever that is.
  std::uint64_t Pack(const Bytes& data) {
    const std::uint64_t place = bytes_.size();
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    Refer(place, data.size());
    return place;
  }
  void Write(std::uint64_t place, std::span<const std::byte> data) {
    std::copy(data.begin(), data.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(place));
  }
  void Refer(std::uint64_t place, std::uint64_t length_bytes) {
    for (std::uint64_t i = place / cluster_bytes();
         i < DivCeil(place + length_bytes, cluster_bytes()); ++i) {
      ++counts_[i];
    }
  }
  const std::map<std::uint64_t, std::uint16_t>& counts() const { return counts_; }

 private:
  const Qcow2Builder& builder_;
  Bytes bytes_;
  std::map<std::uint64_t, std::uint16_t> counts_;
};

std::uint64_t EntryBytes(const Qcow2Builder& builder) {
  return (builder.incompatible & kExtendedL2) != 0 ? 16 : 8;
}

struct Entry {
  std::uint64_t word = 0;
  std::uint64_t bitmap = 0;
};

Entry PutCluster(const Qcow2Builder& builder, std::uint64_t index,
                 const Qcow2Builder::Cluster& cluster, File& file) {
  const bool extended = EntryBytes(builder) == 16;
  const std::uint64_t all = 0xffffffff;
  using Kind = Qcow2Builder::Kind;
  if (cluster.kind == Kind::kZero) {
    return extended ? Entry{0, all << 32} : Entry{1, 0};
  }
  if (cluster.kind == Kind::kCompressed) {
    const Bytes data =
        builder.compression == 1 ? ZstdFrame(cluster.data) : RawDeflate(cluster.data);
    const std::uint64_t place = file.Pack(data);
    builder.places.data[index] = place;
    const std::uint64_t more = (place + data.size() - 1) / 512 - place / 512;
    return {kCompressed | more << (62 - (builder.cluster_bits - 8)) | place, 0};
  }
  const std::uint64_t place = file.Allocate(file.cluster_bytes());
  builder.places.data[index] = place;
  file.Write(place, cluster.data);
  if (extended) {
    return cluster.kind == Kind::kZeroPlaced
               ? Entry{place | kCopied, all << 32}
               : Entry{place | kCopied, std::uint64_t{cluster.zero} << 32 | cluster.allocated};
  }
  return {place | kCopied | (cluster.kind == Kind::kZeroPlaced ? 1 : 0), 0};
}

void PutTables(const Qcow2Builder& builder, File& file) {
  const std::uint64_t per_table = file.cluster_bytes() / EntryBytes(builder);
  const std::uint64_t l1_entries =
      std::max<std::uint64_t>(1, DivCeil(builder.size_bytes, per_table * file.cluster_bytes()));
  builder.places.l1 = file.Allocate(l1_entries * 8);
  for (const auto& [index, cluster] : builder.clusters) {
    std::uint64_t& table = builder.places.tables[index / per_table];
    if (table == 0) {
      table = file.Allocate(file.cluster_bytes());
      PokeU64Be(file.bytes(), builder.places.l1 + index / per_table * 8, table | kCopied);
    }
    const Entry entry = PutCluster(builder, index, cluster, file);
    const std::uint64_t at = table + index % per_table * EntryBytes(builder);
    builder.places.entries[index] = at;
    PokeU64Be(file.bytes(), at, entry.word);
    if (EntryBytes(builder) == 16) PokeU64Be(file.bytes(), at + 8, entry.bitmap);
  }
  PokeU32Be(file.bytes(), 36, static_cast<std::uint32_t>(l1_entries));
  PokeU64Be(file.bytes(), 40, builder.places.l1);
}

/// "Snapshots": all share an L1 table of their own that is empty.
void PutSnapshots(const Qcow2Builder& builder, File& file) {
  if (builder.snapshots.empty()) return;
  Bytes table;
  for (const auto& snapshot : builder.snapshots) {
    const std::uint64_t l1 = file.Allocate(8);
    Bytes entry(RoundUp(40 + 16 + snapshot.id.size() + snapshot.name.size(), 8));
    ByteWriter writer(entry);
    writer.U64Be(l1);
    writer.U32Be(1);
    writer.U16Be(static_cast<std::uint16_t>(snapshot.id.size()));
    writer.U16Be(static_cast<std::uint16_t>(snapshot.name.size()));
    writer.Skip(20);
    writer.U32Be(16);
    writer.U64Be(0);
    writer.U64Be(builder.size_bytes);
    writer.Put(AsBytes(snapshot.id));
    writer.Put(AsBytes(snapshot.name));
    table.insert(table.end(), entry.begin(), entry.end());
  }
  builder.places.snapshots = file.Allocate(table.size());
  file.Write(builder.places.snapshots, table);
  PokeU32Be(file.bytes(), 60, static_cast<std::uint32_t>(builder.snapshots.size()));
  PokeU64Be(file.bytes(), 64, builder.places.snapshots);
}

void PutRefcounts(const Qcow2Builder& builder, File& file) {
  const std::uint64_t per_block = file.cluster_bytes() / 2;
  const std::uint64_t table = file.Allocate(file.cluster_bytes());
  builder.places.refcount_table = table;
  std::vector<std::uint64_t> blocks;
  while (blocks.size() * per_block * file.cluster_bytes() < file.bytes().size()) {
    blocks.push_back(file.Allocate(file.cluster_bytes()));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    PokeU64Be(file.bytes(), table + i * 8, blocks[i]);
  }
  for (const auto& [cluster, count] : file.counts()) {
    const std::uint64_t at = blocks[cluster / per_block] + cluster % per_block * 2;
    file.bytes()[at] = static_cast<std::byte>(count >> 8);
    file.bytes()[at + 1] = static_cast<std::byte>(count & 0xff);
  }
  PokeU64Be(file.bytes(), 48, table);
  PokeU32Be(file.bytes(), 56, 1);
}

void PutHeader(const Qcow2Builder& builder, File& file) {
  ByteWriter writer(file.bytes());
  writer.U32Be(0x514649fb);
  writer.U32Be(builder.version);
  writer.Skip(12);
  writer.U32Be(builder.cluster_bits);
  writer.U64Be(builder.size_bytes);
  writer.Skip(40);
  if (builder.version == 3) {
    writer.U64Be(builder.incompatible);
    writer.U64Be(builder.compatible);
    writer.U64Be(builder.autoclear);
    writer.U32Be(4);
    writer.U32Be(builder.header_bytes);
    if (builder.header_bytes > 104) {
      writer.U8(builder.compression);
      writer.Skip(7);
    }
  }
  builder.places.extensions = writer.position();
  for (const auto& extension : builder.extensions) {
    writer.U32Be(extension.kind);
    writer.U32Be(static_cast<std::uint32_t>(extension.data.size()));
    file.Write(writer.position(), AsBytes(extension.data));
    writer.Skip(RoundUp(extension.data.size(), 8));
  }
  writer.Skip(8);  // the end of the extensions
  if (builder.backing_name.empty()) return;
  PokeU64Be(file.bytes(), 8, writer.position());
  PokeU32Be(file.bytes(), 16, static_cast<std::uint32_t>(builder.backing_name.size()));
  file.Write(writer.position(), AsBytes(builder.backing_name));
}

}  // namespace

Qcow2Builder::Extension Qcow2Builder::FeatureNames(
    const std::vector<std::pair<std::pair<std::uint8_t, std::uint8_t>, std::string>>& names) {
  std::string data;
  for (const auto& [feature, name] : names) {
    std::string entry = {static_cast<char>(feature.first), static_cast<char>(feature.second)};
    entry += name;
    entry.resize(48, '\0');
    data += entry;
  }
  return {0x6803f857, data};
}

std::vector<std::byte> Qcow2Builder::Build() const {
  places = {};
  File file(*this);
  PutTables(*this, file);
  PutSnapshots(*this, file);
  PutRefcounts(*this, file);
  PutHeader(*this, file);
  return std::move(file.bytes());
}

std::vector<std::byte> Qcow2Builder::Guest() const {
  const std::uint64_t cluster_bytes = std::uint64_t{1} << cluster_bits;
  Bytes guest(RoundUp(size_bytes, cluster_bytes));
  for (const auto& [index, cluster] : clusters) {
    if (cluster.kind == Kind::kZero || cluster.kind == Kind::kZeroPlaced) continue;
    const bool whole = EntryBytes(*this) == 8 || cluster.kind == Kind::kCompressed;
    for (std::uint64_t i = 0; i < cluster_bytes; ++i) {
      if (!whole && (cluster.allocated >> (i * 32 / cluster_bytes) & 1) == 0) continue;
      guest[index * cluster_bytes + i] = cluster.data[i];
    }
  }
  guest.resize(size_bytes);
  return guest;
}

void PokeU32Be(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint32_t value) {
  ByteWriter(std::span(bytes).subspan(offset, 4)).U32Be(value);
}

void PokeU64Be(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint64_t value) {
  ByteWriter(std::span(bytes).subspan(offset, 8)).U64Be(value);
}

std::uint64_t PeekU64Be(const std::vector<std::byte>& bytes, std::uint64_t offset) {
  return ByteReader(std::span(bytes).subspan(offset, 8)).U64Be();
}

}  // namespace vmferry::testing
