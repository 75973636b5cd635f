// SPDX-License-Identifier: Apache-2.0
//
// Ids of EC2 resources as AWS writes them: a prefix and 17 hexadecimal digits, the first one 0;
// conversion tasks have 8 base-36 characters.

#pragma once

#include <string>
#include <string_view>

#include "sys/random.h"

namespace vmferry::region::vm {

/// NewResourceId(random, "vol-") is "vol-0" and 16 random hexadecimal digits.
std::string NewResourceId(sys::Random& random, std::string_view prefix);

/// True for `prefix` and 8 or 17 lower-case hexadecimal digits: the forms AWS has used.
bool IsResourceId(std::string_view text, std::string_view prefix);

/// "import-i-" or "import-vol-" and 8 base-36 characters.
std::string NewTaskId(sys::Random& random, std::string_view prefix);

/// True for `prefix` and 8 to 17 base-36 characters.
bool IsTaskId(std::string_view text, std::string_view prefix);

}  // namespace vmferry::region::vm
