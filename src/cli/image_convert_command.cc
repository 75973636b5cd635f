// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/open_options.h"
#include "cli/render.h"
#include "image/appliance.h"
#include "image/make_encoder.h"
#include "text/json.h"
#include "transfer/convert.h"

namespace vmferry::cli {
namespace {

namespace fs = std::filesystem;

/// The target that stands for no file: everything is read and encoded, nothing is kept.
constexpr std::string_view kNothing = "null:";

Result<image::OutputFormat> ChooseFormat(const Arguments& arguments) {
  if (!arguments.format.empty()) {
    // The words were checked with the command line.
    return *image::ParseOutputFormat(arguments.format);
  }
  if (arguments.target == kNothing) return image::OutputFormat::kRaw;
  if (const auto format = image::OutputFormatOf(arguments.target)) return *format;
  return Error(ErrorCode::kInvalidArgument, "cli.usage",
               fmt::format("the name {} does not tell which format to write", arguments.target))
      .WithRemedy(fmt::format("give --format with one of: {}",
                              fmt::join(image::OutputFormatNames(), ", ")));
}

Result<transfer::EncodeOutcome> Convert(CommandContext& context, const image::DiskImage& disk,
                                        image::Encoder& encoder) {
  const Arguments& arguments = context.arguments;
  World& world = context.world;
  ByteProgress line(world, "converting");
  const auto on_progress = [&line](const transfer::EncodeProgress& progress) {
    line.Update(progress.guest_bytes, progress.total_bytes);
  };
  // More threads than cores only wait for each other's turn: 1.2 s instead of 0.6 s were measured.
  const std::uint32_t cores = std::max(1U, std::thread::hardware_concurrency());
  const transfer::EncodeOptions encode = {.threads =
                                              arguments.threads == 0 ? cores : arguments.threads};
  const OpContext op{.stop = world.stop};
  if (arguments.target == kNothing) {
    return transfer::ConvertToNothing(disk, encoder, encode, on_progress, op);
  }
  return transfer::ConvertToFile(disk, encoder, arguments.target,
                                 {.replace = arguments.force, .encode = encode}, on_progress, op);
}

/// What is known about the machine whose disk is converted: an appliance tells.
image::VmDescription MachineOf(const Arguments& arguments, image::OutputFormat format) {
  if (format != image::OutputFormat::kOva) return {};
  auto opened = image::OpenAppliance(arguments.source, OpenOptionsOf(arguments));
  if (!opened) return {};  // not an appliance: the disk was opened already
  image::VmDescription vm = std::move(opened->appliance.vm);
  // The writer takes the controller of the first disk.
  if (arguments.disk && *arguments.disk <= vm.disks.size()) {
    vm.disks = {vm.disks[*arguments.disk - 1]};
  }
  return vm;
}

/// Everything that somebody should know about the result.
std::vector<std::string> Remarks(const image::OpenedDisk& disk, const image::EncoderInfo& info) {
  std::vector<std::string> remarks = info.remarks;
  for (const std::string& defect : disk.image->Info().defects) {
    remarks.push_back("the source: " + defect);
  }
  for (const std::string& remark : disk.remarks) remarks.push_back("the source: " + remark);
  return remarks;
}

void PrintJson(CommandContext& context, const image::EncoderInfo& info,
               const transfer::EncodeOutcome& outcome, const std::vector<std::string>& remarks) {
  text::Json list = text::Json::MakeArray();
  for (const std::string& remark : remarks) list.Append(remark);
  text::Json json = text::Json::MakeObject();
  json.Set("schema", "vmferry.image-convert/1")
      .Set("source", context.arguments.source)
      .Set("target", context.arguments.target)
      .Set("format", info.format)
      .Set("subformat", info.subformat)
      .Set("encoder", info.id)
      .Set("virtual_size_bytes", info.virtual_size_bytes)
      .Set("output_size_bytes", outcome.output_bytes)
      .Set("remarks", std::move(list));
  fmt::print(context.world.out, "{}\n", json.Dump(context.arguments.output == OutputForm::kJson));
}

}  // namespace

Result<void> RunImageConvert(CommandContext& context) {
  const Arguments& arguments = context.arguments;
  VMFERRY_ASSIGN_OR_RETURN(const image::OutputFormat format, ChooseFormat(arguments));
  VMFERRY_ASSIGN_OR_RETURN(const image::OpenedDisk disk,
                           image::OpenDisk(arguments.source, OpenOptionsOf(arguments)));
  const bool to_nothing = arguments.target == kNothing;
  if (!to_nothing) VMFERRY_RETURN_IF_ERROR(CheckNotSource(disk, arguments.target));
  VMFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<image::Encoder> encoder,
      image::MakeEncoder(format, disk.image->SizeBytes(),
                         {.file_name = fs::path(arguments.target).filename().string(),
                          .vm = MachineOf(arguments, format),
                          .time_s = context.world.source_date_epoch,
                          .find_zeros = !to_nothing}));
  const image::EncoderInfo& info = encoder->Info();
  VMFERRY_ASSIGN_OR_RETURN(const transfer::EncodeOutcome outcome,
                           Convert(context, *disk.image, *encoder));
  const std::vector<std::string> remarks = Remarks(disk, info);
  if (arguments.output != OutputForm::kText) {
    PrintJson(context, info, outcome, remarks);
    return {};
  }
  for (const std::string& remark : remarks) fmt::print(context.world.talk, "note: {}\n", remark);
  fmt::print(context.world.out, "{}: {}{}{}, {} virtual, a file of {}\n", arguments.target,
             info.format, info.subformat.empty() ? "" : " ", info.subformat,
             FormatSize(info.virtual_size_bytes), FormatSize(outcome.output_bytes));
  return {};
}

}  // namespace vmferry::cli
