// SPDX-License-Identifier: Apache-2.0
#include "region/vm/disk_tool.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <fstream>

#include "base/units.h"
#include "sys/file.h"
#include "sys/process.h"
#include "text/json.h"

namespace vmferry::region::vm {
namespace {

using std::chrono::milliseconds;

// qemu-img needs well below 1 GiB for any image we take; more means a hostile table.
constexpr std::uint64_t kAddressSpace = 2 * kGiB;
constexpr std::chrono::seconds kCpu{4 * 3600};
// Map entries, info: what is small ends within this.
constexpr std::chrono::minutes kShortRun{5};
constexpr std::uint64_t kMapLineMax = 4096;

Error ToolError(const std::string& tool, int exit_code, std::string_view words) {
  words = words.substr(0, words.find('\n'));
  if (words.starts_with("qemu-img: ")) words.remove_prefix(10);
  return Error(ErrorCode::kDataLoss, "region.tool_failed",
               fmt::format("{} ended with {}: {}", tool, exit_code, words));
}

// Waits for the child and calls `idle` every 100 ms; kills its process group when told to stop.
Result<int> WaitFor(sys::Clock& clock, pid_t pid, const OpContext& context,
                    const std::function<void()>& idle) {
  int status = 0;
  while (true) {
    const pid_t waited = ::waitpid(pid, &status, WNOHANG);
    if (waited == pid) return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (waited < 0 && errno != EINTR) return sys::ErrnoError("wait for", "qemu-img", errno);
    const bool late = context.deadline.Passed(clock.MonotonicNow());
    if (late || context.stop.stop_requested()) {
      ::kill(-pid, SIGKILL);
      ::waitpid(pid, &status, 0);
      if (late) {
        return Error(ErrorCode::kDeadlineExceeded, "process.timeout",
                     "qemu-img did not end in time");
      }
      return Error(ErrorCode::kCancelled, "process.stopped", "qemu-img was stopped");
    }
    idle();
    clock.SleepFor(milliseconds(100), context);
  }
}

std::string TailOf(const std::filesystem::path& path, std::size_t count) {
  auto file = sys::File::Open(path, sys::File::Mode::kRead);
  if (!file) return {};
  const std::uint64_t size = file->Size().value_or(std::uint64_t{0});
  std::string tail(std::min<std::uint64_t>(size, count), '\0');
  const auto got = file->ReadSomeAt(size - tail.size(), std::as_writable_bytes(std::span(tail)));
  tail.resize(got.value_or(std::size_t{0}));
  return tail;
}

// A VHD's size by its "current size". QEMU guesses by the writer's name whether that or the
// geometry counts, and then cuts the end off disks of VirtualBox.
// Source: Microsoft, "Virtual Hard Disk Image Format Specification", "Current Size".
std::vector<std::string> Source(const std::string& format, const std::string& file) {
  if (format != "vpc") return {"-f", format, file};
  return {"--image-opts",
          "driver=vpc,force_size_calc=current_size,file.driver=file,file.filename=" + file};
}

std::vector<std::string> Command(std::initializer_list<std::string> head, const std::string& format,
                                 const std::string& file,
                                 std::initializer_list<std::string> tail = {}) {
  std::vector<std::string> command(head);
  std::vector<std::string> source = Source(format, file);
  const std::string last = std::move(source.back());
  source.pop_back();
  command.insert(command.end(), source.begin(), source.end());
  command.insert(command.end(), tail.begin(), tail.end());
  command.push_back(last);
  return command;
}

}  // namespace

int LastPercent(std::string_view output) {
  const std::size_t slash = output.rfind("/100%)");
  if (slash == output.npos) return -1;
  const std::size_t open = output.rfind('(', slash);
  if (open == output.npos) return -1;
  const std::string_view number = output.substr(open + 1, slash - open - 1);
  const auto whole = ParseUint(number.substr(0, number.find('.')));
  return whole && *whole <= 100 ? static_cast<int>(*whole) : -1;
}

Result<MapRun> ParseMapLine(std::string_view line) {
  while (!line.empty() && (line.front() == '[' || line.front() == ' ')) line.remove_prefix(1);
  while (!line.empty() && std::string_view("],\r\n ").find(line.back()) != line.npos) {
    line.remove_suffix(1);
  }
  auto parsed = text::Json::Parse(line);
  if (!parsed || (*parsed)["start"].IsNull() || (*parsed)["length"].IsNull()) {
    return Error(
        ErrorCode::kDataLoss, "region.tool_failed",
        fmt::format("qemu-img map wrote a line that is not understood: {}", line.substr(0, 200)));
  }
  const text::Json& entry = *parsed;
  return MapRun{.start_bytes = entry["start"].AsUint(),
                .length_bytes = entry["length"].AsUint(),
                .written = entry["depth"].AsInt(1) == 0 && entry["present"].AsBool()};
}

Result<std::string> DiskTool::Run(const std::filesystem::path& folder,
                                  std::vector<std::string> arguments, std::uint64_t file_bytes_max,
                                  const OpContext& context) const {
  const std::string tool = arguments[0];
  const ProcessLimits limits{.cpu = kCpu,
                             .address_space_bytes = kAddressSpace,
                             .file_bytes = file_bytes_max,
                             .dies_with_us = true};
  VMFERRY_ASSIGN_OR_RETURN(
      const sys::ProcessOutcome outcome,
      sys::RunProcess(clock_, sandbox_.Confine(std::move(arguments), folder, limits),
                      context.WithDeadline(clock_.DeadlineIn(kShortRun))));
  if (outcome.exit_code != 0) return ToolError(tool, outcome.exit_code, outcome.error_output);
  return outcome.output;
}

Result<std::uint64_t> DiskTool::VirtualSize(const std::filesystem::path& folder,
                                            const std::string& file, const std::string& format,
                                            const OpContext& context) const {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::string output,
      Run(folder, Command({"qemu-img", "info", "--output=json"}, format, file), kMiB, context));
  VMFERRY_ASSIGN_OR_RETURN(const text::Json info, text::Json::Parse(output));
  return info["virtual-size"].AsUint();
}

Result<void> DiskTool::Convert(const std::filesystem::path& folder, const Conversion& conversion,
                               const OpContext& context) const {
  const ProcessLimits limits{.cpu = kCpu,
                             .address_space_bytes = kAddressSpace,
                             .file_bytes = conversion.target_bytes_max,
                             .dies_with_us = true};
  std::vector<std::string> command =
      Command({"qemu-img", "convert", "-p"}, conversion.source_format, conversion.source,
              {"-O", conversion.target_format});
  command.push_back(conversion.target);
  sys::ProcessOptions options = sandbox_.Confine(std::move(command), folder, limits);
  options.stdout_path = folder / "convert.out";
  options.stderr_path = folder / "convert.err";
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(options.stdout_path));
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(options.stderr_path));
  VMFERRY_ASSIGN_OR_RETURN(const pid_t pid, sys::StartProcess(options));
  VMFERRY_ASSIGN_OR_RETURN(const int exit_code, WaitFor(clock_, pid, context, [&] {
                             const int percent = LastPercent(TailOf(options.stdout_path, 64));
                             if (percent >= 0 && conversion.progress) conversion.progress(percent);
                           }));
  const std::string words = TailOf(options.stderr_path, 4096);
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(options.stdout_path));
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(options.stderr_path));
  if (exit_code != 0) return ToolError("qemu-img convert", exit_code, words);
  return {};
}

Result<void> DiskTool::Resize(const std::filesystem::path& folder, const std::string& file,
                              std::uint64_t size_bytes, const OpContext& context) const {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::string output,
      Run(folder, {"qemu-img", "resize", "-q", "-f", "qcow2", file, std::to_string(size_bytes)},
          size_bytes + kGiB, context));
  static_cast<void>(output);
  return {};
}

Result<void> DiskTool::Map(const std::filesystem::path& folder, const std::string& file,
                           const std::filesystem::path& scratch, const OpContext& context,
                           const std::function<Result<void>(const MapRun&)>& take) const {
  sys::ProcessOptions options =
      sandbox_.Confine({"qemu-img", "map", "--output=json", "-f", "qcow2", file}, folder,
                       {.cpu = kCpu, .address_space_bytes = kAddressSpace, .dies_with_us = true});
  options.stdout_path = scratch;
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(scratch));
  VMFERRY_ASSIGN_OR_RETURN(const pid_t pid, sys::StartProcess(options));
  VMFERRY_ASSIGN_OR_RETURN(const int exit_code, WaitFor(clock_, pid, context, [] {}));
  if (exit_code != 0) return ToolError("qemu-img map", exit_code, "see the disk");
  std::ifstream lines(scratch);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.size() > kMapLineMax) return ToolError("qemu-img map", 0, "a line is too long");
    VMFERRY_ASSIGN_OR_RETURN(const MapRun run, ParseMapLine(line));
    VMFERRY_RETURN_IF_ERROR(take(run));
  }
  return sys::RemoveFile(scratch);
}

Result<void> DiskTool::FlipByte(const std::filesystem::path& folder, const std::string& file,
                                std::uint64_t offset_bytes, const OpContext& context) const {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::string shown,
      Run(folder, {"qemu-io", "-f", "qcow2", "-c", fmt::format("read -v {} 1", offset_bytes), file},
          kMiB, context));
  // "00000000:  4d                                                  M"
  const std::size_t colon = shown.find(":  ");
  const auto digit = [&](std::size_t at) {
    return std::string_view("0123456789abcdef")
        .find(colon + at < shown.size() ? shown[colon + at] : '?');
  };
  if (colon == shown.npos || digit(3) == std::string_view::npos ||
      digit(4) == std::string_view::npos) {
    return ToolError("qemu-io", 0, "the byte could not be read");
  }
  const std::size_t flipped = 0xff ^ (digit(3) * 16 + digit(4));
  VMFERRY_ASSIGN_OR_RETURN(
      const std::string written,
      Run(folder,
          {"qemu-io", "-f", "qcow2", "-c", fmt::format("write -P {} {} 1", flipped, offset_bytes),
           "-c", "flush", file},
          64 * kTiB, context));
  if (written.find("wrote 1/1 bytes") == written.npos) return ToolError("qemu-io", 0, written);
  return {};
}

}  // namespace vmferry::region::vm
