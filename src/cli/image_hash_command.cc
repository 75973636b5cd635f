// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/open_options.h"
#include "cli/render.h"
#include "cli/report.h"
#include "proof/check_disk.h"
#include "proof/hash_tree_file.h"
#include "text/json.h"

namespace vmferry::cli {
namespace {

using text::Json;

Json CountsToJson(const proof::BlockCounts& counts) {
  Json json = Json::MakeObject();
  json.Set("total", counts.total())
      .Set("data", counts.data)
      .Set("zero", counts.zero)
      .Set("hole", counts.hole);
  return json;
}

std::string DescribeCounts(const proof::BlockCounts& counts) {
  return fmt::format("{} of 512 KiB: {} data, {} zero, {} hole", counts.total(), counts.data,
                     counts.zero, counts.hole);
}

void Print(CommandContext& context, const std::string& text, const Json& json) {
  const OutputForm form = context.arguments.output;
  fmt::print(context.world.out, "{}",
             form == OutputForm::kText ? text : json.Dump(form == OutputForm::kJson) + "\n");
  context.answered = true;
}

proof::HashOptions HashOptionsWith(ByteProgress& progress) {
  return {.threads = ThreadsForDisks(),
          .progress = [&progress](std::uint64_t done_blocks, std::uint64_t total_blocks) {
            progress.Update(done_blocks * proof::kLeafBlockBytes,
                            total_blocks * proof::kLeafBlockBytes);
          }};
}

/// Hashes the disk, and writes the tree where that was asked for.
Result<void> WriteTree(CommandContext& context, const image::DiskImage& disk) {
  const Arguments& arguments = context.arguments;
  const image::DiskImageInfo& info = disk.Info();
  proof::HashTree tree = {.source = FileNameOf(arguments.source),
                          .format = FormatOf(info),
                          .virtual_size_bytes = disk.SizeBytes()};
  {
    ByteProgress progress(context.world, "hashing");
    VMFERRY_ASSIGN_OR_RETURN(
        tree.hash, proof::HashDisk(disk, proof::VolumeBytesOf(disk.SizeBytes()),
                                   HashOptionsWith(progress), {.stop = context.world.stop}));
  }
  if (!arguments.tree.empty()) {
    VMFERRY_RETURN_IF_ERROR(proof::WriteHashTree(arguments.tree, tree));
  }
  const std::string root = proof::FormatRoot(tree.hash.root);
  Json json = Json::MakeObject();
  json.Set("schema", "vmferry.image-hash/1")
      .Set("path", arguments.source)
      .Set("format", tree.format)
      .Set("virtual_size_bytes", tree.virtual_size_bytes)
      .Set("volume_size_bytes", tree.hash.block_count * proof::kLeafBlockBytes)
      .Set("root", root)
      .Set("blocks", CountsToJson(tree.hash.counts));
  if (!arguments.tree.empty()) json.Set("tree", arguments.tree);
  std::vector<std::vector<std::string>> rows = {
      {"disk", fmt::format("{}, {}", arguments.source, FormatExactSize(tree.virtual_size_bytes))},
      {"root", root},
      {"blocks", DescribeCounts(tree.hash.counts)}};
  if (!arguments.tree.empty()) rows.push_back({"tree", arguments.tree});
  Print(context, FormatTable(rows), json);
  return {};
}

std::string DescribeCheck(const proof::DiskCheck& check, const proof::HashTree& tree,
                          const Arguments& arguments) {
  std::vector<std::vector<std::string>> rows = {
      {"disk", fmt::format("{}, {}", arguments.source, FormatExactSize(check.disk_bytes))},
      {"tree", fmt::format("{}, of {}, {}", arguments.check_tree, tree.source, tree.format)},
      {"root", proof::FormatRoot(tree.hash.root)},
      {"verdict",
       check.same_bytes() ? "the disk is what was hashed" : "the disk is not what was hashed"}};
  if (!check.same_size()) {
    rows.push_back(
        {"sizes", fmt::format("the disk that was hashed had {}; behind the shorter one's "
                              "end both count as zero",
                              FormatExactSize(check.tree_disk_bytes))});
  }
  rows.push_back({"blocks", DescribeCounts(check.counts)});
  if (!check.same_bytes()) {
    rows.push_back(
        {"differing", fmt::format("{} of {} blocks", check.differing_blocks, check.block_count)});
  }
  return FormatTable(rows) + DescribeRanges(check.ranges, check.ranges_complete);
}

Json CheckToJson(const proof::DiskCheck& check, const proof::HashTree& tree,
                 const Arguments& arguments) {
  Json json = Json::MakeObject();
  return json.Set("schema", "vmferry.image-check/1")
      .Set("verdict", check.same_bytes() ? "identical" : "differs")
      .Set("path", arguments.source)
      .Set("virtual_size_bytes", check.disk_bytes)
      .Set("tree", arguments.check_tree)
      .Set("tree_virtual_size_bytes", check.tree_disk_bytes)
      .Set("root", proof::FormatRoot(tree.hash.root))
      .Set("blocks", CountsToJson(check.counts))
      .Set("differing_blocks", check.differing_blocks)
      .Set("differing_ranges", RangesToJson(check.ranges))
      .Set("differing_ranges_complete", check.ranges_complete);
}

Result<void> CheckTree(CommandContext& context, const image::DiskImage& disk) {
  const Arguments& arguments = context.arguments;
  VMFERRY_ASSIGN_OR_RETURN(const proof::HashTree tree, proof::ReadHashTree(arguments.check_tree));
  ByteProgress progress(context.world, "checking");
  VMFERRY_ASSIGN_OR_RETURN(
      const proof::DiskCheck check,
      proof::CheckDisk(disk, tree, HashOptionsWith(progress), {.stop = context.world.stop}));
  progress.Clear();
  Print(context, DescribeCheck(check, tree, arguments), CheckToJson(check, tree, arguments));
  if (check.same_bytes()) return {};
  return Error(ErrorCode::kDataLoss, "hash.differs",
               fmt::format("{} of {} blocks are not what was hashed", check.differing_blocks,
                           check.block_count))
      .WithRemedy("copy the disk again, or find the hash tree that belongs to it");
}

}  // namespace

Result<void> RunImageHash(CommandContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(
      const image::OpenedDisk disk,
      image::OpenDisk(context.arguments.source, OpenOptionsOf(context.arguments)));
  if (context.arguments.check_tree.empty()) {
    VMFERRY_RETURN_IF_ERROR(CheckNotSource(disk, context.arguments.tree));
    return WriteTree(context, *disk.image);
  }
  return CheckTree(context, *disk.image);
}

}  // namespace vmferry::cli
