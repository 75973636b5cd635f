// SPDX-License-Identifier: Apache-2.0
#include "proof/hash_tree_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "sys/file.h"
#include "text/json.h"

namespace vmferry::proof {
namespace {

namespace fs = std::filesystem;
using text::Json;

/// A blob of 128 KiB is 171 KiB of base64.
constexpr std::size_t kMaxLineBytes = 256 * kKiB;
/// A file that is not laid out in lines is read whole, up to this.
constexpr std::size_t kMaxWholeBytes = 16 * kMiB;
constexpr std::string_view kHeadEnd = ",\"blobs\":[";
constexpr std::string_view kFileEnd = "]}";

Error Malformed(std::string_view problem) {
  return Error(ErrorCode::kDataLoss, "hashtree.malformed", fmt::format("the hash tree {}", problem))
      .WithRemedy(
          "check that the file is a hash tree and was copied completely, or write it again");
}

/// Reads members of one object; the first one that is missing or wrong is remembered.
class Members {
 public:
  explicit Members(const Json& json) : json_(json) {}
  std::string String(std::string_view name) {
    if (!json_[name].IsString()) Note(name);
    return json_[name].AsString();
  }
  std::uint64_t Number(std::string_view name) {
    const std::int64_t value = json_[name].AsInt(-1);
    if (value < 0) Note(name);
    return static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0));
  }
  void Note(std::string_view name) {
    if (fault_.empty()) fault_ = name;
  }
  Result<void> Check() const {
    if (fault_.empty()) return {};
    return Malformed(fmt::format("has no usable '{}'", fault_));
  }

 private:
  const Json& json_;
  std::string fault_;
};

/// The file's lines, in bounded memory.
class Lines {
 public:
  explicit Lines(const ReadSome& read_some) : read_some_(read_some) {}

  /// The next line without its newline; nothing at the end. A line longer than kMaxLineBytes is
  /// malformed. The view holds until the next call.
  Result<std::optional<std::string_view>> Next() {
    buffer_.erase(0, taken_);
    taken_ = 0;
    std::size_t searched = 0;
    while (true) {
      const std::size_t newline = buffer_.find('\n', searched);
      if (newline != buffer_.npos) {
        taken_ = newline + 1;
        return std::optional(std::string_view(buffer_).substr(0, newline));
      }
      if (buffer_.size() > kMaxLineBytes) return Malformed("has a line that is too long");
      searched = buffer_.size();
      VMFERRY_ASSIGN_OR_RETURN(const bool more, Fill());
      if (more) continue;
      if (buffer_.empty()) return std::optional<std::string_view>();
      taken_ = buffer_.size();
      return std::optional(std::string_view(buffer_));
    }
  }

 private:
  /// Reads another stretch of the file; false at its end.
  Result<bool> Fill() {
    const std::size_t old_size = buffer_.size();
    buffer_.resize(old_size + kMaxLineBytes);
    const std::span<std::byte> room = std::as_writable_bytes(std::span(buffer_)).subspan(old_size);
    VMFERRY_ASSIGN_OR_RETURN(const std::size_t count, read_some_(offset_bytes_, room));
    buffer_.resize(old_size + count);
    offset_bytes_ += count;
    return count > 0;
  }

  const ReadSome& read_some_;
  std::uint64_t offset_bytes_ = 0;  // of the file's bytes behind the buffer
  std::string buffer_;
  std::size_t taken_ = 0;  // bytes of the line that was returned last
};

Result<HashTree> ParseHead(const Json& json) {
  if (!json["schema"].IsString()) return Malformed("does not say its schema");
  if (json["schema"].AsString() != kHashTreeSchema) {
    return Error(ErrorCode::kUnimplemented, "hashtree.schema",
                 fmt::format("the file has the schema '{}', not {}",
                             json["schema"].AsString().substr(0, 100), kHashTreeSchema))
        .WithRemedy("give a hash tree that vmferry image hash --tree wrote, or a newer vmferry");
  }
  Members members(json);
  Members blocks(json["blocks"]);
  HashTree tree;
  tree.source = members.String("source");
  tree.format = members.String("format");
  tree.virtual_size_bytes = members.Number("virtual_size_bytes");
  tree.hash.block_count = members.Number("block_count");
  tree.hash.counts = {
      .data = blocks.Number("data"), .zero = blocks.Number("zero"), .hole = blocks.Number("hole")};
  const auto root = codec::HexDecode(members.String("root"));
  if (!root || root->size() != tree.hash.root.size()) {
    members.Note("root");
  } else {
    std::copy(root->begin(), root->end(), tree.hash.root.begin());
  }
  if (members.Number("block_size_bytes") != kLeafBlockBytes) members.Note("block_size_bytes");
  if (tree.virtual_size_bytes > kMaxTreeDiskBytes) {
    members.Note("virtual_size_bytes");
  } else {
    const std::uint64_t volume_bytes = VolumeBytesOf(tree.virtual_size_bytes);
    if (members.Number("volume_size_bytes") != volume_bytes) members.Note("volume_size_bytes");
    if (tree.hash.block_count != volume_bytes / kLeafBlockBytes) members.Note("block_count");
  }
  VMFERRY_RETURN_IF_ERROR(members.Check());
  VMFERRY_RETURN_IF_ERROR(blocks.Check());
  // Each is below 2^63, so that the sum of two fits; then the third is compared with the rest.
  const BlockCounts& counts = tree.hash.counts;
  if (counts.data > tree.hash.block_count || counts.zero > tree.hash.block_count - counts.data ||
      counts.hole != tree.hash.block_count - counts.data - counts.zero) {
    return Malformed("counts other blocks than it has");
  }
  return tree;
}

/// Takes blobs in ascending order.
class BlobReader {
 public:
  explicit BlobReader(HashTree& tree) : tree_(tree) {}

  Result<void> Add(const Json& json) {
    Members members(json);
    const std::uint64_t index = members.Number("index");
    const std::string text = members.String("leaves");
    VMFERRY_RETURN_IF_ERROR(members.Check());
    if (index < next_index_) return Malformed("has its blobs out of order");
    if (index >= DivCeil(tree_.hash.block_count, kLeavesPerBlob)) {
      return Malformed(fmt::format("has a blob {} behind the end of the disk", index));
    }
    next_index_ = index + 1;
    const auto leaves = codec::Base64Decode(text);
    if (!leaves || leaves->size() != kBlobBytes) {
      return Malformed(
          fmt::format("has a blob {} that is not {} bytes in base64", index, kBlobBytes));
    }
    return tree_.hash.leaves.LoadBlob(index, *leaves);
  }

  /// Leaves behind the last block would escape the root.
  Result<HashTree> Finish() {
    const std::uint64_t block_count = tree_.hash.block_count;
    if (tree_.hash.leaves.NextNonZero(block_count)) {
      return Malformed("has leaves behind the end of the disk");
    }
    if (tree_.hash.leaves.ComputeRoot(block_count) != tree_.hash.root) {
      return Error(ErrorCode::kDataLoss, "hashtree.root_mismatch",
                   "the root of the hash tree is not the one of its leaves")
          .WithRemedy("the file was damaged or changed: get it again from where it was written");
    }
    return std::move(tree_);
  }

 private:
  HashTree& tree_;
  std::uint64_t next_index_ = 0;
};

Result<HashTree> ParseWhole(const ReadSome& read_some) {
  std::string text(kMaxWholeBytes + 1, '\0');
  VMFERRY_ASSIGN_OR_RETURN(const std::size_t count,
                           read_some(0, std::as_writable_bytes(std::span(text))));
  text.resize(count);
  auto json = Json::Parse(text, kMaxWholeBytes);
  if (!json) return Malformed("is not JSON in the layout it is written in").CausedBy(json.error());
  VMFERRY_ASSIGN_OR_RETURN(HashTree tree, ParseHead(*json));
  BlobReader blobs(tree);
  if (!(*json)["blobs"].IsArray()) return Malformed("has no usable 'blobs'");
  for (const Json& blob : (*json)["blobs"].Items()) VMFERRY_RETURN_IF_ERROR(blobs.Add(blob));
  return blobs.Finish();
}

/// The line as JSON; `what` names it in the error.
Result<Json> ParseLine(std::string_view line, std::string_view what) {
  auto json = Json::Parse(line, kMaxLineBytes + 16);
  if (json) return json;
  return Malformed(fmt::format("has {} that is not JSON", what)).CausedBy(json.error());
}

std::string HeadLine(const HashTree& tree) {
  const BlockCounts& counts = tree.hash.counts;
  Json blocks = Json::MakeObject();
  blocks.Set("data", counts.data).Set("zero", counts.zero).Set("hole", counts.hole);
  Json head = Json::MakeObject();
  head.Set("schema", kHashTreeSchema)
      .Set("source", tree.source)
      .Set("format", tree.format)
      .Set("virtual_size_bytes", tree.virtual_size_bytes)
      .Set("volume_size_bytes", tree.hash.block_count * kLeafBlockBytes)
      .Set("block_size_bytes", kLeafBlockBytes)
      .Set("block_count", tree.hash.block_count)
      .Set("blocks", std::move(blocks))
      .Set("root", FormatRoot(tree.hash.root));
  std::string line = head.Dump();
  line.pop_back();  // the object goes on
  return line + std::string(kHeadEnd);
}

}  // namespace

std::uint64_t VolumeBytesOf(std::uint64_t virtual_size_bytes) {
  return std::max<std::uint64_t>(DivCeil(virtual_size_bytes, kGiB), 1) * kGiB;
}

Result<HashTree> ParseHashTree(const ReadSome& read_some) {
  Lines lines(read_some);
  const auto first = lines.Next();
  if (!first && first.error().code() != ErrorCode::kDataLoss) return first.error();
  if (first && !*first) return Malformed("is an empty file");
  if (!first || !(*first)->ends_with(kHeadEnd)) return ParseWhole(read_some);
  std::string head((*first)->substr(0, (*first)->size() - kHeadEnd.size()));
  VMFERRY_ASSIGN_OR_RETURN(const Json json, ParseLine(head + "}", "a first line"));
  VMFERRY_ASSIGN_OR_RETURN(HashTree tree, ParseHead(json));
  BlobReader blobs(tree);
  bool last = false;  // the blob before had no comma behind it
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const std::optional<std::string_view> line, lines.Next());
    if (!line) return Malformed("is cut off");
    if (*line == kFileEnd) break;
    if (last) return Malformed("goes on behind its last blob");
    last = !line->ends_with(',');
    VMFERRY_ASSIGN_OR_RETURN(const Json blob,
                             ParseLine(line->substr(0, line->size() - (last ? 0 : 1)), "a line"));
    VMFERRY_RETURN_IF_ERROR(blobs.Add(blob));
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::optional<std::string_view> rest, lines.Next());
  if (rest) return Malformed("goes on behind its end");
  return blobs.Finish();
}

Result<HashTree> ReadHashTree(const fs::path& path) {
  VMFERRY_ASSIGN_OR_RETURN(const sys::File file, sys::File::Open(path, sys::File::Mode::kRead));
  auto tree = ParseHashTree([&](std::uint64_t offset_bytes, std::span<std::byte> out) {
    return file.ReadSomeAt(offset_bytes, out);
  });
  if (tree || tree.error().FindFact("path") != nullptr) return tree;
  return std::move(tree).error().With("path", path.string());
}

Result<void> PrintHashTree(const HashTree& tree,
                           const std::function<Result<void>(std::string_view)>& write) {
  VMFERRY_RETURN_IF_ERROR(write(HeadLine(tree) + "\n"));
  const std::vector<std::uint64_t> indices = tree.hash.leaves.BlobIndices();
  for (const std::uint64_t index : indices) {
    VMFERRY_RETURN_IF_ERROR(write(fmt::format("{{\"index\":{},\"leaves\":\"{}\"}}{}\n", index,
                                              codec::Base64Encode(tree.hash.leaves.Blob(index)),
                                              index == indices.back() ? "" : ",")));
  }
  return write(std::string(kFileEnd) + "\n");
}

Result<void> WriteHashTree(const fs::path& path, const HashTree& tree) {
  fs::path temporary = path;
  temporary += fmt::format(".{}.tmp", ::getpid());
  const auto write = [&]() -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                             sys::File::Open(temporary, sys::File::Mode::kCreate));
    VMFERRY_RETURN_IF_ERROR(file.Truncate(0));
    std::uint64_t offset_bytes = 0;
    VMFERRY_RETURN_IF_ERROR(PrintHashTree(tree, [&](std::string_view line) -> Result<void> {
      VMFERRY_RETURN_IF_ERROR(file.WriteAt(offset_bytes, std::as_bytes(std::span(line))));
      offset_bytes += line.size();
      return {};
    }));
    VMFERRY_RETURN_IF_ERROR(file.Sync());
    std::error_code failure;
    // It travels with the disk and holds nothing secret.
    fs::permissions(temporary, fs::perms(0644), failure);
    if (!failure) fs::rename(temporary, path, failure);
    if (failure) return sys::ErrnoError("write", path, failure.value());
    return {};
  };
  if (auto written = write(); !written) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    return written;
  }
  return sys::SyncFolder(path.parent_path());
}

}  // namespace vmferry::proof
