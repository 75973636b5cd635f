// SPDX-License-Identifier: Apache-2.0
//
// Errors as JSON: for the journal and for `--output json`.

#pragma once

#include "base/result.h"
#include "text/json.h"

namespace vmferry::migration {

/// {"code", "reason", "message", "remedy"?, "facts"?, "cause"?}
text::Json ErrorToJson(const Error& error);

}  // namespace vmferry::migration
