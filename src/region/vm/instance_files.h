// SPDX-License-Identifier: Apache-2.0
//
// What the parts of Instances share: files of an instance, and short talks with its QEMU.

#pragma once

#include <chrono>
#include <filesystem>
#include <string_view>

#include "base/result.h"
#include "region/vm/qmp.h"

namespace vmferry::region::vm {

inline constexpr std::chrono::milliseconds kQmpPatience{2000};

/// One command in a conversation of its own. Errors: those of Qmp.
inline Result<text::Json> AskQemu(const std::filesystem::path& socket, std::string_view command,
                                  const text::Json& arguments = {}) {
  VMFERRY_ASSIGN_OR_RETURN(Qmp qmp, Qmp::Connect(socket, kQmpPatience));
  return qmp.Execute(command, arguments);
}

}  // namespace vmferry::region::vm
