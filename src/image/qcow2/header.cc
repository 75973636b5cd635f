// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/header.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_reader.h"
#include "image/qcow2/damage.h"

namespace vmferry::image::qcow2 {
namespace {

constexpr std::uint32_t kMaxEncryptionMethod = 2;
constexpr std::uint32_t kMaxRefcountOrder = 6;

Result<void> CheckVersion(std::uint32_t magic, std::uint32_t version) {
  if (magic != kMagic) {
    return Damage("qcow2.header.magic",
                  fmt::format("the QCOW2 header starts with {:#010x}, not QFI\\xfb", magic));
  }
  if (version == 1) {
    return Unsupported("qcow2.header.version",
                       "the file is a QCOW disk of version 1, which QEMU replaced in 2008")
        .WithRemedy("convert it first: qemu-img convert -f qcow -O qcow2 SOURCE NEW.qcow2");
  }
  // qcow2.txt, "Header": version is 2 or 3.
  if (version != 2 && version != 3) {
    return Unsupported("qcow2.header.version",
                       fmt::format("QCOW2 header version {} is not known", version));
  }
  return {};
}

Result<void> CheckGeometry(const Header& header) {
  // qcow2.txt, "Header": cluster_bits is at least 9; QEMU takes up to 21.
  if (header.cluster_bits < kMinClusterBits || header.cluster_bits > kMaxClusterBits) {
    return Damage("qcow2.header.cluster_size",
                  fmt::format("the QCOW2 header gives clusters of 2^{} bytes; 2^{} to 2^{} are "
                              "possible",
                              header.cluster_bits, kMinClusterBits, kMaxClusterBits));
  }
  // qcow2.txt, "Extended L2 Entries": 32 subclusters, none smaller than a sector.
  if (header.extended_l2() && header.cluster_bits < kMinClusterBitsExtended) {
    return Damage("qcow2.header.cluster_size",
                  fmt::format("the QCOW2 header gives clusters of 2^{} bytes with extended L2 "
                              "entries, which need 2^{}",
                              header.cluster_bits, kMinClusterBitsExtended));
  }
  // qcow2.txt, "Header": at least 104 in version 3, and the header lies in the first cluster.
  if (header.header_bytes > header.cluster_bytes() ||
      (header.version == 3 && header.header_bytes < kHeaderBytesV3)) {
    return Damage("qcow2.header.length",
                  fmt::format("the QCOW2 header is said to be {} bytes long; {} to {} are possible",
                              header.header_bytes, kHeaderBytesV3, header.cluster_bytes()));
  }
  if (header.size_bytes > kMaxVirtualBytes) {
    return Damage("qcow2.header.size",
                  fmt::format("the QCOW2 header gives a disk of {} bytes", header.size_bytes));
  }
  return {};
}

Result<void> CheckBacking(const Header& header) {
  if (header.backing_offset_bytes == 0) return {};
  // qcow2.txt, "Header": the name has at most 1,023 bytes and lies in the first cluster, behind
  // the header.
  const bool inside =
      header.backing_offset_bytes >= header.header_bytes &&
      header.backing_offset_bytes <= header.cluster_bytes() &&
      header.backing_length_bytes <= header.cluster_bytes() - header.backing_offset_bytes;
  if (inside && header.backing_length_bytes <= kMaxBackingNameBytes) return {};
  return Damage(
      "qcow2.header.backing",
      fmt::format("the QCOW2 header places the name of the backing file at byte {} with "
                  "{} bytes; it must lie in the first cluster and have at most {}",
                  header.backing_offset_bytes, header.backing_length_bytes, kMaxBackingNameBytes));
}

bool IsAligned(const Header& header, std::uint64_t offset_bytes) {
  return offset_bytes % header.cluster_bytes() == 0;
}

Result<void> CheckTables(const Header& header) {
  // qcow2.txt, "Header": l1_size entries, enough for the disk; the table is cluster-aligned.
  const std::uint64_t needed = DivCeil(header.size_bytes, header.l2_span_bytes());
  const std::uint64_t most = kMaxL1Bytes / sizeof(std::uint64_t);
  if (header.l1_entries < needed || header.l1_entries > most ||
      !IsAligned(header, header.l1_offset_bytes) ||
      (header.l1_entries > 0 && header.l1_offset_bytes == 0)) {
    return Damage(
        "qcow2.header.l1",
        fmt::format("the QCOW2 header gives an L1 table of {} entries at byte {}; a disk "
                    "of {} bytes needs {} to {} entries at a cluster boundary",
                    header.l1_entries, header.l1_offset_bytes, header.size_bytes, needed, most));
  }
  // qcow2.txt, "Header": refcount_order is at most 6; the refcount table is cluster-aligned and
  // has a cluster at least. Refcounts themselves are not needed to read.
  if (header.refcount_order > kMaxRefcountOrder || header.refcount_table_clusters == 0 ||
      header.refcount_table_clusters > kMaxRefcountTableBytes / header.cluster_bytes() ||
      header.refcount_table_offset_bytes == 0 ||
      header.refcount_table_offset_bytes > kMaxVirtualBytes ||
      !IsAligned(header, header.refcount_table_offset_bytes)) {
    return Damage("qcow2.header.refcounts",
                  fmt::format("the QCOW2 header gives a refcount table of {} clusters at byte {}, "
                              "for refcounts of 2^{} bits",
                              header.refcount_table_clusters, header.refcount_table_offset_bytes,
                              header.refcount_order));
  }
  // qcow2.txt, "Snapshots": the snapshot table is cluster-aligned.
  if (header.snapshot_count > kMaxSnapshots ||
      (header.snapshot_count > 0 &&
       (!IsAligned(header, header.snapshots_offset_bytes) || header.snapshots_offset_bytes == 0))) {
    return Damage("qcow2.header.snapshots",
                  fmt::format("the QCOW2 header gives {} VM snapshots, listed at byte {}; at most "
                              "{} are possible, at a cluster boundary",
                              header.snapshot_count, header.snapshots_offset_bytes, kMaxSnapshots));
  }
  return {};
}

Result<void> CheckCompression(const Header& header, std::uint8_t method) {
  // qcow2.txt, "Header": the compression type is 0 (zlib) or 1 (zstd), and the incompatible bit is
  // set exactly when it is not zlib.
  const bool flagged = (header.incompatible & kIncompatibleCompression) != 0;
  if (method <= 1 && flagged == (method != 0)) return {};
  return Damage("qcow2.header.compression",
                fmt::format("the QCOW2 header names compression type {} with the feature bit {}",
                            method, flagged ? "set" : "clear"));
}

std::string FeatureName(const HeaderExtensions& extensions, unsigned bit) {
  for (const auto& feature : extensions.feature_names) {
    if (feature.kind == 0 && feature.bit == bit && !feature.name.empty()) {
      return fmt::format("'{}' (bit {})", feature.name, bit);
    }
  }
  return fmt::format("bit {}", bit);
}

}  // namespace

Result<Header> ParseHeader(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Header header;
  const std::uint32_t magic = reader.U32Be();
  header.version = reader.U32Be();
  if (reader.failed()) {
    return Damage(
        "qcow2.header.truncated",
        fmt::format("the file ends inside the QCOW2 header, after {} bytes", bytes.size()));
  }
  VMFERRY_RETURN_IF_ERROR(CheckVersion(magic, header.version));
  header.backing_offset_bytes = reader.U64Be();
  header.backing_length_bytes = reader.U32Be();
  header.cluster_bits = reader.U32Be();
  header.size_bytes = reader.U64Be();
  header.encryption_method = reader.U32Be();
  header.l1_entries = reader.U32Be();
  header.l1_offset_bytes = reader.U64Be();
  header.refcount_table_offset_bytes = reader.U64Be();
  header.refcount_table_clusters = reader.U32Be();
  header.snapshot_count = reader.U32Be();
  header.snapshots_offset_bytes = reader.U64Be();
  header.header_bytes = kHeaderBytesV2;
  std::uint8_t compression = 0;
  if (header.version == 3) {
    header.incompatible = reader.U64Be();
    header.compatible = reader.U64Be();
    header.autoclear = reader.U64Be();
    header.refcount_order = reader.U32Be();
    header.header_bytes = reader.U32Be();
    if (header.header_bytes > kHeaderBytesV3) compression = reader.U8();
  }
  if (reader.failed()) {
    return Damage(
        "qcow2.header.truncated",
        fmt::format("the file ends inside the QCOW2 header, after {} bytes", bytes.size()));
  }
  VMFERRY_RETURN_IF_ERROR(CheckGeometry(header));
  VMFERRY_RETURN_IF_ERROR(CheckBacking(header));
  // qcow2.txt, "Header": crypt_method is 0, 1 (AES) or 2 (LUKS).
  if (header.encryption_method > kMaxEncryptionMethod) {
    return Damage("qcow2.header.encryption",
                  fmt::format("the QCOW2 header names encryption {}", header.encryption_method));
  }
  VMFERRY_RETURN_IF_ERROR(CheckTables(header));
  VMFERRY_RETURN_IF_ERROR(CheckCompression(header, compression));
  header.compression = static_cast<Compression>(compression);
  return header;
}

Result<void> CheckFeatures(const Header& header, const HeaderExtensions& extensions) {
  if (header.encryption_method != 0) {
    return Unsupported("qcow2.encrypted",
                       fmt::format("the disk is encrypted ({})",
                                   header.encryption_method == 1 ? "AES" : "LUKS"))
        .WithRemedy(
            "decrypt it first: qemu-img convert with --object secret and --image-opts, to a new "
            "file without encryption");
  }
  constexpr std::uint64_t kKnown = kIncompatibleDirty | kIncompatibleCorrupt |
                                   kIncompatibleExternalData | kIncompatibleCompression |
                                   kIncompatibleExtendedL2;
  // qcow2.txt, "Header": an implementation must fail to open an image with an unknown bit.
  std::string names;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (((header.incompatible & ~kKnown) >> bit & 1) == 0) continue;
    if (!names.empty()) names += ", ";
    names += FeatureName(extensions, bit);
  }
  if (names.empty()) return {};
  return Unsupported("qcow2.header.features",
                     fmt::format("the disk needs features of QCOW2 that are not known: {}", names));
}

}  // namespace vmferry::image::qcow2
