// SPDX-License-Identifier: Apache-2.0
//
// Client tokens: what makes a repeated request the same request.
//
// A token is recorded in the transaction that carries the request out, so a crash leaves both or
// neither. Source: EC2 API reference, "Ensuring idempotency".

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "region/core/database.h"

namespace vmferry::region::vm {

class ClientTokens {
 public:
  /// Makes the table.
  static Result<void> Open(Database& database);

  /// What the operation made when the token was used with it first, or nothing. `parameters` are
  /// all of the request's, in a fixed order.
  /// Errors: kInvalidArgument region.client_token_reused (with other parameters).
  static Result<std::optional<std::string>> FindIn(Transaction& transaction,
                                                   std::string_view operation,
                                                   std::string_view token,
                                                   std::string_view parameters);
  /// Records the token. An empty token is none and is not recorded.
  static Result<void> RecordIn(Transaction& transaction, std::string_view operation,
                               std::string_view token, std::string_view parameters,
                               std::string_view result);
};

}  // namespace vmferry::region::vm
