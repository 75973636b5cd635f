// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/qcow2_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "image/layer.h"
#include "image/qcow2/cluster_tables.h"
#include "image/qcow2/damage.h"
#include "image/qcow2/header.h"
#include "image/qcow2/qcow2_layer.h"
#include "image/qcow2/snapshot_table.h"

namespace vmferry::image::qcow2 {
namespace {

/// L2 tables up to this size are all looked at when the disk is opened: 128 GiB of guest with the
/// usual clusters of 64 KiB, in a few hundredths of a second.
constexpr std::uint64_t kMaxSurveyBytes = 16 * kMiB;

/// What stands in the first cluster.
struct Head {
  Header header;
  HeaderExtensions extensions;
  std::string backing_name;  ///< empty: none
};

Result<Head> ReadHead(const ByteSource& source) {
  std::array<std::byte, kHeaderBytesFull> first;
  const auto first_bytes = std::span(first).first(
      static_cast<std::size_t>(std::min<std::uint64_t>(first.size(), source.SizeBytes())));
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(0, first_bytes));
  Head head;
  VMFERRY_ASSIGN_OR_RETURN(head.header, ParseHeader(first_bytes));
  std::vector<std::byte> cluster(std::min(head.header.cluster_bytes(), source.SizeBytes()));
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(0, cluster));
  VMFERRY_ASSIGN_OR_RETURN(head.extensions, ParseExtensions(head.header, cluster));
  VMFERRY_RETURN_IF_ERROR(CheckFeatures(head.header, head.extensions));
  ByteReader reader(cluster);
  reader.Skip(head.header.backing_offset_bytes);
  head.backing_name = head.header.backing_offset_bytes == 0
                          ? std::string()
                          : std::string(AsText(reader.Take(head.header.backing_length_bytes)));
  if (reader.failed()) {
    return Damage("qcow2.header.truncated",
                  fmt::format("the file ends inside its first cluster, after {} bytes, in front of "
                              "the backing file's name",
                              cluster.size()));
  }
  return head;
}

/// The format as QEMU calls it. Errors: kUnimplemented qcow2.backing.format.
Result<std::optional<Format>> FormatNamed(const std::optional<std::string>& name) {
  if (!name || name->empty()) return std::optional<Format>();
  struct Known {
    std::string_view name;
    std::optional<Format> format;
  };
  // "file" and "host_device" are what QEMU wrote for raw disks before it had the word. A VMDK is of
  // several kinds: its content tells.
  static const std::array<Known, 10> kKnown = {{{"raw", Format::kUnknown},
                                                {"file", Format::kUnknown},
                                                {"host_device", Format::kUnknown},
                                                {"qcow2", Format::kQcow2},
                                                {"qcow", Format::kQcow2},
                                                {"vpc", Format::kVhd},
                                                {"vhdx", Format::kVhdx},
                                                {"vdi", Format::kVdi},
                                                {"qed", Format::kQed},
                                                {"vmdk", std::nullopt}}};
  for (const Known& known : kKnown) {
    if (*name == known.name) return known.format;
  }
  return Unsupported("qcow2.backing.format",
                     fmt::format("the disk says that its backing file is in format '{}', which is "
                                 "not known",
                                 name->substr(0, 32)));
}

Result<std::optional<ParentDisk>> OpenBacking(const Head& head, Companions& companions) {
  if (head.backing_name.empty()) return std::optional<ParentDisk>();
  ParentRequest request;
  VMFERRY_ASSIGN_OR_RETURN(request.format, FormatNamed(head.extensions.backing_format));
  // QEMU's spelling of "a file, whatever colons its name has".
  constexpr std::string_view kFilePrefix = "file:";
  std::string_view name = head.backing_name;
  if (name.starts_with(kFilePrefix)) name.remove_prefix(kFilePrefix.size());
  request.names = {std::string(name)};
  VMFERRY_ASSIGN_OR_RETURN(ParentDisk parent, companions.OpenParent(request));
  return std::optional<ParentDisk>(std::move(parent));
}

/// The external data file, where the disk has one. It is opened only where a parent may be, too.
Result<std::unique_ptr<ByteSource>> OpenData(const Head& head, Companions& companions) {
  if ((head.header.incompatible & kIncompatibleExternalData) == 0) {
    return std::unique_ptr<ByteSource>();
  }
  const std::string name = head.extensions.data_file.value_or("");
  auto opened = companions.OpenExtent(name);
  if (opened) return opened;
  const ErrorCode code = opened.error().code();
  const std::string remedy = opened.error().remedy();
  return Error(code, "qcow2.external_data",
               fmt::format("the disk keeps its data in another file, '{}', which cannot be read",
                           name.substr(0, 200)))
      .WithRemedy(remedy)
      .CausedBy(std::move(opened).error());
}

std::string ListOfNames(const SnapshotNames& snapshots, std::uint32_t count) {
  std::string list = fmt::format("{}", count);
  for (std::size_t i = 0; i < snapshots.names.size(); ++i) {
    list += (i == 0 ? ": " : ", ") + snapshots.names[i];
  }
  if (snapshots.names.size() < count) list += ", ...";
  return list;
}

void Describe(const Head& head, DiskImageInfo& info) {
  const Header& header = head.header;
  const auto detail = [&](std::string_view name, std::string text) {
    info.details.emplace_back(name, std::move(text));
  };
  detail("version", fmt::format("{}", header.version));
  detail("cluster size", FormatSize(header.cluster_bytes()));
  detail("compression", header.compression == Compression::kZstd ? "zstd" : "zlib");
  if (header.extended_l2()) {
    detail("subcluster size", FormatSize(header.cluster_bytes() / kSubclusters));
  }
  if ((header.compatible & kCompatibleLazyRefcounts) != 0) detail("lazy refcounts", "yes");
  if (head.extensions.backing_format) {
    detail("backing format", head.extensions.backing_format->substr(0, 32));
  }
  if (head.extensions.bitmap_count > 0) {
    const bool valid = (header.autoclear & kAutoclearBitmaps) != 0;
    detail("dirty bitmaps",
           fmt::format("{}{}", head.extensions.bitmap_count, valid ? "" : ", out of date"));
  }
  const std::uint64_t unknown = header.compatible & ~kCompatibleLazyRefcounts;
  if (unknown != 0) detail("unknown compatible features", fmt::format("{:#x}", unknown));
}

void FindDefects(const Header& header, const ClusterTables& tables, std::uint64_t file_bytes,
                 DiskImageInfo& info) {
  if ((header.incompatible & kIncompatibleDirty) != 0) {
    info.defects.push_back(
        "it was not closed properly (dirty bit): its refcounts may be wrong, what it holds is not "
        "touched by that");
  }
  if ((header.incompatible & kIncompatibleCorrupt) != 0) {
    info.defects.push_back("QEMU marked it as corrupt: qemu-img check says what is wrong");
  }
  if (tables.reserved_count() > 0) {
    info.defects.push_back(
        fmt::format("{} entries of the L1 table have reserved bits set", tables.reserved_count()));
  }
  const std::uint64_t refcounts_bytes = std::uint64_t{header.refcount_table_clusters}
                                        << header.cluster_bits;
  if (header.refcount_table_offset_bytes > file_bytes ||
      refcounts_bytes > file_bytes - header.refcount_table_offset_bytes) {
    info.defects.push_back("its refcount table lies outside the file, which may be cut off");
  }
}

}  // namespace

Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source,
                                        Companions& companions) {
  VMFERRY_ASSIGN_OR_RETURN(const Head head, ReadHead(*source));
  VMFERRY_ASSIGN_OR_RETURN(auto tables, ClusterTables::Load(*source, head.header));
  VMFERRY_ASSIGN_OR_RETURN(const SnapshotNames snapshots, ReadSnapshotNames(*source, head.header));
  VMFERRY_ASSIGN_OR_RETURN(auto data, OpenData(head, companions));
  DiskImageInfo info;
  info.format = "qcow2";
  info.stored_size_bytes = source->SizeBytes() + (data ? data->SizeBytes() : 0);
  Describe(head, info);
  if (data) info.details.emplace_back("data file", head.extensions.data_file->substr(0, 200));
  if (head.header.snapshot_count > 0) {
    info.details.emplace_back("VM snapshots", ListOfNames(snapshots, head.header.snapshot_count));
  }
  FindDefects(head.header, *tables, source->SizeBytes(), info);
  if (!snapshots.whole) info.defects.push_back("its table of VM snapshots is damaged");

  const bool survey = tables->present_count() <= kMaxSurveyBytes / head.header.cluster_bytes();
  auto layer = std::make_unique<Qcow2Layer>(std::move(source), std::move(data), head.header,
                                            std::move(tables));
  if (survey) {
    VMFERRY_ASSIGN_OR_RETURN(info.allocated_size_bytes, layer->CountAllocated());
  }
  VMFERRY_ASSIGN_OR_RETURN(auto parent, OpenBacking(head, companions));
  return MakeLayeredImage(std::move(layer), std::move(parent), std::move(info));
}

}  // namespace vmferry::image::qcow2
