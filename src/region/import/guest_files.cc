// SPDX-License-Identifier: Apache-2.0
#include "region/import/guest_files.h"

#include <fmt/format.h>

#include "base/units.h"
#include "sys/process.h"

namespace vmferry::region {
namespace {

constexpr std::chrono::seconds kCpu{60};
constexpr std::chrono::minutes kTime{5};
constexpr std::uint64_t kAddressSpace = kGiB;
constexpr std::size_t kListBytesMax = 256 * kKiB;
constexpr std::size_t kDevicesMax = 256;

std::vector<std::string> Words(std::string_view text, std::size_t max) {
  constexpr std::string_view kBlank = " \n\r\t";
  std::vector<std::string> words;
  while (words.size() < max) {
    const std::size_t first = text.find_first_not_of(kBlank);
    if (first == text.npos) break;
    text.remove_prefix(first);
    const std::size_t end = std::min(text.find_first_of(kBlank), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

}  // namespace

Result<std::optional<std::string>> GuestFiles::Run(std::vector<std::string> options,
                                                   std::vector<std::string> command,
                                                   std::size_t bytes_max,
                                                   const OpContext& op) const {
  std::vector<std::string> arguments = {"grub-fstest", "-c", std::to_string(disks_.size())};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), disks_.begin(), disks_.end());
  arguments.insert(arguments.end(), command.begin(), command.end());
  auto outcome = sys::RunProcess(clock_,
                                 sandbox_.Confine(std::move(arguments), folder_,
                                                  {.cpu = kCpu,
                                                   .address_space_bytes = kAddressSpace,
                                                   .file_bytes = kMiB,
                                                   .dies_with_us = true}),
                                 op.WithDeadline(clock_.DeadlineIn(kTime)), bytes_max);
  if (!outcome) {
    if (outcome.error().reason() == "process.timeout") return std::optional<std::string>();
    return outcome.error();
  }
  // prlimit and setpriv say 127 when the program is not there.
  if (outcome->exit_code == 127) {
    return Error(ErrorCode::kNotFound, "process.not_found",
                 "grub-fstest is not installed (Debian: grub-common)");
  }
  if (outcome->exit_code != 0) return std::optional<std::string>();
  return std::optional(std::move(outcome->output));
}

Result<std::vector<std::string>> GuestFiles::Devices(const OpContext& op) const {
  VMFERRY_ASSIGN_OR_RETURN(const auto output, Run({}, {"ls"}, kListBytesMax, op));
  std::vector<std::string> devices;
  for (std::string_view word : Words(output.value_or(""), kDevicesMax)) {
    if (!word.starts_with('(') || !word.ends_with(')')) continue;
    word = word.substr(1, word.size() - 2);
    // Never "host", which would be this machine's own files.
    const bool disk = word.starts_with("loop");
    if (disk || word.starts_with("lvm/")) devices.emplace_back(word);
  }
  return devices;
}

Result<std::optional<std::vector<std::string>>> GuestFiles::List(std::string_view device,
                                                                 std::string_view path,
                                                                 const OpContext& op) const {
  VMFERRY_ASSIGN_OR_RETURN(
      const auto output,
      Run({}, {"ls", "--", fmt::format("({}){}/", device, path)}, kListBytesMax, op));
  if (!output) return std::optional<std::vector<std::string>>();
  std::vector<std::string> names = Words(*output, kListBytesMax);
  if (names.empty()) return std::optional<std::vector<std::string>>();  // it does not say which
  return std::optional(std::move(names));
}

Result<std::optional<std::string>> GuestFiles::Read(std::string_view device, std::string_view path,
                                                    std::size_t bytes_max,
                                                    const OpContext& op) const {
  return Run({"-n", std::to_string(bytes_max)}, {"cat", fmt::format("({}){}", device, path)},
             bytes_max, op);
}

}  // namespace vmferry::region
